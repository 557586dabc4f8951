"""Training as a job, on a real MLflow: whoever planned it trained it, and what is cancelled is not left running."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

import pytest
from mlflow import MlflowClient
from mlflow.entities import Run

from forecastle.access.principals import Role, add_user
from forecastle.generator.issues import Portfolio, generate_issues
from forecastle.registry.cleanup import Cleanup
from forecastle.registry.lost_runs import end_lost_runs
from forecastle.registry.recording import _delete_twins
from forecastle.registry.tracking import Tracking
from forecastle.settings import Settings
from forecastle.store import job_runs
from forecastle.store.database import Database, temporary_database
from forecastle.store.issues import import_issues
from forecastle.store.job_runs import JobRun
from forecastle.store.migrate import migrate
from jobs.registry import JOBS
from jobs.runner import Runner
from projects import ROOT

NAME = "delivery.story_points"
RUNNER = """
import sys, threading
from uuid import UUID
from forecastle.settings import Settings
from forecastle.store.database import Database
from jobs.runner import Runner
settings = Settings.from_env()
with Database(settings.require_database_url(), 2) as database:
    Runner(settings, database, "lost", threading.Event()).run(UUID(sys.argv[1]))
"""
Await = Callable[[Callable[[], bool], float], None]


@dataclass(frozen=True)
class Shop:
    settings: Settings
    database: Database
    stopping: threading.Event

    def plan(self, **arguments: str) -> UUID:
        with self.database.transaction() as connection:
            run = job_runs.plan(connection, "training.train", arguments, "dana")
        assert run is not None
        return run.id

    def run(self, run_id: UUID, **limits: float) -> JobRun:
        jobs = {"training.train": replace(JOBS["training.train"], **limits)}  # type: ignore[arg-type]
        Runner(self.settings, self.database, "test", self.stopping, jobs).run(run_id)
        return self.get(run_id)

    def get(self, run_id: UUID) -> JobRun:
        with self.database.transaction() as connection:
            return job_runs.get_run(connection, run_id)

    def tracked(self, run_id: UUID) -> list[Run]:
        client = MlflowClient(self.settings.require_tracking_uri())
        found = client.get_experiment_by_name(NAME)
        if found is None:
            return []
        return list(client.search_runs([found.experiment_id], f"attributes.run_name = 'job {run_id}'"))

    def lose(self, run_id: UUID, await_that: Await) -> Run:
        """Begin to train in another process; kill it and all it started with -9; the run that MLflow still shows."""
        environment = {**os.environ, "PYTHONPATH": str(ROOT), **self.settings.as_environment()}
        worker = subprocess.Popen([sys.executable, "-c", RUNNER, str(run_id)], env=environment)
        await_that(lambda: any("dataset.version" in found.data.params for found in self.tracked(run_id)), 60)
        worker.kill()
        await_that(lambda: kill_all(of_group(str(run_id))) == 0, 5)
        worker.wait()
        with self.database.transaction() as connection:  # as half a minute later
            connection.execute("update job_runs set lease_until = now() where id = %s", (run_id,))
        (tracked,) = self.tracked(run_id)
        assert tracked.info.status == "RUNNING"
        return tracked

    def reap(self) -> list[str]:
        mlflow = Cleanup(self.settings.require_tracking_uri())
        return end_lost_runs(self.database, mlflow, [NAME], datetime.now(UTC))

    def versions(self) -> list[str]:
        """Runs that registered a version, one a version."""
        client = MlflowClient(self.settings.require_tracking_uri())
        return [found.run_id for found in client.search_model_versions(f"name = '{NAME}'")]


@pytest.fixture(scope="module")
def shop(servers: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    folder = tmp_path_factory.mktemp("training")
    with temporary_database(servers.require_database_url(), "training_job") as url, Database(url, 4) as database:
        migrate(database)
        with database.transaction() as connection:
            import_issues(connection, list(generate_issues(Portfolio(issues=150))))
            add_user(connection, "dana", Role.DATA_SCIENTIST)
            add_user(connection, "max", Role.MEMBER)
        artifacts = f"{servers.artifacts}/training-job"
        settings = replace(servers, database_url=url, home=folder / "home", artifacts=artifacts, api_key=None)
        yield Shop(settings, database, threading.Event())


def of_group(name: str) -> list[int]:
    """Processes whose environment says that they work for this run."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if name.encode() in (process / "environ").read_bytes() and (process / "stat").read_text().split()[2] != "Z":
                found.append(int(process.name))
        except OSError:
            continue
    return [pid for pid in found if pid != os.getpid()]


def kill_all(pids: list[int]) -> int:
    """Kill them with -9; returns how many there were."""
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    return len(pids)


@pytest.mark.slow
def test_training_succeeds_in_the_name_of_who_planned_it(shop: Shop) -> None:
    run_id = shop.plan(model_type=NAME)
    found = shop.run(run_id)
    assert found.outcome == "succeeded", found
    (tracked,) = shop.tracked(run_id)
    assert (tracked.info.status, tracked.data.tags["mlflow.user"]) == ("FINISHED", "dana")
    assert found.detail == f"MLflow run {tracked.info.run_id}"
    # The worker was lost before it could write the end: what was trained is not trained again.
    with shop.database.transaction() as connection:
        connection.execute("update job_runs set ended_at = null, outcome = null where id = %s", (run_id,))
    again = shop.run(run_id)
    assert (again.outcome, again.detail) == ("succeeded", f"MLflow run {tracked.info.run_id}, by an earlier attempt")
    assert len(shop.tracked(run_id)) == 1


