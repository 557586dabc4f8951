"""Files with hours: units, days, repeated rows, dates of their own, and who is done."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from forecastle.errors import BrokenRow, InputError
from forecastle.records.issues import IssueRecord, as_of
from forecastle.sources.issues import IssueFile, check, read_issues, to_records
from forecastle.sources.mapping import Cells, DatesFile, Done, Mapping
from projects import EXPECTATIONS

SUITE = EXPECTATIONS / "issues.json"
BASE = Mapping({"key": "key", "title": "title", "created_at": "created", "completed_at": "closed"})
HEAD = "key,title,created,closed"


def write(folder: Path, *lines: str, name: str = "some.csv") -> Path:
    path = folder / name
    path.write_text("\n".join([*lines, ""]), encoding="utf-8")
    return path


def read(folder: Path, mapping: Mapping, *lines: str, dates: Path | None = None) -> IssueFile:
    return read_issues(write(folder, *lines), mapping, dates=dates)


def judged(file: IssueFile) -> tuple[list[tuple[int, str]], list[IssueRecord]]:
    """Which lines break which rules, and the records of the others."""
    broken = check([file], SUITE)
    return [(row.line, row.rule) for row in broken], to_records([file], broken)


def with_columns(mapping: Mapping = BASE, **columns: str | Cells) -> Mapping:
    return replace(mapping, columns={**mapping.columns, **columns})


@pytest.mark.parametrize(("unit", "hours"), [("hours", 90.0), ("minutes", 1.5), ("seconds", 0.025)])
def test_hours_are_hours_in_whatever_unit_they_are_written(tmp_path: Path, unit: str, hours: float) -> None:
    mapping = replace(with_columns(effort_hours="spent"), units={"effort_hours": unit})
    (record,) = to_records([read(tmp_path, mapping, f"{HEAD},spent", "A-1,t,2024-01-02,2024-01-03,90")])
    assert record.effort_hours == pytest.approx(hours)


def test_columns_are_joined_and_a_key_lacks_no_part(tmp_path: Path) -> None:
    mapping = with_columns(
        key=Cells(("item", "who"), joined_by="-"), title=Cells(("phase", "process"), joined_by=" "), assignee="who"
    )
    file = read(
        tmp_path, mapping, "item,who,phase,process,created,closed", "7,Ada,Code,,2024-01-02,", ",Ada,Code,P,2024-01-02,"
    )
    broken, (record,) = judged(file)
    assert (3, "the key is not empty") in broken
    assert (record.key, record.title, record.assignee) == ("7-Ada", "Code", "Ada")


def test_the_first_cell_that_is_not_empty_counts_and_columns_may_be_absent_or_repeated(tmp_path: Path) -> None:
    mapping = with_columns(
        component=Cells(("Components", "Component/s")), priority=Cells(("Priority", "Rank"), optional=True)
    )
    header = f"{HEAD},Component/s,Component/s"
    first, second = to_records([read(tmp_path, mapping, header, "A-1,t,2024-01-02,,,two", "A-2,t,2024-01-02,,one,two")])
    assert (first.component, second.component, first.priority) == ("two", "one", None)
    with pytest.raises(InputError, match="no column Components or Component/s"):
        read(tmp_path, mapping, HEAD, "A-1,t,2024-01-02,")


def test_cells_that_mean_missing_are_missing_and_so_are_hours_of_nothing(tmp_path: Path) -> None:
    mapping = replace(
        with_columns(estimate_hours="plan", effort_hours="spent"),
        missing_cells=("\\N", "n/a"),
        zero_is_missing=("estimate_hours",),
    )
    lines = ["A-1,t,2024-01-02,\\N,n/a,1", "A-2,t,2024-01-02,,0.0,1", "A-3,t,2024-01-02,,-2,1", "A-4,t,2024-01-02,,1,0"]
    file = read(tmp_path, mapping, f"{HEAD},plan,spent", *lines)
    broken, records = judged(file)
    assert broken == [(5, "effort hours are more than 0 and at most 100,000")]
    assert [(record.estimate_hours, record.completed_at) for record in records] == [(None, None)] * 3


def test_what_was_worked_on_a_row_that_is_not_done_is_no_outcome(tmp_path: Path) -> None:
    mapping = replace(with_columns(effort_hours="spent"), done=Done("status", ("FINISHED", "COMPLETED")))
    states = ("FINISHED", "CANCELLED", "COMPLETED", "")
    lines = [f"A-{number},t,2024-01-02,2024-01-03,4,{state}" for number, state in enumerate(states)]
    records = to_records([read(tmp_path, mapping, f"{HEAD},spent,status", *lines)])
    assert [record.effort_hours for record in records] == [4.0, None, 4.0, None]
    assert [record.completed_at is None for record in records] == [False, True, False, True]


def test_a_day_starts_for_the_creation_and_ends_for_the_completion(tmp_path: Path) -> None:
    mapping = replace(BASE, date_formats=("%d-%b-%y", "%d/%b/%y %I:%M %p"))
    lines = ["A-1,t,02-Nov-04,02-Nov-04", "A-2,t,2004-11-02,2004-11-02", "A-3,t,02/Nov/04 3:04 PM,2004-11-02 15:45"]
    days, iso, minutes = to_records([read(tmp_path, mapping, HEAD, *lines)])
    for record in (days, iso):
        assert record.created_at == datetime(2004, 11, 2, tzinfo=UTC)
        assert record.completed_at == datetime(2004, 11, 2, 23, 59, 59, 999_999, tzinfo=UTC)
    assert minutes.created_at == datetime(2004, 11, 2, 15, 4, tzinfo=UTC)
    assert minutes.completed_at == datetime(2004, 11, 2, 15, 45, tzinfo=UTC)


def test_a_completion_before_the_creation_and_a_row_without_creation_are_named(tmp_path: Path) -> None:
    file = read(
        tmp_path,
        replace(BASE, every_row_dated=True),
        HEAD,
        "A-1,t,2024-01-02,2024-01-01",
        "A-2,t,,",
        "A-3,t,2024-01-02,",
    )
    broken, records = judged(file)
    assert broken == [
        (2, "the completion is not before the creation"),
        (3, "the creation is there, since the mapping wants every row dated"),
    ]
    assert [record.key for record in records] == ["A-3"]


def test_rows_that_agree_are_one_and_rows_that_disagree_are_all_named(tmp_path: Path) -> None:
    mapping = replace(with_columns(assignee="who"), repeated_rows=True)
    lines = [
        "A-1,t,2024-01-02,,Ada,3", "A-1,t,2024-01-02,,Ada,5",  # the last column is no field
        "A-2,t,2024-01-02,,Ada,1", "A-2,u,2024-01-02,,Ada,1",
    ]  # fmt: skip
    file = read(tmp_path, mapping, f"{HEAD},who,of this developer", *lines)
    broken, records = judged(file)
    assert [line for line, rule in broken if "its rows agree in every field" in rule] == [4, 5]
    assert [record.key for record in records] == ["A-1"]
    as_it_stands = read(tmp_path, replace(mapping, repeated_rows=False), f"{HEAD},who,of this developer", *lines)
    assert [line for line, _ in judged(as_it_stands)[0]] == [2, 3, 4, 5]


DATED = Mapping(
    {"key": "key", "title": "title"}, dates=DatesFile("task", {"created_at": "asked", "completed_at": "closed"})
)


def test_dates_are_found_in_a_file_of_their_own(tmp_path: Path) -> None:
    dates = write(tmp_path, "task,closed,asked", "2,,2024-01-05", "1,2024-02-01,2024-01-02", name="dates.csv")
    one, two = to_records([read(tmp_path, DATED, "key,task,title", "A-1,1,t", "A-2,2,t", dates=dates)])
    assert (one.created_at, two.created_at) == (datetime(2024, 1, 2, tzinfo=UTC), datetime(2024, 1, 5, tzinfo=UTC))
    assert one.completed_at is not None
    assert two.completed_at is None


def test_a_row_that_the_file_of_dates_does_not_know_is_named(tmp_path: Path) -> None:
    dates = write(tmp_path, "task,asked,closed", "1,2024-01-02,", name="dates.csv")
    file = read(tmp_path, DATED, "key,task,title", "A-1,1,t", "A-2,2,t", "A-3,,t", dates=dates)
    assert judged(file)[0] == [(line, "the file of dates has a row of the same key") for line in (3, 4)]


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        (["1,2024-01-02,", "2,2024-01-02,", "1,2024-01-03,"], r"dates\.csv:2 and 4: one task, different dates"),
        (["1,2024-01-02"], r"dates\.csv:2: too few cells"),
        (["1,2024-01-02,", ",2024-01-02,"], r"dates\.csv:3: task is empty"),
    ],
)
def test_a_file_of_dates_that_is_wrong_is_refused_by_its_lines(tmp_path: Path, lines: list[str], said: str) -> None:
    dates = write(tmp_path, "task,asked,closed", *lines, name="dates.csv")
    with pytest.raises(InputError, match=said):
        read(tmp_path, DATED, "key,task,title", "A-1,1,t", dates=dates)


def test_a_file_of_dates_may_repeat_a_row_that_agrees(tmp_path: Path) -> None:
    dates = write(tmp_path, "task,asked,closed", "1,2024-01-02,", "1,2024-01-02,", name="dates.csv")
    assert len(to_records([read(tmp_path, DATED, "key,task,title", "A-1,1,t", dates=dates)])) == 1


def test_a_file_of_dates_that_is_needed_absent_or_not_wanted_is_said(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="name it with --dates FILE"):
        read(tmp_path, DATED, "key,task,title", "A-1,1,t")
    with pytest.raises(InputError, match=r"nowhere\.csv"):
        read(tmp_path, DATED, "key,task,title", "A-1,1,t", dates=tmp_path / "nowhere.csv")
    with pytest.raises(InputError, match="takes no file of dates"):
        read(tmp_path, BASE, HEAD, "A-1,t,2024-01-02,", dates=tmp_path / "dates.csv")
    lacking = write(tmp_path, "number,asked,closed", "1,2024-01-02,", name="dates.csv")
    with pytest.raises(InputError, match=r"dates\.csv: the file has no column task"):
        read(tmp_path, DATED, "key,task,title", "A-1,1,t", dates=lacking)


def test_an_assignee_is_known_at_the_completion_or_where_the_mapping_says_so_from_the_creation_on(
    tmp_path: Path,
) -> None:
    line = "A-1,t,2024-01-02,2024-01-05,Ada"
    created = datetime(2024, 1, 2, tzinfo=UTC)
    (final,) = to_records([read(tmp_path, with_columns(assignee="who"), f"{HEAD},who", line)])
    assert as_of(final, created).assignee is None
    planned = replace(with_columns(assignee="who"), assignee_known_at="creation")
    (own,) = to_records([read(tmp_path, planned, f"{HEAD},who", line)])
    assert as_of(own, created).assignee == "Ada"
    assert as_of(as_of(own, created), created) == as_of(own, created)


def test_the_project_may_stand_in_a_column_and_else_in_the_key(tmp_path: Path) -> None:
    mapping = with_columns(project_key="project")
    records = to_records([read(tmp_path, mapping, f"{HEAD},project", "A-1,t,2024-01-02,,P", "A-2,t,2024-01-02,,")])
    assert [record.project_key for record in records] == ["P", "A"]
    named = read_issues(write(tmp_path, f"{HEAD},project", "A-1,t,2024-01-02,,P"), mapping, "Q")
    assert [record.project_key for record in to_records([named])] == ["Q"]


def test_broken_joined_columns_are_named_as_the_file_names_them(tmp_path: Path) -> None:
    mapping = with_columns(title=Cells(("phase", "process"), joined_by=" "))
    file = read(tmp_path, mapping, "key,phase,process,created,closed", "A-1,,,2024-01-02,")
    assert check([file], SUITE) == [
        BrokenRow(str(file.path), 2, "phase + process", "the title is not empty"),
    ]
