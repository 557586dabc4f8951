-- The jobs that a beat knows, so that others can refuse an unknown name and see what is overdue. A job with a schedule
-- is due at `anchor` and every `period` before and after it; it must have ended well within `allowance` of a tick.
create table jobs (
    name text primary key,
    queue text not null,
    required text[] not null,
    optional text[] not null,
    period interval,
    anchor timestamptz,
    allowance interval not null,
    known_since timestamptz not null default clock_timestamp(),
    check ((period is null) = (anchor is null))
);

-- What somebody has to know: written in the transaction of what it is about. One of a kind and subject is open at a time.
create table notifications (
    id uuid primary key,
    kind text not null check (
        kind in ('promotion_rejected', 'alias_put_back', 'training_failed', 'file_tampered', 'job_overdue')),
    subject text not null,
    detail text not null,
    raised_at timestamptz not null default clock_timestamp(),
    last_raised_at timestamptz not null default clock_timestamp(),
    times integer not null default 1,
    closed_at timestamptz
);
create unique index notifications_open on notifications (kind, subject) where closed_at is null;
create index notifications_by_age on notifications (raised_at desc, id desc);

-- How far a channel has come with one: when it is told next (again), and what went wrong since it last was.
create table notification_deliveries (
    notification_id uuid not null references notifications on delete cascade,
    channel text not null,
    due_at timestamptz default clock_timestamp(),
    delivered integer not null default 0,
    last_delivered_at timestamptz,
    failures integer not null default 0,
    last_error text,
    primary key (notification_id, channel)
);
create index notification_deliveries_due on notification_deliveries (due_at) where due_at is not null;
