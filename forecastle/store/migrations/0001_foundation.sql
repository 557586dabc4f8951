-- Whose data it is.
create table organisations (
    id uuid primary key,
    name text not null unique,
    created_at timestamptz not null default now()
);

create table workspaces (
    id uuid primary key,
    organisation_id uuid not null references organisations,
    name text not null,
    created_at timestamptz not null default now(),
    unique (organisation_id, name)
);

create table projects (
    id uuid primary key,
    workspace_id uuid not null references workspaces,
    key text not null,
    created_at timestamptz not null default now(),
    unique (workspace_id, key)
);

-- Reporters and assignees as the tracker names them; they are no principals.
create table people (
    id uuid primary key,
    workspace_id uuid not null references workspaces,
    name text not null,
    unique (workspace_id, name)
);

-- Who may do what.
create table principals (
    id uuid primary key,
    organisation_id uuid not null references organisations,
    name text not null unique,
    role text not null check (role in ('viewer', 'member', 'data_scientist', 'reviewer', 'operator', 'admin')),
    created_at timestamptz not null default now(),
    disabled_at timestamptz
);

create table api_keys (
    id uuid primary key,
    principal_id uuid not null references principals,
    digest bytea not null unique,
    created_at timestamptz not null default now(),
    revoked_at timestamptz
);

-- Issue trackers.
create table issues (
    id uuid primary key,
    project_id uuid not null references projects,
    key text not null,
    ordinal bigint not null,
    time_basis text not null check (time_basis in ('date', 'ordinal')),
    created_at timestamptz,
    completed_at timestamptz,
    title text not null,
    description text not null,
    issue_type text,
    component text,
    priority text,
    reporter_id uuid references people,
    assignee_id uuid references people,
    story_points double precision,
    story_points_known_at timestamptz,
    effort_hours double precision,
    estimate_hours double precision,
    content_digest bytea not null,
    imported_at timestamptz not null default now(),
    unique (project_id, key),
    unique (project_id, ordinal),
    check (time_basis = 'ordinal' or created_at is not null)
);

-- What a field held before somebody changed it, so that an issue can be shown as of a moment.
create table issue_changes (
    id bigint generated always as identity primary key,
    issue_id uuid not null references issues,
    field text not null,
    before text,
    after text,
    changed_at timestamptz not null
);
create index issue_changes_by_issue on issue_changes (issue_id, changed_at);

-- Immutable training data; the file lies among the objects under its digest.
create table dataset_versions (
    id uuid primary key,
    name text not null,
    version integer not null,
    digest text not null,
    object_name text not null,
    rows bigint not null,
    clusters integer not null,
    time_basis text not null check (time_basis in ('date', 'ordinal')),
    span_from text not null,
    span_until text not null,
    created_at timestamptz not null default now(),
    unique (name, version),
    unique (name, digest)
);

-- Which version serves: an append-only ledger of steps. A promotion is an `intent` that is
-- `confirmed` or `undone`; the newest confirmed step of a registered model is its truth.
create table promotions (
    step bigint generated always as identity primary key,
    promotion_id uuid not null,
    outcome text not null check (outcome in ('intent', 'confirmed', 'undone')),
    action text not null check (action in ('promote', 'rollback')),
    model_name text not null,
    from_version integer,
    to_version integer not null,
    actor text not null,
    reason text not null check (reason <> ''),
    verdict text not null,
    single_user_mode boolean not null,
    files jsonb not null,
    provenance jsonb not null,
    recorded_at timestamptz not null default now(),
    unique (promotion_id, outcome)
);
create index promotions_by_model on promotions (model_name, step desc);

create function refuse_change() returns trigger language plpgsql as $$
begin
    raise exception 'the promotion ledger is append-only';
end $$;
create trigger promotions_append_only before update or delete or truncate on promotions
    for each statement execute function refuse_change();

-- What was answered, with everything its passport shows.
create table predictions (
    id uuid primary key,
    model_type text not null,
    model_name text not null,
    model_version integer not null,
    alias text not null,
    run_id text not null,
    dataset_digest text not null,
    git_commit text not null,
    feature_digest text not null,
    bundle_digest text not null,
    project_id uuid not null references projects,
    principal text not null,
    moment timestamptz not null,
    input_digest text not null,
    request jsonb not null,
    history jsonb not null,
    answer jsonb not null,
    method text not null,
    latency_ms double precision not null,
    created_at timestamptz not null default now()
);

-- Known outcomes of predictions; a correction is a further row.
create table ground_truth (
    id uuid primary key,
    prediction_id uuid not null references predictions,
    value double precision not null,
    source text not null,
    known_at timestamptz not null,
    recorded_by text not null,
    recorded_at timestamptz not null default now()
);
create index ground_truth_by_prediction on ground_truth (prediction_id, recorded_at);
