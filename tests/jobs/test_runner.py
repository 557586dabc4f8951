"""A worker that cannot renew its lease ends what it runs before anybody else may take it."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from forecastle.errors import ServerError
from forecastle.settings import Settings
from forecastle.store import job_runs
from forecastle.store.database import Database
from forecastle.store.job_runs import JobRun
from jobs import runner
from jobs.child import call
from jobs.registry import Job
from jobs.runner import Runner

SLEEP = """
import time
from pathlib import Path
from forecastle.errors import ServerError

def sleep(work):
    file = Path(work.run.arguments["file"])
    while True:
        file.with_suffix(".new").write_text(str(time.time()))
        file.with_suffix(".new").replace(file)  # whoever reads it finds it whole
        time.sleep(0.05)

def without_server(work):
    raise ServerError("MLflow did not answer")

def secret(work):
    raise ValueError("somebody's text")
"""


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "sleeping.py").write_text(SLEEP)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "sleeping", raising=False)


def plan(database: Database, **arguments: str) -> JobRun:
    with database.transaction() as connection:
        run = job_runs.plan(connection, "sleep", arguments, "ada")
    assert run is not None
    return run


def get(database: Database, run: JobRun) -> JobRun:
    with database.transaction() as connection:
        return job_runs.get_run(connection, run.id)


def of(database: Database, url: str, stopping: threading.Event | None = None) -> Runner:
    job = Job("sleep", "analysis", "sleeping:sleep", 60, 1 << 30)
    return Runner(Settings(database_url=url), database, "w", stopping or threading.Event(), {"sleep": job})


@pytest.mark.usefixtures("module")
def test_without_its_database_a_worker_ends_what_it_runs_within_the_lease(
    database: Database, database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner, "HEARTBEAT_SECONDS", 0.2)
    monkeypatch.setattr(runner, "FENCE_SECONDS", 1.0)
    monkeypatch.setattr(runner, "LEASE_SECONDS", 4.0)
    away = threading.Event()

    class Leaving(Database):
        def retrying(self, work: Callable[..., Any]) -> Any:
            if away.is_set():
                raise ServerError("away")
            return super().retrying(work)

    file = tmp_path / "alive"
    run = plan(database, file=str(file))
    with Leaving(database_url) as leaving:
        stopping = threading.Event()
        running = threading.Thread(target=lambda: _quietly(of(leaving, database_url, stopping), run))
        running.start()
        while not file.exists():
            time.sleep(0.05)
        away.set()
        left = time.time()
        time.sleep(3)
        assert float(file.read_text()) - left < 2
        assert get(database, run).ended_at is None
        away.clear()
        running.join(10)
    with database.transaction() as connection:
        assert job_runs.take_lease(connection, run.id, "another", 10) is not None


def _quietly(of_it: Runner, run: JobRun) -> None:
    with suppress(ServerError):
        of_it.run(run.id)


@pytest.mark.usefixtures("module")
def test_who_lost_the_lease_ends_its_process_and_writes_nothing(
    database: Database, database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner, "HEARTBEAT_SECONDS", 0.1)
    file = tmp_path / "alive"
    run = plan(database, file=str(file))
    running = threading.Thread(target=of(database, database_url).run, args=(run.id,))
    running.start()
    while not file.exists():
        time.sleep(0.05)
    with database.transaction() as connection:
        connection.execute("update job_runs set lease_until = clock_timestamp() - interval '1 s'")
        other = job_runs.take_lease(connection, run.id, "another", 60)
    running.join(10)
    assert not running.is_alive()
    found = get(database, run)
    assert (found.worker, found.lease_token, found.ended_at) == ("another", other and other.lease_token, None)


@pytest.mark.usefixtures("module")
def test_a_job_that_is_not_known_to_the_worker_ends_with_a_sentence(database: Database, database_url: str) -> None:
    run = plan(database)
    replace(of(database, database_url), jobs={}).run(run.id)
    assert get(database, run).error_code == "unknown_job"


@pytest.mark.usefixtures("module")
def test_a_failure_is_told_by_its_kind_and_place_and_never_by_its_message(
    database: Database, database_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    run = plan(database)
    ending = call("sleeping:secret", Settings(database_url=database_url), run.id)
    assert (ending.error_code, ending.detail) == (
        "internal",
        "it failed with ValueError; the log of the worker says where",
    )
    assert "somebody" not in caplog.text
    assert "sleeping.py" in caplog.text


@pytest.mark.usefixtures("module")
def test_a_failure_for_want_of_a_server_says_how_to_try_again(database: Database, database_url: str) -> None:
    run = plan(database)
    ending = call("sleeping:without_server", Settings(database_url=database_url), run.id)
    assert (ending.error_code, ending.detail) == (
        "server_unavailable",
        f"MLflow did not answer; try again with `forecastle jobs retry {run.id}`",
    )
