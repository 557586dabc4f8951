"""A job that did not run by its time is overdue; one that did, or that has its time still, is not."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from forecastle.store import known_jobs
from forecastle.store.database import Database
from forecastle.store.known_jobs import BUSY, KnownJob

NAME = "a.job"
ALLOWANCE = timedelta(hours=1)


def know(database: Database, due_hours_ago: float | None, known_hours: float = 1000) -> None:
    """A job that is due daily, last so long ago, and known for so long; or one without a schedule."""
    anchor = None if due_hours_ago is None else ago(30 * 24 + due_hours_ago)
    period = None if due_hours_ago is None else timedelta(days=1)
    with database.transaction() as connection:
        known_jobs.replace_all(connection, [KnownJob(NAME, "q", [], [], period, anchor, ALLOWANCE)])
        connection.execute("update jobs set known_since = now() - %s", (timedelta(hours=known_hours),))


def ago(hours: float) -> datetime:
    return datetime.now(UTC) - timedelta(hours=hours)


def ran(database: Database, began: float, ended: float | None, outcome: str | None, code: str | None = None) -> None:
    """A run that began and ended so many hours ago."""
    with database.transaction() as connection:
        connection.execute(
            "insert into job_runs (id, name, arguments, planned_by, planned_at, started_at, ended_at, outcome, detail, "
            "error_code) values (gen_random_uuid(), %s, '{}', 'schedule', %s, %s, %s, %s, 'x', %s)",
            (NAME, ago(began), ago(began), None if ended is None else ago(ended), outcome, code),
        )


def overdue(database: Database) -> list[str]:
    with database.transaction() as connection:
        return [job.name for job in known_jobs.overdue_jobs(connection)]


@pytest.mark.parametrize(
    "due, known, expected",
    [(2, 1000, [NAME]), (0.5, 1000, [NAME]), (0.5, 10, []), (2, 1, [])],
    ids=["past its deadline", "the tick before it was missed", "has its time still", "not known when it was due"],
)
def test_a_job_that_never_ran(database: Database, due: float, known: float, expected: list[str]) -> None:
    know(database, due, known)
    assert overdue(database) == expected


@pytest.mark.parametrize(
    "began, ended, outcome, code, expected",
    [
        (2, 1.9, "succeeded", None, []),
        (2, 1.9, "skipped", None, []),
        (2, 1.9, "skipped", BUSY, [NAME]),
        (2, 1.9, "failed", "internal", [NAME]),
        (2, 1.9, "cancelled", None, [NAME]),
        (4, 2.5, "succeeded", None, [NAME]),
        (4, 1.5, "succeeded", None, []),
        (1.5, None, None, None, [NAME]),
    ],
)
def test_a_job_that_was_due_two_hours_ago_and_ran(
    database: Database, began: float, ended: float | None, outcome: str | None, code: str | None, expected: list[str]
) -> None:
    know(database, 2)
    ran(database, began, ended, outcome, code)
    assert overdue(database) == expected


def test_a_run_that_goes_on_for_too_long_is_overdue_whatever_asked_for_it(database: Database) -> None:
    know(database, None)
    ran(database, 0.9, None, None)
    assert overdue(database) == []
    ran(database, 1.1, None, None)
    assert overdue(database) == [NAME]


def test_what_no_beat_knows_any_more_is_forgotten_and_what_stays_is_known_since_when_it_was(database: Database) -> None:
    know(database, 2)
    with database.transaction() as connection:
        known_jobs.replace_all(connection, [*known_jobs.list_known(connection)])
        assert known_jobs.overdue_jobs(connection) != []
        known_jobs.replace_all(connection, [])
        assert known_jobs.list_known(connection) == []
        assert known_jobs.overdue_jobs(connection) == []
