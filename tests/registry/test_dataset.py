"""Dataset versions are immutable, numbered by content, and come back exactly."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forecastle.errors import IntegrityError
from forecastle.generator.issues import Portfolio, generate_issues
from forecastle.records.issues import IssueRecord
from forecastle.registry.dataset import (
    TrainingRows,
    digest_of_rows,
    load_version,
    read_rows,
    rows_of_issues,
    save_version,
)
from forecastle.registry.declaration import ModelType
from forecastle.registry.examples import Row
from forecastle.store.database import Database
from forecastle.store.issues import import_issues
from forecastle.store.objects import Objects
from forecastle.store.tenants import get_project

START = datetime(2024, 1, 1, tzinfo=UTC)
NAME = "delivery.story_points"


def dated(project: str, number: int, hour: int, known: int | None, value: float | None = 3.0) -> IssueRecord:
    return IssueRecord(
        project_key=project,
        key=f"{project}-{number}",
        ordinal=number,
        time_basis="date",
        created_at=START + timedelta(hours=hour),
        story_points_known_at=None if known is None else START + timedelta(hours=known),
        title="An issue",
        description="",
        story_points=value,
    )


def undated(project: str, number: int, value: float | None = 3.0) -> IssueRecord:
    return IssueRecord(
        project_key=project,
        key=f"{project}-{number}",
        ordinal=number,
        time_basis="ordinal",
        title="An issue",
        description="",
        story_points=value,
    )


def demo(model_type: ModelType, issues: int = 20) -> TrainingRows:
    return rows_of_issues(model_type, generate_issues(Portfolio(projects=2, issues=issues)))


def test_the_same_rows_are_the_same_version(database: Database, objects: Objects, model_type: ModelType) -> None:
    first = save_version(database, objects, NAME, demo(model_type))
    assert (first.version, first.rows, first.clusters) == (1, 40, 2)
    assert save_version(database, objects, NAME, demo(model_type)) == first


def test_one_more_row_is_another_version(database: Database, objects: Objects, model_type: ModelType) -> None:
    found = demo(model_type)
    first = save_version(database, objects, NAME, TrainingRows(found.time_basis, found.rows[:-1]))
    second = save_version(database, objects, NAME, found)
    assert (first.version, second.version) == (1, 2)
    assert first.digest != second.digest
    assert load_version(objects, first).rows == found.rows[:-1]  # the older one is still there


def test_versions_of_another_name_are_counted_apart(
    database: Database, objects: Objects, model_type: ModelType
) -> None:
    found = demo(model_type)
    assert [save_version(database, objects, name, found).version for name in (NAME, f"{NAME}.one")] == [1, 1]


def test_another_target_another_moment_or_another_text_is_another_digest(model_type: ModelType) -> None:
    found = demo(model_type)
    first, *rest = found.rows
    others = [
        replace(first, target=first.target + 1),
        replace(first, known_at=first.known_at + 1),
        replace(first, request={**first.request, "title": "Another"}),
    ]
    digests = {digest_of_rows(TrainingRows("ordinal", (row, *rest))) for row in (first, *others)}
    assert len(digests) == 4
    assert digest_of_rows(replace(found, time_basis="date")) not in digests


texts = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\0"), max_size=20)
finite = st.floats(allow_nan=False, allow_infinity=False)
any_rows = st.lists(
    st.builds(
        Row,
        key=texts,
        cluster=texts,
        asked_at=finite,
        known_at=finite,
        target=finite,
        request=st.dictionaries(st.sampled_from(["title", "description"]), st.one_of(st.none(), texts)),
    ),
    max_size=12,
)


def test_rows_come_back_from_parquet_exactly(database: Database, objects: Objects) -> None:
    @given(any_rows)
    def come_back(rows: list[Row]) -> None:
        found = TrainingRows("ordinal", tuple(rows))
        version = save_version(database, objects, NAME, found)
        assert version.digest == digest_of_rows(found)
        assert load_version(objects, version) == found

    come_back()


def test_dated_projects_have_an_axis_of_seconds(database: Database, objects: Objects, model_type: ModelType) -> None:
    found = rows_of_issues(model_type, [dated("A", 0, 0, 5), dated("B", 0, 2, 3)])
    assert found.time_basis == "date"
    start = START.timestamp()
    assert [(row.asked_at, row.known_at) for row in found.rows] == [
        (start, start + 5 * 3600),
        (start + 2 * 3600, start + 3 * 3600),
    ]
    version = save_version(database, objects, NAME, found)
    assert (version.time_basis, version.span_from) == ("date", START.isoformat())
    assert version.span_until == (START + timedelta(hours=2)).isoformat()


def test_one_project_without_dates_puts_all_on_relative_positions(model_type: ModelType) -> None:
    # Created at hours 0, 1, 2, 3; the first one's points are known between the third and the fourth creation.
    with_dates = [dated("A", number, number, known) for number, known in enumerate((2, 1, 50, 3))]
    with_dates[0] = replace(with_dates[0], story_points_known_at=START + timedelta(hours=2, minutes=30))
    found = rows_of_issues(model_type, [*with_dates, *(undated("B", number) for number in range(2))])
    assert found.time_basis == "ordinal"
    positions = {row.key: (row.asked_at, row.known_at) for row in found.rows}
    assert positions == {
        "A-0": (0.0, 0.75),
        "A-1": (0.25, 0.5),
        "A-2": (0.5, 1.0),
        "A-3": (0.75, 1.0),
        "B-0": (0.0, 0.5),
        "B-1": (0.5, 1.0),
    }


def test_outcomes_whose_moment_nobody_knows_are_left_out_and_counted(model_type: ModelType) -> None:
    found = rows_of_issues(model_type, [dated("A", 0, 0, 5), dated("A", 1, 1, None), dated("A", 2, 2, None)])
    assert [row.key for row in found.rows] == ["A-0"]
    assert found.unknown_when == 2
    mixed = rows_of_issues(model_type, [dated("A", 0, 0, 5), dated("A", 1, 1, None), undated("B", 0)])
    assert ([row.key for row in mixed.rows], mixed.unknown_when) == (["A-0", "B-0"], 1)


def test_issues_without_an_outcome_are_no_rows(model_type: ModelType) -> None:
    found = rows_of_issues(model_type, [undated("A", 0, None), dated("B", 0, 0, None, None), dated("B", 1, 1, 2)])
    assert [row.key for row in found.rows] == ["B-1"]
    assert (found.time_basis, found.unknown_when) == ("date", 0)
    assert rows_of_issues(model_type, []).rows == ()


def test_rows_are_read_of_all_projects_or_of_one(database: Database, model_type: ModelType) -> None:
    with database.transaction() as connection:
        import_issues(connection, [undated("A", 0), undated("A", 1), undated("B", 0)])
        project = get_project(connection, "B")
    assert len(read_rows(database, model_type).rows) == 3
    (row,) = read_rows(database, model_type, project.id).rows
    assert (row.key, row.cluster) == ("B-0", str(project.id))


def test_of_many_dated_rows_the_latest_teach_and_the_others_are_counted(
    database: Database, model_type: ModelType
) -> None:
    issues = [dated("A", number, hour=10 - number, known=20) for number in range(5)]  # the later ones are older
    issues += [dated("B", 0, hour=9, known=20), dated("B", 1, hour=30, known=31, value=None)]
    with database.transaction() as connection:
        import_issues(connection, issues)
    found = read_rows(database, model_type, most_rows=3)
    assert {row.key for row in found.rows} == {"A-0", "A-1", "B-0"}
    assert found.left_out_older == 3
    assert read_rows(database, model_type, most_rows=6).left_out_older == 0
    assert len(read_rows(database, model_type, most_rows=6).rows) == 6


def test_of_many_undated_rows_those_at_the_end_of_their_projects_teach(
    database: Database, model_type: ModelType
) -> None:
    issues = [*(undated("A", number) for number in range(8)), *(undated("B", number) for number in range(4))]
    with database.transaction() as connection:
        import_issues(connection, issues)
        project = get_project(connection, "A")
    found = read_rows(database, model_type, most_rows=6)
    assert {row.key for row in found.rows} == {"A-4", "A-5", "A-6", "A-7", "B-2", "B-3"}
    assert found.left_out_older == 6
    own = read_rows(database, model_type, project.id, most_rows=2)
    assert ([row.key for row in own.rows], own.left_out_older) == (["A-6", "A-7"], 6)


def test_a_file_that_holds_other_rows_than_its_digest_says_is_refused(
    database: Database, objects: Objects, model_type: ModelType
) -> None:
    found = demo(model_type)
    version = save_version(database, objects, NAME, found)
    other = save_version(database, objects, NAME, replace(found, rows=found.rows[:-1]))
    objects.put(version.object_name, objects.get(other.object_name))
    with pytest.raises(IntegrityError, match="does not hold the rows"):
        load_version(objects, version)
