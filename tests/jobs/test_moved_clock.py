"""A clock that is moved by days while jobs run: nothing runs twice, waits for days, or deletes what is kept."""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import pytest
from clocks import move_clock
from processes import await_that

from forecastle.settings import Settings
from forecastle.store import job_runs
from forecastle.store.database import Database
from forecastle.store.job_runs import JobRun
from jobs import runner
from jobs.child import call
from jobs.dispatcher import Dispatcher
from jobs.registry import Job
from jobs.runner import Runner

SLEEP = Job("sleep", "analysis", "time:sleep", 60, 1 << 30)
DAYS = timedelta(days=3)


class Sent:
    """Stands in for the broker: counts what was sent, and its queues are never empty."""

    def __init__(self) -> None:
        self.runs = 0

    def send(self, run: JobRun, queue: str) -> None:
        self.runs += 1

    def idle_queues(self) -> list[str]:
        return []


@pytest.fixture(autouse=True)
def fast(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "HEARTBEAT_SECONDS", 0.3)


@pytest.fixture
def run(database: Database) -> JobRun:
    """A run that was sent."""
    with database.transaction() as connection:
        planned = job_runs.plan(connection, "sleep", {}, "ada")
    assert planned is not None
    Dispatcher(database, Sent(), {"sleep": SLEEP}).run_once()
    return planned


def get(database: Database, run: JobRun) -> JobRun:
    with database.transaction() as connection:
        return job_runs.get_run(connection, run.id)


@contextmanager
def working(database: Database, url: str, run: JobRun, monkeypatch: pytest.MonkeyPatch) -> Iterator[Runner]:
    """A worker that runs it until the block ends, and then gives it back."""
    monkeypatch.setattr(runner, "_process", _sleeping)
    stopping = threading.Event()
    made = Runner(Settings(database_url=url), database, "first", stopping, {"sleep": SLEEP})
    thread = threading.Thread(target=made.run, args=(run.id,))
    thread.start()
    try:
        await_that(lambda: get(database, run).lease_token is not None, 10)
        yield made
    finally:
        stopping.set()
        thread.join(20)


@contextmanager
def _sleeping(*_: object) -> Iterator[tuple[object, object]]:
    with subprocess.Popen(["sleep", "60"]) as process:
        yield process, None
        process.kill()


@pytest.mark.parametrize("moved", [DAYS, -DAYS])
def test_a_run_whose_worker_lives_is_taken_by_nobody_else(
    database: Database, database_url: str, run: JobRun, moved: timedelta, monkeypatch: pytest.MonkeyPatch
) -> None:
    with working(database, database_url, run, monkeypatch):
        token = get(database, run).lease_token
        move_clock(database, moved)
        second = Runner(Settings(database_url=database_url), database, "second", threading.Event(), {"sleep": SLEEP})
        second.run(run.id)  # as a message that came twice
        found = get(database, run)
        assert (found.worker, found.attempts, found.lease_token) == ("first", 1, token)


@pytest.mark.parametrize("moved", [DAYS, -DAYS])
def test_a_run_whose_worker_died_is_sent_again_once_and_taken_over_at_once(
    database: Database, run: JobRun, moved: timedelta
) -> None:
    with database.transaction() as connection:
        assert job_runs.take_lease(connection, run.id, "killed", 30) is not None
    move_clock(database, moved)
    broker = Sent()
    for _ in range(5):
        Dispatcher(database, broker, {"sleep": SLEEP}).run_once()
    assert broker.runs == 1
    with database.transaction() as connection:
        found = job_runs.take_lease(connection, run.id, "second", 30)
    assert found is not None
    assert found.attempts == 2


def test_what_the_broker_lost_is_sent_again_although_the_clock_went_back(database: Database, run: JobRun) -> None:
    move_clock(database, -DAYS)

    class Idle(Sent):
        def idle_queues(self) -> list[str]:
            return ["analysis"]

    broker = Idle()
    for _ in range(5):
        Dispatcher(database, broker, {"sleep": SLEEP}).run_once()
    assert broker.runs == 1


def test_a_clock_that_leaps_ahead_deletes_nothing_until_somebody_runs_the_job_again(
    database: Database, database_url: str
) -> None:
    def clean() -> tuple[str, str]:
        with database.transaction() as connection:
            planned = job_runs.plan(connection, "maintenance.cleanup_predictions", {}, "schedule")
        assert planned is not None
        ending = call("jobs.maintenance:cleanup_predictions", Settings(database_url=database_url), planned.id)
        return ending.outcome, ending.detail.partition(":")[0]

    removed = ("succeeded", "predictions removed")
    assert clean() == removed
    move_clock(database, timedelta(days=1))
    assert clean() == removed
    move_clock(database, timedelta(days=400))
    assert clean() == ("skipped", "nothing was removed")
    assert clean() == removed
    move_clock(database, timedelta(days=-400))
    assert clean() == removed
