-- What a prediction said in numbers, and which issue it was about, so that outcomes find their predictions and losses
-- are sums. `target` is the field of the record whose outcome was asked for, and names its unit; the numbers are in that
-- unit, before an answer rounds them for reading. Null where nothing is said.
alter table predictions
    add column issue_key text,
    add column target text,
    add column value double precision,
    add column low double precision,
    add column high double precision,
    add column baseline double precision;

-- What was answered before says its numbers in the answer.
update predictions set target = 'story_points', value = (answer ->> 'recommended_points')::float8,
    low = (answer -> 'interval' ->> 'low')::float8, high = (answer -> 'interval' ->> 'high')::float8,
    baseline = (answer -> 'baseline' ->> 'points')::float8
where model_type = 'delivery.story_points';
update predictions set target = 'effort_hours', value = (answer ->> 'predicted_hours')::float8,
    low = (answer -> 'prediction_range' ->> 'min')::float8, high = (answer -> 'prediction_range' ->> 'max')::float8,
    baseline = (answer -> 'baseline' ->> 'hours')::float8
where model_type = 'delivery.effort';

-- An import looks for the predictions of the issues it brings, performance and passports for those of a version.
create index predictions_by_issue on predictions (project_id, issue_key) where issue_key is not null;
create index predictions_by_version on predictions (project_id, model_name, model_version);

-- The order in which truths were recorded: no clock decides which one is newer.
create sequence ground_truth_step;
alter table ground_truth add column step bigint;
update ground_truth set step = numbered.step
from (
    select family, prediction_id, id, nextval('ground_truth_step') as step
    from (select * from ground_truth order by recorded_at, id) as recorded
) as numbered
where ground_truth.family = numbered.family and ground_truth.prediction_id = numbered.prediction_id
    and ground_truth.id = numbered.id;
alter table ground_truth alter column step set default nextval('ground_truth_step'), alter column step set not null;

-- Which of several truths counts: what somebody said outranks what an import brought, then the newest.
create view counting_truth as
select distinct on (family, prediction_id) *
from ground_truth order by family, prediction_id, source <> 'import' desc, step desc;
