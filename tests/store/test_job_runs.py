"""Leases: one holder at a time, whatever comes when."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from uuid import UUID

import pytest

from forecastle.errors import ConflictError, InputError, NotFoundError
from forecastle.store import job_queue, job_runs
from forecastle.store.database import Database
from forecastle.store.identifiers import new_id
from forecastle.store.job_runs import Ending, JobRun

DONE = Ending("succeeded", "done", items=3)


@pytest.fixture
def run(database: Database) -> JobRun:
    return plan(database)


def plan(database: Database, due_key: str | None = None) -> JobRun:
    with database.transaction() as connection:
        found = job_runs.plan(connection, "a.job", {"model_type": "x"}, "ada", due_key)
    assert found is not None
    return found


def take(database: Database, run: JobRun, seconds: float = 60) -> JobRun | None:
    with database.transaction() as connection:
        return job_runs.take_lease(connection, run.id, "worker", seconds)


def held(database: Database, run: JobRun, seconds: float = 60) -> JobRun:
    found = take(database, run, seconds)
    assert found is not None
    return found


def get(database: Database, run: JobRun) -> JobRun:
    with database.transaction() as connection:
        return job_runs.get_run(connection, run.id)


def test_a_tick_is_planned_once(database: Database) -> None:
    first = plan(database, "a.job@tick")
    with database.transaction() as connection:
        assert job_runs.plan(connection, "a.job", {}, "bob", "a.job@tick") is None
        assert [run.id for run in job_runs.list_runs(connection)] == [first.id]
        assert job_queue.was_scheduled(connection, "a.job")
        assert not job_queue.was_scheduled(connection, "another")


def test_a_lease_is_held_by_one_and_taken_over_when_it_has_run_out(database: Database, run: JobRun) -> None:
    first = held(database, run, 0)
    second = held(database, run)
    assert take(database, run) is None
    assert (first.attempts, second.attempts) == (1, 2)
    assert second.started_at == first.started_at
    with database.transaction() as connection:
        assert job_runs.heartbeat(connection, first, 60) == "lost"
        assert not job_runs.end(connection, first, DONE)
        assert job_runs.heartbeat(connection, second, 60) == "held"
        assert job_runs.end(connection, second, DONE)
        assert not job_runs.end(connection, second, Ending("failed", "too late"))
    ended = get(database, run)
    assert (ended.state, ended.items, ended.detail, ended.lease_token) == ("succeeded", 3, "done", None)
    assert take(database, run) is None


def test_of_many_that_ask_at_once_one_gets_the_lease(database: Database, run: JobRun) -> None:
    together = Barrier(6, timeout=20)

    def ask(_: int) -> bool:
        together.wait()
        return take(database, run) is not None

    with ThreadPoolExecutor(6) as pool:
        assert sum(pool.map(ask, range(6))) == 1


def test_a_run_that_is_given_back_is_free_at_once_and_the_attempt_does_not_count(
    database: Database, run: JobRun
) -> None:
    first = held(database, run)
    with database.transaction() as connection:
        job_runs.release(connection, first)
    assert held(database, run).attempts == 1
    with database.transaction() as connection:
        job_runs.release(connection, first)  # what it does not hold it cannot give
    assert take(database, run) is None


def test_what_nobody_holds_is_cancelled_at_once_and_what_runs_hears_of_it(database: Database, run: JobRun) -> None:
    with database.transaction() as connection:
        assert job_runs.request_cancel(connection, run.id, "bob").state == "cancelled"
        with pytest.raises(ConflictError, match="has ended already: cancelled"):
            job_runs.request_cancel(connection, run.id, "bob")
    assert take(database, run) is None
    running = held(database, plan(database))
    with database.transaction() as connection:
        assert job_runs.request_cancel(connection, running.id, "bob").state == "cancelling"
        assert job_runs.heartbeat(connection, running, 60) == "cancel"


def test_only_what_has_ended_is_planned_anew(database: Database, run: JobRun) -> None:
    with database.transaction() as connection:
        with pytest.raises(ConflictError, match="has not ended; cancel it first"):
            job_runs.retry(connection, run.id, "bob")
        job_runs.end_unheld(connection, run.id, DONE)
        again = job_runs.retry(connection, run.id, "bob")
    assert (again.name, again.arguments, again.planned_by, again.state) == ("a.job", run.arguments, "bob", "planned")


def test_what_is_sent_and_what_is_overdue(database: Database, run: JobRun) -> None:
    def ids(found: list[JobRun]) -> list[UUID]:
        return [one.id for one in found]

    with database.transaction() as connection:
        assert ids(job_queue.unsent(connection)) == [run.id]
        job_queue.mark_sent(connection, run.id, "q")
        assert job_queue.unsent(connection) == []
        assert job_queue.overdue(connection, [], 0) == []  # its message waits
        assert job_queue.overdue(connection, ["q"], 60) == []  # it has just been sent
        assert ids(job_queue.overdue(connection, ["q"], 0)) == [run.id]
    held(database, run)
    with database.transaction() as connection:
        assert job_queue.overdue(connection, ["q"], 0) == []  # somebody holds it
        connection.execute("update job_runs set lease_until = clock_timestamp()")
        assert ids(job_queue.overdue(connection, [], 60)) == [run.id]
        job_queue.mark_sent(connection, run.id, "q")
        assert job_queue.overdue(connection, [], 60) == []


def test_two_dispatchers_see_a_run_once(database: Database, run: JobRun) -> None:
    with database.transaction() as first, database.transaction() as second:
        assert len(job_queue.unsent(first)) == 1
        assert job_queue.unsent(second) == []


def test_a_run_is_found_by_the_start_of_its_id(database: Database, run: JobRun) -> None:
    plan(database)
    with database.transaction() as connection:
        assert job_runs.find_id(connection, str(run.id)) == run.id
        with pytest.raises(InputError, match="give more of the id"):
            job_runs.find_id(connection, str(run.id)[:6])
        for unknown in ("", "x%"):
            with pytest.raises(NotFoundError):
                job_runs.find_id(connection, unknown)
        with pytest.raises(NotFoundError):
            job_runs.get_run(connection, new_id())