@pytest.mark.slow
def test_what_an_attempt_that_was_cut_off_had_registered_is_taken_back_unless_it_serves(shop: Shop) -> None:
    client, tracking = (
        MlflowClient(shop.settings.require_tracking_uri()),
        Tracking(shop.settings.require_tracking_uri()),
    )
    experiment = client.create_experiment("cut off")
    client.create_registered_model("cut off")
    for _ in range(2):
        run = client.create_run(experiment, run_name="job 1")
        client.create_model_version("cut off", f"runs:/{run.info.run_id}/model", run.info.run_id)
    client.set_registered_model_alias("cut off", "production", "1")
    tracking.kill_runs("cut off", "job 1", "its worker was lost")
    found = client.search_runs([experiment])
    assert {(run.info.status, run.data.tags["failure"]) for run in found} == {("KILLED", "its worker was lost")}
    assert [one.version for one in client.search_model_versions("name = 'cut off'")] == ["1"]


@pytest.mark.slow
def test_a_version_that_mlflow_registered_twice_because_it_was_asked_again_stands_once(shop: Shop) -> None:
    client = MlflowClient(shop.settings.require_tracking_uri())
    client.create_registered_model("asked again")
    run = client.create_run(client.create_experiment("asked again"))
    other = client.create_run(run.info.experiment_id)
    for one in (other, run, run):
        last = client.create_model_version("asked again", f"runs:/{one.info.run_id}/model", one.info.run_id)
    _delete_twins(client, last)
    assert {one.version for one in client.search_model_versions("name = 'asked again'")} == {"1", "3"}


@pytest.mark.slow
def test_a_cancelled_training_is_ended_with_all_its_processes_and_its_run(shop: Shop, await_that: Await) -> None:
    run_id = shop.plan(model_type=NAME)
    running = threading.Thread(target=shop.run, args=(run_id,))
    running.start()
    await_that(lambda: bool(shop.tracked(run_id)), 60)
    await_that(lambda: len(of_group(str(run_id))) > 1, 20)
    begun = time.monotonic()
    with shop.database.transaction() as connection:
        job_runs.request_cancel(connection, run_id, "dana")
    running.join(30)
    print(f"cancelled within {time.monotonic() - begun:.1f} s")
    assert shop.get(run_id).outcome == "cancelled"
    assert of_group(str(run_id)) == []
    (tracked,) = shop.tracked(run_id)
    assert tracked.info.status == "KILLED"
    assert tracked.data.tags["failure"].startswith("ended before it was done")


@pytest.mark.slow
def test_of_a_training_lost_with_its_worker_nothing_is_registered_its_run_is_ended_and_it_runs_again_once(
    shop: Shop, await_that: Await
) -> None:
    before, run_id = shop.versions(), shop.plan(model_type=NAME)
    lost = shop.lose(run_id, await_that)
    assert shop.versions() == before
    assert shop.reap() == []  # its job is open: the next attempt ends it
    found = shop.run(run_id)
    assert (found.outcome, found.attempts) == ("succeeded", 2)
    runs = {run.info.run_id: run for run in shop.tracked(run_id)}
    ended = runs.pop(lost.info.run_id)
    assert (ended.info.status, ended.data.tags["failure"]) == ("KILLED", "its worker was lost")
    ((finished, run),) = runs.items()
    assert (run.info.status, sorted(shop.versions())) == ("FINISHED", sorted([*before, finished]))
    shop.run(run_id)
    assert (shop.get(run_id).attempts, len(shop.tracked(run_id))) == (2, 2)


@pytest.mark.slow
def test_a_run_that_was_lost_with_its_worker_and_that_no_attempt_follows_is_ended_by_the_reaper(
    shop: Shop, await_that: Await
) -> None:
    before, run_id = shop.versions(), shop.plan(model_type=NAME)
    lost = shop.lose(run_id, await_that)
    with shop.database.transaction() as connection:
        assert job_runs.request_cancel(connection, run_id, "dana").outcome == "cancelled"
    assert shop.reap() == [lost.info.run_id]
    (ended,) = shop.tracked(run_id)
    assert (ended.info.status, ended.data.tags["failure"]) == ("KILLED", f"its job {run_id} is over")
    assert shop.versions() == before
    assert shop.reap() == []


@pytest.mark.slow
def test_a_training_that_cannot_be_done_ends_with_its_reason(shop: Shop) -> None:
    unknown = shop.run(shop.plan(model_type="delivery.nothing"))
    assert (unknown.outcome, unknown.error_code) == ("failed", "not_found")
    hungry = shop.run(shop.plan(model_type=NAME), memory_limit_bytes=300 << 20)
    assert hungry.outcome == "failed"
    assert all(tracked.info.status != "RUNNING" for tracked in shop.tracked(hungry.id))
    late = shop.run(shop.plan(model_type=NAME), time_limit_seconds=6)
    assert (late.outcome, late.error_code) == ("failed", "time_limit")
    assert all(tracked.info.status != "RUNNING" for tracked in shop.tracked(late.id))
    client = MlflowClient(shop.settings.require_tracking_uri())
    experiment = client.get_experiment_by_name(NAME)
    assert client.search_runs([experiment.experiment_id], "attributes.status = 'RUNNING'") == []
