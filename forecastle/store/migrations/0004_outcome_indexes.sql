-- What is known of outcomes is read in the order in which they became known: see forecastle/store/outcomes.py.
-- Issues without dates stand before those with dates, an outcome that is as old as its issue became known right after
-- it. Texts may be longer than an index takes: their first hundred characters find them.

create index issues_by_effort on issues (
    project_id,
    (case time_basis when 'date' then greatest(completed_at, created_at) end) desc nulls last,
    (time_basis = 'date' and completed_at <= created_at) desc, ordinal desc
) where effort_hours is not null;
create index issues_by_effort_of_type on issues (
    project_id, left(issue_type, 100),
    (case time_basis when 'date' then greatest(completed_at, created_at) end) desc nulls last,
    (time_basis = 'date' and completed_at <= created_at) desc, ordinal desc
) where effort_hours is not null and issue_type is not null;
create index issues_by_effort_of_component on issues (
    project_id, left(component, 100),
    (case time_basis when 'date' then greatest(completed_at, created_at) end) desc nulls last,
    (time_basis = 'date' and completed_at <= created_at) desc, ordinal desc
) where effort_hours is not null and component is not null;
create index issues_by_effort_of_reporter on issues (
    project_id, reporter_id,
    (case time_basis when 'date' then greatest(completed_at, created_at) end) desc nulls last,
    (time_basis = 'date' and completed_at <= created_at) desc, ordinal desc
) where effort_hours is not null and reporter_id is not null;
create index issues_by_effort_of_assignee on issues (
    project_id, assignee_id,
    (case time_basis when 'date' then greatest(completed_at, created_at) end) desc nulls last,
    (time_basis = 'date' and completed_at <= created_at) desc, ordinal desc
) where effort_hours is not null and assignee_id is not null;
create index issues_by_effort_of_assignee_and_type on issues (
    project_id, assignee_id, left(issue_type, 100),
    (case time_basis when 'date' then greatest(completed_at, created_at) end) desc nulls last,
    (time_basis = 'date' and completed_at <= created_at) desc, ordinal desc
) where effort_hours is not null and assignee_id is not null and issue_type is not null;
create index issues_by_effort_of_estimate on issues (
    project_id, estimate_hours,
    (case time_basis when 'date' then greatest(completed_at, created_at) end) desc nulls last,
    (time_basis = 'date' and completed_at <= created_at) desc, ordinal desc
) where effort_hours is not null and estimate_hours is not null;

-- All outcomes of a project in the order of their values, for their mean and their median, without their rows.
create index issues_by_effort_value on issues (project_id, effort_hours)
    include (time_basis, created_at, completed_at, imported_at) where effort_hours is not null;
create index issues_by_points_value on issues (project_id, story_points)
    include (time_basis, created_at, story_points_known_at, imported_at) where story_points is not null;

create index issues_by_points on issues (
    project_id,
    (case time_basis when 'date' then greatest(story_points_known_at, created_at) end) desc nulls last,
    (time_basis = 'date' and story_points_known_at <= created_at) desc, ordinal desc
) where story_points is not null;
create index issues_by_points_of_type on issues (
    project_id, left(issue_type, 100),
    (case time_basis when 'date' then greatest(story_points_known_at, created_at) end) desc nulls last,
    (time_basis = 'date' and story_points_known_at <= created_at) desc, ordinal desc
) where story_points is not null and issue_type is not null;
