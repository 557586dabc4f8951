-- Which rows a gate has looked at: a row decides once for a registered model, whatever candidate it was about.
create table gate_looks (
    id uuid primary key,
    model_name text not null,
    model_version integer not null,
    run_id text not null unique, -- numbers of versions begin again where a registered model was deleted
    verdict text not null,
    decision jsonb not null,
    looked_at timestamptz not null default now()
);
create table gate_rows (
    model_name text not null,
    cluster text not null,
    key text not null,
    look uuid not null references gate_looks,
    primary key (model_name, cluster, key)
);
