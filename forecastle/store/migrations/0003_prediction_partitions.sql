-- Predictions and their ground truth in partitions: by family, then by the month that is in the id.
-- Retention drops a month as a whole; a look-up by an id alone reads one month of each family.

-- The least UUIDv7 of a moment: 48 bits of milliseconds, then zeros.
create function least_id(moment timestamptz) returns uuid language sql immutable strict as $$
    select (lpad(to_hex(floor(extract(epoch from moment) * 1000)::bigint), 12, '0') || repeat('0', 20))::uuid
$$;

-- The moment that is in a UUIDv7.
create function moment_of_id(id uuid) returns timestamptz language sql immutable strict as $$
    select timestamptz 'epoch' + ('x' || left(replace(id::text, '-', ''), 12))::bit(48)::bigint * interval '1 ms'
$$;

alter table ground_truth rename to old_ground_truth;
alter table old_ground_truth rename constraint ground_truth_pkey to old_ground_truth_pkey;
alter table predictions rename to old_predictions;
alter table old_predictions rename constraint predictions_pkey to old_predictions_pkey;
drop index ground_truth_by_prediction, predictions_by_age;

create table predictions (
    family text not null,
    id uuid not null,
    model_type text not null check (split_part(model_type, '.', 1) = family),
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
    created_at timestamptz not null default now(),
    primary key (family, id)
) partition by list (family);
create index predictions_by_age on predictions (created_at);
create table predictions_delivery partition of predictions for values in ('delivery') partition by range (id);
create table predictions_reliability partition of predictions for values in ('reliability') partition by range (id);

-- In the month of its prediction, so that both are dropped together. What refers to a prediction is checked
-- month by month: a foreign key of the whole would lock all months of predictions whenever one is made or dropped.
create table ground_truth (
    family text not null,
    prediction_id uuid not null,
    id uuid not null,
    value double precision not null,
    source text not null,
    known_at timestamptz not null,
    recorded_by text not null,
    recorded_at timestamptz not null default now(),
    primary key (family, prediction_id, id)
) partition by list (family);
create table ground_truth_delivery partition of ground_truth for values in ('delivery')
    partition by range (prediction_id);
create table ground_truth_reliability partition of ground_truth for values in ('reliability')
    partition by range (prediction_id);

-- Makes the month of this moment in both tables; false where it is there. ATTACH lets everybody read and write
-- predictions meanwhile, CREATE TABLE ... PARTITION OF would not.
create function make_prediction_month(family text, moment timestamptz) returns boolean language plpgsql as $$
declare
    month timestamptz := date_trunc('month', moment, 'UTC');
    next_month timestamptz := (month at time zone 'UTC' + interval '1 month') at time zone 'UTC';
    suffix text := family || to_char(month at time zone 'UTC', '_YYYY_MM');
    parent text;
begin
    if to_regclass('predictions_' || suffix) is not null then
        return false;
    end if;
    -- One maker at a time, in the order in which ground truth is written: its own table, then the prediction's.
    execute format(
        'lock table only %I, only %I in share update exclusive mode', 'ground_truth_' || family, 'predictions_' || family);
    if to_regclass('predictions_' || suffix) is not null then
        return false;
    end if;
    foreach parent in array array['predictions_', 'ground_truth_'] loop
        execute format('create table %I (like %I including all)', parent || suffix, parent || family);
    end loop;
    execute format(
        'alter table %I add foreign key (family, prediction_id) references %I',
        'ground_truth_' || suffix, 'predictions_' || suffix);
    foreach parent in array array['predictions_', 'ground_truth_'] loop
        execute format(
            'alter table %I attach partition %I for values from (%L) to (%L)',
            parent || family, parent || suffix, least_id(month), least_id(next_month));
    end loop;
    return true;
end $$;

-- What stands in the tables of before.
select make_prediction_month(family, month) from (
    select distinct split_part(model_type, '.', 1) as family, date_trunc('month', moment_of_id(id), 'UTC') as month
    from old_predictions
) as found;

insert into predictions
select split_part(model_type, '.', 1), old_predictions.* from old_predictions;

insert into ground_truth
select split_part(predicted.model_type, '.', 1), truth.prediction_id, truth.id, truth.value, truth.source,
    truth.known_at, truth.recorded_by, truth.recorded_at
from old_ground_truth as truth join old_predictions as predicted on predicted.id = truth.prediction_id;

drop table old_ground_truth, old_predictions;
