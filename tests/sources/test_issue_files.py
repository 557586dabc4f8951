"""Files to records: parse all, validate all, records of the sound rows."""

from __future__ import annotations

import os
import time
from datetime import UTC, date, datetime, timedelta, timezone
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forecastle.errors import InputError, InvalidRowsError
from forecastle.records.issues import IssueRecord
from forecastle.sources.cells import read_moment, read_number
from forecastle.sources.issues import IssueFile, check, read_issues, to_records
from forecastle.sources.mapping import DATE_FORMATS, Mapping
from forecastle.sources.presets import PRESETS

ROOT = Path(__file__).parents[2]
SUITE = ROOT / "expectations" / "issues.json"
PUBLIC = Path(os.environ.get("FORECASTLE_PUBLIC_DATA", ROOT.parent / "shared" / "data")) / "story_points"
NAMES = (
    "key",
    "title",
    "description",
    "assignee",
    "story_points",
    "effort_hours",
    "created_at",
    "completed_at",
    "story_points_known_at",
)
MAPPING = Mapping({name: f"the {name}" for name in NAMES})


def file_of(folder: Path, *rows: str, name: str = "some.csv", project: str | None = None) -> IssueFile:
    path = folder / name
    path.write_text("\n".join([",".join(MAPPING.columns.values()), *rows, ""]), encoding="utf-8")
    return read_issues(path, MAPPING, project, project_from_file=False)


def record_of(folder: Path, row: str) -> IssueRecord:
    file = file_of(folder, row)
    assert check([file], SUITE) == []
    return to_records([file])[0]


def test_a_dated_row_becomes_a_record(tmp_path: Path) -> None:
    cells = "AB-C-7, a title ,NaN,,3,1.5,2024-01-02,02/Nov/24 3:04 PM,2024-01-03T00:00:00+02:00"
    assert record_of(tmp_path, cells) == IssueRecord(
        project_key="AB-C",
        key="AB-C-7",
        ordinal=0,
        time_basis="date",
        title="a title",
        description="NaN",
        story_points=3.0,
        effort_hours=1.5,
        created_at=datetime(2024, 1, 2, tzinfo=UTC),
        completed_at=datetime(2024, 11, 2, 15, 4, tzinfo=UTC),
        story_points_known_at=datetime(2024, 1, 2, 22, tzinfo=UTC),
    )


def test_datetimes_are_python_s_own_in_utc(tmp_path: Path) -> None:
    created = record_of(tmp_path, "A-1,t,,,,,2024-01-02T03:04:05.678901,,").created_at
    assert repr(created) == "datetime.datetime(2024, 1, 2, 3, 4, 5, 678901, tzinfo=datetime.timezone.utc)"


def test_story_points_count_as_known_at_the_completion(tmp_path: Path) -> None:
    record = record_of(tmp_path, "A-1,t,,,3,,2024-01-02,2024-02-01,")
    assert record.story_points_known_at == record.completed_at
    assert record_of(tmp_path, "A-1,t,,,3,,2024-01-02,,").story_points_known_at is None
    assert record_of(tmp_path, "A-1,t,,,,,2024-01-02,2024-02-01,").story_points_known_at is None


def test_a_row_without_creation_is_undated(tmp_path: Path) -> None:
    assert record_of(tmp_path, "A-1,t,,,3,,,,").time_basis == "ordinal"


def test_keys_and_titles_that_look_like_numbers_stay_text(tmp_path: Path) -> None:
    record = record_of(tmp_path, "A-007,1e3,None,,,,,,")
    assert (record.key, record.title, record.description) == ("A-007", "1e3", "None")


