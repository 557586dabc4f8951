-- What was to be done, whether it was, and who holds it. A message of the broker only wakes a worker:
-- the lease decides who runs. A tick of the schedule has a `due_key`, so that it is planned once.
create table job_runs (
    id uuid primary key,
    name text not null check (name <> ''),
    queue text,
    arguments jsonb not null,
    planned_at timestamptz not null default clock_timestamp(),
    planned_by text not null,
    due_key text unique,
    sent_at timestamptz,
    started_at timestamptz,
    worker text,
    lease_token uuid,
    heartbeat_at timestamptz,
    lease_until timestamptz,
    attempts integer not null default 0,
    cancel_requested_at timestamptz,
    ended_at timestamptz,
    outcome text check (outcome in ('succeeded', 'failed', 'skipped', 'cancelled')),
    items bigint,
    error_code text,
    detail text,
    check ((ended_at is null) = (outcome is null)),
    check (outcome is distinct from 'skipped' or detail is not null)
);
create index job_runs_open on job_runs (planned_at) where ended_at is null;
create index job_runs_by_name on job_runs (name, planned_at desc);

-- Retention looks for what is old.
create index predictions_by_age on predictions (created_at);
