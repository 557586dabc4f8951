-- Who had what kind of text erased, and when. `subject` is what files still have to be searched for, and is erased as
-- well once that is done; `subject_id` is the row of the person or the issue, which stays without its text.
create table forgettings (
    id uuid primary key,
    kind text not null check (kind in ('person', 'issue')),
    subject_id uuid,
    subject jsonb,
    requested_by text not null,
    erased jsonb not null,
    started_at timestamptz not null default clock_timestamp(),
    finished_at timestamptz,
    check ((subject is null) = (finished_at is not null))
);

-- Text was erased from the request or the answer; the digest of the input is still that of what was asked.
alter table predictions add column redacted_at timestamptz;

-- A dataset version keeps its digest. Once text was erased from its file, this holds the rows of `redacted_digest`;
-- while the file is being replaced, those of `pending_digest` are as good.
alter table dataset_versions
    add column redacted_at timestamptz,
    add column redacted_digest text,
    add column pending_digest text;
