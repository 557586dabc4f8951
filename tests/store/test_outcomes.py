"""What the store knows at a moment equals what training says was known."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from itertools import count

import pytest
from clocks import move_clock
from hypothesis import given, settings
from hypothesis import strategies as st

from forecastle.errors import NotFoundError
from forecastle.features.recency import KnownOutcomes
from forecastle.records.issues import IssueRecord
from forecastle.records.outcomes import NONE_KNOWN, RECENT, Outcomes
from forecastle.store.database import Database
from forecastle.store.issues import import_issues
from forecastle.store.outcomes import projects_with_outcomes

START = datetime(2024, 1, 1, tzinfo=UTC)
FAR = datetime(2100, 1, 1, tzinfo=UTC)

points = st.one_of(st.sampled_from([1.0, 2.0, 3.0, 5.0, 8.0]), st.floats(0, 1000))
drawn = st.lists(st.tuples(st.integers(0, 20), st.one_of(st.none(), points)), max_size=40)


def dated(project: str, known: Sequence[tuple[int, float | None]]) -> list[IssueRecord]:
    """Issues whose points were set at some hour, many of them at the same."""
    return [
        IssueRecord(
            project_key=project,
            key=f"{project}-{number}",
            ordinal=number,
            time_basis="date",
            created_at=START,
            story_points_known_at=START + timedelta(hours=hour),
            title="An issue",
            story_points=value,
        )
        for number, (hour, value) in enumerate(known)
    ]


def undated(project: str, values: Sequence[float | None]) -> list[IssueRecord]:
    return [
        IssueRecord(
            project_key=project,
            key=f"{project}-{number}",
            ordinal=number,
            time_basis="ordinal",
            title="An issue",
            story_points=value,
        )
        for number, value in enumerate(values)
    ]


def ask(database: Database, projects: Sequence[str], moment: datetime) -> dict[str, Outcomes]:
    with database.transaction() as connection:
        found = projects_with_outcomes(connection, "story_points", "story_points_known_at", projects, moment)
    return {name: outcomes for name, (_, outcomes) in found.items()}


def assert_same(found: Outcomes, expected: Outcomes) -> None:
    assert (found.count, found.recent) == (expected.count, expected.recent)
    if expected.count:
        assert math.isclose(found.mean, expected.mean, rel_tol=1e-9, abs_tol=1e-12)
        assert math.isclose(found.median, expected.median, rel_tol=1e-12, abs_tol=1e-12)
    else:
        assert found is NONE_KNOWN


def test_dated_outcomes_of_the_store_equal_those_of_training(database: Database) -> None:
    names = (f"P{number}" for number in count())

    @settings(max_examples=40, deadline=None)
    @given(drawn, st.integers(-1, 21))
    def equal(known: list[tuple[int, float | None]], hour: int) -> None:
        project = next(names)
        with database.transaction() as connection:
            import_issues(connection, dated(project, known or [(0, None)]))
        there = [(at, value) for at, value in known if value is not None]
        expected = KnownOutcomes([float(at) for at, _ in there], [value for _, value in there]).at(hour)
        assert_same(ask(database, [project], START + timedelta(hours=hour))[project], expected)

    equal()


def test_undated_outcomes_are_known_once_imported_in_their_order(database: Database) -> None:
    names = (f"P{number}" for number in count())

    @settings(max_examples=25, deadline=None)
    @given(st.lists(st.one_of(st.none(), points), min_size=1, max_size=40))
    def equal(values: list[float | None]) -> None:
        project = next(names)
        with database.transaction() as connection:
            import_issues(connection, undated(project, values))
        there = [value for value in values if value is not None]
        expected = KnownOutcomes([float(position) for position in range(len(there))], there).at(len(there))
        assert_same(ask(database, [project], FAR)[project], expected)
        assert ask(database, [project], START)[project] is NONE_KNOWN

    equal()


def test_only_recent_outcomes_come_one_by_one(database: Database) -> None:
    values = [float(number % 13) for number in range(RECENT + 30)]
    with database.transaction() as connection:
        import_issues(connection, [*undated("U", values), *dated("D", list(enumerate(values)))])
    found = ask(database, ["U", "D"], FAR)
    assert_same(found["U"], found["D"])
    assert found["U"].count == RECENT + 30
    assert found["U"].recent == tuple(values[30:])


def test_projects_are_asked_for_by_key_or_id_and_unknown_ones_are_absent(database: Database) -> None:
    with database.transaction() as connection:
        import_issues(connection, [*undated("A", [3.0]), *undated("B", [5.0])])
        by_key = projects_with_outcomes(connection, "story_points", "story_points_known_at", ["A", "nowhere"], FAR)
        identifier, outcomes = by_key["A"]
        by_id = projects_with_outcomes(
            connection, "story_points", "story_points_known_at", [str(identifier), "B", "B"], FAR
        )
    assert set(by_key) == {"A"}
    assert by_id[str(identifier)] == (identifier, outcomes)
    assert by_id["B"][1].recent == (5.0,)


def test_an_unknown_target_is_not_found(database: Database) -> None:
    with pytest.raises(NotFoundError, match="no outcomes are kept"), database.transaction() as connection:
        projects_with_outcomes(connection, "lines_of_code", "completed_at", ["A"], FAR)


def test_what_was_imported_before_the_clock_was_set_back_is_still_known(database: Database) -> None:
    with database.transaction() as connection:
        import_issues(connection, undated("A", [3.0, 5.0]))
    move_clock(database, -timedelta(days=5))
    assert ask(database, ["A"], datetime.now(UTC))["A"].count == 2
    assert ask(database, ["A"], START)["A"] is NONE_KNOWN
