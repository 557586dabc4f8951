"""Formats that are known by name."""

from __future__ import annotations

from forecastle.sources.mapping import DATE_FORMATS, FIELDS, Cells, DatesFile, Done, Mapping

# What a format assumes about time stands beside it.
PRESETS = {
    # Files whose columns have the names of our fields, as `forecastle generate issues` writes them.
    "forecastle": Mapping(
        columns={name: name if name in ("key", "title") else Cells((name,), optional=True) for name in FIELDS},
        date_formats=(),  # ISO 8601 alone
    ),
    # Story points of Choetkiertikul et al. (Deep-SE); rows stand in the order of time.
    "deepse": Mapping(
        columns={
            "key": "issuekey",
            "title": "title",
            "description": "description",
            "story_points": "storypoint",
        },
        time_basis="ordinal",
    ),
    # The SiP tasks, a row for each developer of a task. The question is asked when the task is estimated.
    "sip": Mapping(
        columns={
            "key": "TaskNumber",
            "project_key": "ProjectCode",
            "title": "Summary",
            "issue_type": "SubCategory",  # which names the category too
            "component": "ProjectBreakdownCode",
            "priority": "Priority",
            "reporter": "RaisedByID",
            "assignee": "AssignedToID",
            "estimate_hours": "HoursEstimate",
            "effort_hours": "HoursActual",  # of all developers of the task
        },
        encoding="latin-1",
        date_formats=("%d-%b-%y",),
        every_row_dated=True,
        zero_is_missing=("effort_hours",),
        repeated_rows=True,
        done=Done("StatusCode", ("FINISHED", "COMPLETED")),
        dates=DatesFile("TaskNumber", {"created_at": "EstimateOn", "completed_at": "CompletedOn"}),
    ),
    # Plan items of the SEI's CESAW data, one of a person's own. The question is asked when the person starts;
    # in the Team Software Process people plan their own tasks, so the person and the plan are known by then.
    "cesaw": Mapping(
        columns={
            "key": Cells(("plan_item_key", "person_key"), joined_by="-"),
            "project_key": "project_key",
            "title": Cells(("phase_short_name", "process_name"), joined_by=" "),
            "issue_type": "phase_short_name",
            "component": "wbs_element_key",
            "assignee": "person_key",
            "created_at": "task_actual_start_date",
            "completed_at": "task_actual_complete_date",
            "effort_hours": "task_actual_time_minutes",
            "estimate_hours": "task_plan_time_minutes",
        },
        date_formats=("%m/%d/%Y %H:%M",),
        every_row_dated=True,
        missing_cells=("\\N",),
        zero_is_missing=("estimate_hours",),
        units={"effort_hours": "minutes", "estimate_hours": "minutes"},
        assignee_known_at="creation",
    ),
    # The export of Jira Cloud, Server and Data Center. An issue is done when it is resolved. Its dates carry no zone
    # and count as UTC; the estimate is the last one that was set, and counts as known from the creation on. Time
    # spent is the issue's own: "Σ Time Spent" holds that of its sub-tasks too, which have rows of their own.
    "jira-csv": Mapping(
        columns={
            "key": "Issue key",
            "title": "Summary",
            "created_at": "Created",
            "completed_at": "Resolved",
            "project_key": Cells(("Project key",), optional=True),
            "description": Cells(("Description",), optional=True),
            "issue_type": Cells(("Issue Type",), optional=True),
            "component": Cells(("Components", "Component/s"), optional=True),
            "priority": Cells(("Priority",), optional=True),
            "reporter": Cells(("Reporter", "Reporter Id"), optional=True),
            "assignee": Cells(("Assignee", "Assignee Id"), optional=True),
            "effort_hours": Cells(("Time Spent",), optional=True),
            "estimate_hours": Cells(("Original estimate", "Original Estimate"), optional=True),
            "story_points": Cells(
                ("Custom field (Story Points)", "Custom field (Story point estimate)", "Story Points"),
                optional=True,
            ),
        },
        date_formats=DATE_FORMATS,
        every_row_dated=True,
        zero_is_missing=("effort_hours", "estimate_hours"),
        units={"effort_hours": "seconds", "estimate_hours": "seconds"},
        done=Done("Resolved"),
    ),
}
