-- Whether a new training was due: a row a decision, a "no" as well, with every signal and what would have flipped it.
-- `decision_run` is the run of the job that decided, once a registered model; `training_run` the training it planned.
create table retraining_decisions (
    id uuid primary key,
    model_name text not null,
    decided_at timestamptz not null default clock_timestamp(),
    decided_by text not null,
    verdict text not null check (verdict in ('RETRAIN', 'WAIT', 'CANNOT')),
    reasons jsonb not null,
    flip text not null,
    signals jsonb not null,
    basis jsonb not null,
    policy jsonb not null,
    serves integer,
    feature_digest text not null,
    decision_run uuid,
    training_run uuid,
    unique (decision_run, model_name),
    check (training_run is null or verdict = 'RETRAIN')
);
create index retraining_decisions_by_model on retraining_decisions (model_name, decided_at desc);
create index retraining_decisions_by_training on retraining_decisions (training_run) where training_run is not null;

-- Rows that teach no more: those asked, or whose outcome became known, in a period of one project or of all.
-- A mark that was a mistake is withdrawn, and stays as a row.
create table unlearned_periods (
    id uuid primary key,
    model_type text not null,
    project_id uuid references projects,
    from_at timestamptz not null,
    until_at timestamptz not null,
    reason text not null check (reason <> ''),
    marked_by text not null,
    marked_at timestamptz not null default clock_timestamp(),
    withdrawn_by text,
    withdrawn_at timestamptz,
    check (from_at < until_at),
    check ((withdrawn_at is null) = (withdrawn_by is null))
);
create index unlearned_periods_by_model_type on unlearned_periods (model_type) where withdrawn_at is null;