@pytest.mark.parametrize(
    ("row", "column", "rule"),
    [
        (",t,,,,,,,", "the key", "the key is not empty"),
        ("A-1, ,,,,,,,", "the title", "the title is not empty"),
        (f"A-1,{'x' * 1001},,,,,,,", "the title", "the title has at most 1,000 characters"),
        ("A-1,t,a\x00b,,,,,,", "the description", "the description holds no NUL character"),
        ("A-1,t,,,many,,,,", "the story_points", "story points are a finite number"),
        ("A-1,t,,,nan,,,,", "the story_points", "story points are a finite number"),
        ("A-1,t,,,1e999,,,,", "the story_points", "story points are a finite number"),
        ("A-1,t,,,-1,,,,", "the story_points", "story points lie between 0 and 1,000"),
        ("A-1,t,,,1001,,,,", "the story_points", "story points lie between 0 and 1,000"),
        ("A-1,t,,,,0,,,", "the effort_hours", "effort hours are more than 0"),
        ("A-1,t,,,,,yesterday,,", "the created_at", "the creation is a date"),
        ("A-1,t,,,,,0001-01-01T00:00:00+14:00,,", "the created_at", "the creation is a date"),
        ("A-1,t,,,,,1024-01-02,,", "the created_at", "the creation lies between the years 1970 and 2199"),
        ("A-1,t,,,,,2024-01-02,2024-01-01,", "the completed_at", "the completion is not before the creation"),
        (
            "A-1,t,,,1,,2024-01-02,,2024-01-01",
            "the story_points_known_at",
            "the moment of the story points is not",
        ),
        ("A-1,t,,", "layout", "a row has no fewer cells than the header"),
        ("A-1,t,,,,,,,,", "layout", "a row has no more cells than the header"),
        ('A-1,"t" t,,,,,,,', "layout", "a row is well-formed CSV"),
    ],
)
def test_a_broken_row_names_file_line_column_and_rule_and_no_text(
    tmp_path: Path, row: str, column: str, rule: str
) -> None:
    file = file_of(tmp_path, "A-0,fine,,,,,,,", row, "A-2,fine,,,,,,,")
    broken = check([file], SUITE)
    assert [(item.file, item.line, item.column) for item in broken if item.column != "project_key"] == [
        (str(file.path), 3, column)
    ]
    assert broken[0].rule.startswith(rule)
    assert [(record.key, record.ordinal) for record in to_records([file], broken)] == [("A-0", 0), ("A-2", 1)]


def test_a_key_without_project_is_broken_unless_the_project_is_named(tmp_path: Path) -> None:
    broken = check([file_of(tmp_path, "12,t,,,,,,,")], SUITE)
    assert [item.column for item in broken] == ["project_key"]
    named = file_of(tmp_path, "12,t,,,,,,,", project="P")
    assert check([named], SUITE) == []
    assert to_records([named])[0].project_key == "P"


def test_every_row_of_a_repeated_key_is_broken_across_files(tmp_path: Path) -> None:
    one = file_of(tmp_path, "A-1,t,,,,,,,", "A-2,t,,,,,,,", name="one.csv")
    two = file_of(tmp_path, "B-1,t,,,,,,,", "A-1,u,,,,,,,", name="two.csv")
    broken = check([one, two], SUITE)
    assert [(Path(item.file).name, item.line, item.column) for item in broken] == [
        ("one.csv", 2, "the key"),
        ("two.csv", 3, "the key"),
    ]
    assert "one.csv:2: the key: a key stands only once in its project" in str(InvalidRowsError(broken))
    assert [record.key for record in to_records([one, two], broken)] == ["A-2", "B-1"]


def test_the_same_key_in_two_projects_is_sound_and_ordinals_count_within_each(tmp_path: Path) -> None:
    files = [file_of(tmp_path, "A-1,t,,,,,,,", "A-2,t,,,,,,,", name=f"{name}.csv", project=name) for name in "PQ"]
    assert check(files, SUITE) == []
    assert [record.ordinal for record in to_records(files)] == [0, 1, 0, 1]


def test_the_project_may_be_the_file_s_name(tmp_path: Path) -> None:
    path = file_of(tmp_path, "A-1,t,,,,,,,", name="my.project.csv").path
    assert read_issues(path, MAPPING, None, project_from_file=True).frame["project_key"].tolist() == ["my.project"]
    assert read_issues(path, MAPPING, "Q", project_from_file=True).frame["project_key"].tolist() == ["Q"]


