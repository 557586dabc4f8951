"""Formats that are known by name, on a few invented rows and on the real public data."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from forecastle.generator.dated import DatedPortfolio, generate_dated_issues
from forecastle.records.issues import IssueRecord, as_of
from forecastle.sources.issues import check, read_issues, to_records
from forecastle.sources.presets import PRESETS
from projects import EXPECTATIONS

SUITE = EXPECTATIONS / "issues.json"

SIP = """\
TaskNumber,Summary,Priority,RaisedByID,AssignedToID,AuthorisedByID,StatusCode,ProjectCode,ProjectBreakdownCode,\
Category,SubCategory,HoursEstimate,HoursActual,DeveloperID,DeveloperHoursActual,TaskPerformance,DeveloperPerformance
7,Rename the button – again,1,58,42,6.0,FINISHED,PC2,PBC42,Development,Enhancement,14.0,3.5,42,1.5,10.5,
7,Rename the button – again,1,58,42,6.0,FINISHED,PC2,PBC42,Development,Enhancement,14.0,3.5,13,2.0,10.5,
8,Répare l'écran,2,7,58,,CANCELLED,PC9,PBC75,Operational,Support,0.7,0.7,58,0.7,0.0,0.0
"""
SIP_DATES = """\
TaskNumber,EstimateOn,StartedOn,CompletedOn
7,02-Nov-04,03-Nov-04,16-Nov-04
7,02-Nov-04,03-Nov-04,16-Nov-04
8,05-Nov-04,,
"""

CESAW = """\
project_key,person_key,team_key,wbs_element_key,plan_item_key,task_actual_start_date,task_actual_complete_date,\
task_actual_time_minutes,task_plan_time_minutes,phase_key,phase_short_name,process_name
100,296,31,11087,81765,10/29/2012 13:12,10/29/2012 13:20,6,90.0,337,DOC-Insp,Process-D
100,297,31,11087,81765,10/29/2012 13:12,\\N,30,0.0,337,DOC-Insp,Process-D
100,296,31,11088,81770,\\N,10/29/2012 13:20,6,90.0,337,DOC-Insp,Process-D
100,296,31,11088,81771,10/29/2012 13:12,10/29/2012 13:11,6,90.0,337,DOC-Insp,Process-D
100,296,31,11088,81772,10/29/2012 13:12,10/29/2012 13:20,6,90.0,337,\\N,\\N
"""

# As Jira Cloud writes it: no Resolution where nobody shows it, columns repeated, text of several lines.
JIRA_CLOUD = """\
Summary,Issue key,Issue id,Issue Type,Status,Project key,Project name,Priority,Resolution,Assignee,Assignee Id,\
Reporter,Reporter Id,Created,Updated,Last Viewed,Resolved,Components,Components,Due date,Labels,Labels,Description,\
Watchers,Watchers,Original estimate,Remaining Estimate,Time Spent,Work Ratio,Σ Original Estimate,Σ Time Spent,\
Custom field (Story point estimate),Sprint,Sprint,Comment,Comment
Show totals,PAY-2,10002,Story,Done,PAY,Payments,High,Done,Ada L.,5b1,Bo R.,5b2,12/Mar/24 3:45 PM,\
15/Mar/24 9:00 AM,,14/Mar/24 11:05 AM,,checkout,,ui,,"Line one
line ""two"", the end",bo,,28800,0,9000,31%,28800,12600,3.0,Sprint 1,Sprint 2,12/Mar/24 4:00 PM;5b1;first,
Fix rounding,PAY-3,10003,Bug,In Progress,PAY,Payments,Medium,,Ada L.,5b1,Bo R.,5b2,13/Mar/24 12:01 AM,\
15/Mar/24 9:00 AM,,,checkout,api,,,,,,,,,3600,,,3600,,Sprint 2,,,
Drop the old page,PAY-4,10004,Task,Done,PAY,Payments,Low,Won't Do,,,Bo R.,5b2,13/Mar/24 8:00 AM,\
15/Mar/24 9:00 AM,,15/Mar/24 8:59 AM,,,,,,,,,0,,0,,0,0,,,,,
"""

# As Jira Server writes it, with the look and feel of 2024-03-12 15:45.
JIRA_SERVER = """\
Summary,Issue key,Issue id,Parent id,Issue Type,Status,Project key,Priority,Resolution,Assignee,Reporter,Creator,\
Created,Updated,Resolved,Component/s,Due Date,Description,Log Work,Original Estimate,Remaining Estimate,Time Spent,\
Σ Time Spent,Custom field (Story Points),Comment
Show totals,PAY-2,10002,,Story,Closed,PAY,High,Fixed,ada,bo,bo,2024-03-12 15:45,2024-03-15 09:00,2024-03-14 11:05,\
checkout,,Text,x;2024-03-13;ada;9000,28800,0,9000,12600,3.0,
"""


def write(folder: Path, text: str, name: str = "some.csv", encoding: str = "utf-8") -> Path:
    path = folder / name
    path.write_bytes(text.encode(encoding))
    return path


def test_a_sip_task_is_one_row_with_the_hours_of_all_its_developers(tmp_path: Path) -> None:
    tasks, dates = write(tmp_path, SIP.replace("–", "-"), encoding="latin-1"), write(tmp_path, SIP_DATES, "dates.csv")
    file = read_issues(tasks, PRESETS["sip"], dates=dates)
    assert check([file], SUITE) == []
    done, cancelled = to_records([file])
    assert done == IssueRecord(
        project_key="PC2",
        key="7",
        ordinal=0,
        time_basis="date",
        created_at=datetime(2004, 11, 2, tzinfo=UTC),
        completed_at=datetime(2004, 11, 16, 23, 59, 59, 999_999, tzinfo=UTC),
        title="Rename the button - again",
        issue_type="Enhancement",
        component="PBC42",
        priority="1",
        reporter="58",
        assignee="42",
        effort_hours=3.5,
        estimate_hours=14.0,
    )
    assert as_of(done, datetime(2004, 11, 16, 12, tzinfo=UTC)).assignee is None
    assert (cancelled.title, cancelled.effort_hours, cancelled.completed_at) == ("Répare l'écran", None, None)


def test_a_cesaw_plan_item_is_asked_about_when_its_person_starts_it(tmp_path: Path) -> None:
    file = read_issues(write(tmp_path, CESAW), PRESETS["cesaw"])
    broken = check([file], SUITE)
    assert [(row.line, row.column, row.rule) for row in broken] == [
        (4, "task_actual_start_date", "the creation is there, since the mapping wants every row dated"),
        (5, "task_actual_complete_date", "the completion is not before the creation"),
        (6, "phase_short_name + process_name", "the title is not empty"),
    ]
    done, open_ = to_records([file], broken)
    assert (done.project_key, done.key, done.title) == ("100", "81765-296", "DOC-Insp Process-D")
    assert (done.issue_type, done.component) == ("DOC-Insp", "11087")
    assert (done.effort_hours, done.estimate_hours) == (0.1, 1.5)
    assert done.created_at == datetime(2012, 10, 29, 13, 12, tzinfo=UTC)
    asked = as_of(done, done.created_at)
    assert (asked.assignee, asked.estimate_hours, asked.effort_hours) == ("296", 1.5, None)
    assert (open_.key, open_.completed_at, open_.estimate_hours) == ("81765-297", None, None)


def test_an_export_of_jira_cloud_is_read_as_it_is(tmp_path: Path) -> None:
    file = read_issues(write(tmp_path, JIRA_CLOUD), PRESETS["jira-csv"])
    assert check([file], SUITE) == []
    done, running, unwanted = to_records([file])
    assert done == IssueRecord(
        project_key="PAY",
        key="PAY-2",
        ordinal=0,
        time_basis="date",
        created_at=datetime(2024, 3, 12, 15, 45, tzinfo=UTC),
        completed_at=datetime(2024, 3, 14, 11, 5, tzinfo=UTC),
        title="Show totals",
        description='Line one\nline "two", the end',
        issue_type="Story",
        component="checkout",
        priority="High",
        reporter="Bo R.",
        assignee="Ada L.",
        story_points=3.0,
        story_points_known_at=datetime(2024, 3, 14, 11, 5, tzinfo=UTC),
        effort_hours=2.5,
        estimate_hours=8.0,
    )
    assert (running.created_at, running.effort_hours) == (datetime(2024, 3, 13, 0, 1, tzinfo=UTC), None)
    assert running.component == "checkout"
    assert (unwanted.effort_hours, unwanted.estimate_hours, unwanted.assignee) == (None, None, None)


def test_an_export_of_jira_server_says_the_same_in_its_own_columns(tmp_path: Path) -> None:
    cloud = read_issues(write(tmp_path, JIRA_CLOUD), PRESETS["jira-csv"])
    server = read_issues(write(tmp_path, JIRA_SERVER), PRESETS["jira-csv"])
    assert check([server], SUITE) == []
    names = {"assignee": "Ada L.", "reporter": "Bo R.", "description": 'Line one\nline "two", the end'}
    assert replace(to_records([server])[0], **names) == to_records([cloud])[0]


def test_an_export_of_jira_may_lack_what_nobody_shows(tmp_path: Path) -> None:
    text = "Summary,Issue key,Created,Resolved\nShow totals,PAY-2,12/Mar/24 3:45 PM,\n"
    file = read_issues(write(tmp_path, text), PRESETS["jira-csv"])
    assert check([file], SUITE) == []
    assert to_records([file])[0].project_key == "PAY"


def test_dates_of_another_look_and_feel_are_broken_until_their_format_is_named(tmp_path: Path) -> None:
    path = write(tmp_path, "Summary,Issue key,Created,Resolved\nShow totals,PAY-2,13/03/2024 15:45,\n")
    preset = PRESETS["jira-csv"]
    assert [row.column for row in check([read_issues(path, preset)], SUITE)] == ["Created"]
    file = read_issues(path, replace(preset, date_formats=("%d/%m/%Y %H:%M", *preset.date_formats)))
    assert to_records([file])[0].created_at == datetime(2024, 3, 13, 15, 45, tzinfo=UTC)


def test_issues_under_our_own_names_come_back_as_they_were(tmp_path: Path) -> None:
    issues = list(generate_dated_issues(DatedPortfolio(projects=2, issues=40)))
    names = [name for name in PRESETS["forecastle"].columns if name != "story_points_known_at"]
    with (tmp_path / "own.csv").open("w", newline="") as out:
        csv.writer(out).writerows([names, *([getattr(issue, name) for name in names] for issue in issues)])
    file = read_issues(tmp_path / "own.csv", PRESETS["forecastle"])
    assert check([file], SUITE) == []
    assert to_records([file]) == [replace(issue, description=issue.description or None) for issue in issues]


def test_the_preset_without_dates_is_undated() -> None:
    assert PRESETS["deepse"].time_basis == "ordinal"


def known(records: Sequence[IssueRecord], *names: str) -> int:
    return sum(all(getattr(record, name) is not None for name in names) for record in records)


@pytest.mark.public_data
def test_every_sip_task_is_sound_and_comes_once(public_data: Callable[[str], Path]) -> None:
    """8,117 rows of one company, of 6,825 tasks (Jones and Cullum, arXiv 1901.01621)."""
    folder = public_data("effort_sip")
    file = read_issues(folder / "tasks.csv.gz", PRESETS["sip"], dates=folder / "dates.csv.gz")
    assert check([file], SUITE) == []
    records = to_records([file])
    assert len(records) == len({record.key for record in records}) == 6_825
    assert known(records, "effort_hours", "completed_at") == known(records, "effort_hours") == 5_811
    assert known(records, "estimate_hours") == known(records, "created_at") == 6_825
    assert len({record.project_key for record in records}) == 13


@pytest.mark.public_data
def test_cesaw_plan_items_are_sound_but_for_those_that_are_named(public_data: Callable[[str], Path]) -> None:
    """51,604 rows of 34 projects, a plan item and person each (SEI, arXiv 2106.03679)."""
    file = read_issues(public_data("effort_cesaw") / "tasks.csv.gz", PRESETS["cesaw"])
    broken = check([file], SUITE)
    assert Counter(row.rule for row in broken) == {
        "the completion is not before the creation": 1_439,
        "the creation is there, since the mapping wants every row dated": 815,
        "the title is not empty": 37,
        "the creation lies between the years 1970 and 2199": 1,
    }
    assert len(file.lines) == 51_604
    records = to_records([file], broken)
    assert len(records) == len({(record.project_key, record.key) for record in records}) == 49_314
    assert known(records, "effort_hours") == 49_314
    assert known(records, "effort_hours", "completed_at") == 48_802
    assert known(records, "estimate_hours") == 48_994
    assert len({record.project_key for record in records}) == 34
    assert all(as_of(record, record.created_at).assignee for record in records if record.created_at)
