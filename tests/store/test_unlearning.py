"""Periods to be unlearned: what lies in one, of whom, and that a mark stays as a row when it is withdrawn."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from forecastle.errors import InputError, NotFoundError
from forecastle.records.issues import IssueRecord
from forecastle.store.database import Connection, Database
from forecastle.store.identifiers import new_id
from forecastle.store.issues import import_issues
from forecastle.store.tenants import get_project
from forecastle.store.unlearning import mark_period, marked_periods, unlearned_issues, withdraw_period

NAME, KNOWN_FIELD = "delivery.effort", "completed_at"
START = datetime(2026, 3, 2, tzinfo=UTC)
HOUR, WEEK = timedelta(hours=1), timedelta(days=7)
# Created and completed, in hours from the beginning of a marked week.
ISSUES = {
    "long before": (-200, -190), "asked in it": (1, 400), "known in it": (-200, 20), "at its beginning": (0, 300),
    "at its end": (168, 300), "around it": (-1, 168), "open": (5, None),
}  # fmt: skip
INSIDE = {"asked in it", "known in it", "at its beginning", "open"}


@pytest.fixture
def filled(database: Database) -> Database:
    def issue(project: str, key: str, ordinal: int, hours: tuple[int, int | None]) -> IssueRecord:
        created, completed = (None if at is None else START + at * HOUR for at in hours)
        dates: Any = {"time_basis": "date", "created_at": created, "completed_at": completed, "effort_hours": 1.0}
        return IssueRecord(project_key=project, key=key, ordinal=ordinal, title="An issue", **dates)

    dated = [issue(of, key, n, hours) for of in ("A", "B") for n, (key, hours) in enumerate(ISSUES.items())]
    undated = IssueRecord(project_key="C", key="C-1", ordinal=0, time_basis="ordinal", title="x", effort_hours=1.0)
    with database.transaction() as connection:
        import_issues(connection, [*dated, undated])
    return database


def keys(connection: Connection, project: str | None = None) -> list[str]:
    found = unlearned_issues(connection, NAME, KNOWN_FIELD, get_project(connection, project).id if project else None)
    return sorted(key for _, key in found)


def test_what_was_asked_or_became_known_from_its_beginning_up_to_its_end_lies_in_a_period(filled: Database) -> None:
    with filled.transaction() as connection:
        assert keys(connection) == []
        mark_period(connection, NAME, None, START, START + WEEK, "hours were logged twice", "ada")
        assert keys(connection) == sorted([*INSIDE, *INSIDE])
        assert keys(connection, "A") == sorted(INSIDE)
        assert keys(connection, "C") == []
        assert unlearned_issues(connection, "delivery.story_points", KNOWN_FIELD) == set()


def test_a_period_of_one_project_leaves_the_others_alone_and_overlapping_ones_count_once(filled: Database) -> None:
    with filled.transaction() as connection:
        project = get_project(connection, "B").id
        for _ in range(2):
            mark_period(connection, NAME, project, START, START + WEEK, "twice", "ada")
        assert (keys(connection, "A"), keys(connection)) == ([], sorted(INSIDE))


def test_a_mark_that_is_withdrawn_stays_as_a_row_that_says_by_whom(filled: Database) -> None:
    with filled.transaction() as connection:
        made = mark_period(connection, NAME, None, START, START + WEEK, "a mistake", "ada")
        assert marked_periods(connection, NAME) == marked_periods(connection) == [made]
        assert marked_periods(connection, "delivery.story_points") == []
        gone = withdraw_period(connection, made.id, "ben")
        assert (gone.withdrawn_by, gone.marked_by, marked_periods(connection), keys(connection)) == (
            "ben",
            "ada",
            [],
            [],
        )
        assert connection.execute("select count(*) as n from unlearned_periods").fetchone() == {"n": 1}


def test_what_makes_no_sense_is_refused(filled: Database) -> None:
    with filled.transaction() as connection:
        with pytest.raises(InputError, match="begins before it ends"):
            mark_period(connection, NAME, None, START, START, "nothing", "ada")
        with pytest.raises(NotFoundError, match="no period with this id"):
            withdraw_period(connection, new_id(), "ada")
        with pytest.raises(NotFoundError, match="no outcome is known at"):
            unlearned_issues(connection, NAME, "title; drop table issues")