def test_a_missing_column_is_named_with_the_columns_that_are_there(tmp_path: Path) -> None:
    (tmp_path / "some.csv").write_text("issuekey;title\n")
    with pytest.raises(InputError, match=r"no column description, issuekey.* it has: issuekey;title"):
        read_issues(tmp_path / "some.csv", PRESETS["deepse"])


def test_a_mapped_column_may_stand_once_and_others_as_often_as_they_like(tmp_path: Path) -> None:
    path, mapping = tmp_path / "some.csv", Mapping({"key": "k", "title": "t"}, time_basis="ordinal")
    path.write_text("k,t,Sprint,Sprint\nA-1,t,1,2\n")
    assert len(read_issues(path, mapping).frame) == 1
    path.write_text("k,t,t\nA-1,t,u\n")
    with pytest.raises(InputError, match="more than once: t"):
        read_issues(path, mapping)


def test_a_header_alone_and_no_file_at_all_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no rows"):
        file_of(tmp_path)
    with pytest.raises(InputError, match="no file"):
        check([], SUITE)


@given(st.text(max_size=20))
def test_a_number_is_finite_or_a_value_error(cell: str) -> None:
    try:
        assert abs(read_number(cell)) < float("inf")
    except ValueError:
        return


@pytest.mark.parametrize("cell", ["", "1_000", "١", "nan", "inf", "1,5", "0x1", "1e999", "3 pts"])
def test_what_a_tracker_would_not_write_is_no_number(cell: str) -> None:
    with pytest.raises(ValueError):
        read_number(cell)


offsets = st.integers(-12 * 60, 14 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))


@given(st.datetimes(min_value=datetime(1970, 1, 2), max_value=datetime(2199, 1, 1), timezones=offsets))  # noqa: DTZ001
def test_iso_dates_of_any_zone_keep_their_moment(moment: datetime) -> None:
    assert read_moment(moment.isoformat(), DATE_FORMATS) == moment


@given(st.dates(min_value=date(1970, 1, 1), max_value=date(2199, 12, 31)), st.sampled_from(["%Y-%m-%d", "%d.%m.%Y"]))
def test_a_day_alone_is_its_first_microsecond_or_its_last(day: date, written: str) -> None:
    cell = day.strftime(written)
    first, last = (read_moment(cell, ("%d.%m.%Y",), day_ends=ends) for ends in (False, True))
    assert first == datetime(day.year, day.month, day.day, tzinfo=UTC)
    assert last - first == timedelta(days=1) - timedelta(microseconds=1)


@given(st.text(max_size=20))
def test_no_text_crashes_the_reader_of_dates(cell: str) -> None:
    try:
        assert read_moment(cell, DATE_FORMATS).tzinfo is UTC
    except ValueError:
        return


@pytest.mark.parametrize(("cell", "day"), [("02-Nov-04", 2), ("03/Nov/04 12:30 AM", 3), ("2004-11-04", 4)])
def test_dates_of_trackers_are_read(cell: str, day: int) -> None:
    assert read_moment(cell, DATE_FORMATS).date() == datetime(2004, 11, day, tzinfo=UTC).date()


@pytest.mark.public_data
@pytest.mark.skipif(not PUBLIC.is_dir(), reason="no public data beside the checkout (FORECASTLE_PUBLIC_DATA)")
def test_every_row_of_the_public_story_points_is_sound_and_read_in_seconds() -> None:
    start = time.perf_counter()
    files = [read_issues(path, PRESETS["deepse"], None, True) for path in sorted(PUBLIC.glob("*.csv.gz"))]
    parsed = time.perf_counter() - start
    assert check(files, SUITE) == []
    records = to_records(files)
    assert len(records) == sum(len(file.lines) for file in files) > 10_000
    assert all(record.time_basis == "ordinal" and record.story_points is not None for record in records)
    assert parsed < 20
