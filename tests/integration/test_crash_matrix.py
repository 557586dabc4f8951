"""Whatever is killed with -9 under load is healthy again without help, and nothing acknowledged is lost or doubled.

One home in which everything runs, for all cases. In each of them files are imported, predictions are asked for, small
jobs are planned and one training runs while processes are killed. After each, all that was acknowledged since the
beginning is looked for.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from load import Imports, Repeated, Watch, plan, running
from mlflow import MlflowClient
from mlflow.entities import Run
from processes import await_that, environment_of, processes_of

from cli.data import GENERATED_COLUMNS
from forecastle.embedded import supervision
from forecastle.embedded.home import Home
from forecastle.embedded.servers import EVERYTHING, addresses
from forecastle.embedded.status import status
from forecastle.errors import ServerError
from forecastle.generator.issues import Portfolio, generate_issues
from forecastle.settings import Settings
from forecastle.store import job_runs
from forecastle.store.database import Database
from forecastle.store.job_runs import JobRun

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

NAME = "delivery.story_points"
PORTFOLIO = Portfolio(issues=60)
SMALL, TRAINING = "maintenance.cleanup_predictions", "training.train"
KILLED = (
    *((name,) for name in EVERYTHING),
    ("postgresql", "valkey", "facade", "worker"),
    ("s3", "mlflow", "worker", "beat"),
)
KEEP_LEASES = {"postgresql", "worker"}
"""Where one of these is killed, a run of a job may be begun a second time."""
SERVE_TRAINING = {"postgresql", "s3", "mlflow"}
"""Where one of these is killed, a training may fail, with a reason, and is retried."""
JSON = "application/json"
Record = Callable[[str, object], None]


@dataclass(frozen=True)
class House:
    """A home in which everything runs, the load on it, and all that was ever acknowledged there."""

    home: Path
    given: Settings
    database: Database
    files: Imports
    imports: Repeated
    predictions: Repeated
    jobs: Repeated
    watch: Watch

    @property
    def load(self) -> list[Repeated]:
        return [self.imports, self.predictions, self.jobs, Repeated(self.watch, 0.2)]

    @property
    def mlflow(self) -> MlflowClient:
        return MlflowClient(self.given.require_tracking_uri())

    def pids(self) -> dict[str, int]:
        return {name: record.pid for name, record in Home(self.home).records().items()}

    def begin_training(self) -> JobRun:
        """A training that has saved its data set and goes on to learn."""
        run = plan(self.database, TRAINING, model_type=NAME)
        await_that(lambda: any("dataset.version" in found.data.params for found in self.tracked(run.id)), 60, 0.2)
        return run

    def tracked(self, run_id: UUID) -> list[Run]:
        """Runs in MLflow of a run of a job, one an attempt."""
        experiment = self.mlflow.get_experiment_by_name(NAME).experiment_id
        return list(self.mlflow.search_runs([experiment], f"attributes.run_name = 'job {run_id}'"))

    def versions_of(self, tracked: list[Run]) -> list[str]:
        """Versions that these runs registered."""
        found = self.mlflow.search_model_versions(f"name = '{NAME}'")
        return [one.version for one in found if one.run_id in {run.info.run_id for run in tracked}]

    def is_healthy(self) -> bool:
        """What `forecastle status` says, at the addresses of the beginning; MLflow also reads its tables."""
        settings = Settings(home=self.home)
        if addresses(settings, EVERYTHING) != self.given or not all(one.is_well for one in status(settings)):
            return False
        url = f"{self.given.require_tracking_uri()}/api/2.0/mlflow/experiments/search"
        asked = urllib.request.Request(url, json.dumps({"max_results": 1}).encode(), {"Content-Type": JSON})
        try:
            with urllib.request.urlopen(asked, timeout=10) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    def await_more(self, part: Repeated) -> None:
        before = len(part.acknowledged)
        await_that(lambda: len(part.acknowledged) > before, 60)

    def await_runs(self) -> dict[UUID, JobRun]:
        """All runs of jobs, once all have ended."""

        def every() -> list[JobRun]:
            with self.database.transaction() as connection:
                return job_runs.list_runs(connection, 1_000_000)

        await_that(lambda: all(run.ended_at for run in every()), 150, 0.2)
        return {run.id: run for run in every()}


def forecastle(home: Path, *arguments: object, key: str = "") -> str:
    """The command, in this home; what it printed."""
    environment = environment_of(home) | ({"FORECASTLE_API_KEY": key} if key else {})
    command = [sys.executable, "-m", "cli.main", *map(str, arguments)]
    return subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE, text=True).stdout.strip()


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory, client: Callable[[str | None, str], Any]) -> Iterator[House]:
    """Everything runs and one version serves; at the end `down` leaves no process."""
    folder = tmp_path_factory.mktemp("matrix")
    home = folder / "home"
    forecastle(home, "up", "--detach")
    try:
        key = forecastle(home, "users", "add", "ada", "--role", "admin")
        forecastle(home, "generate", "issues", folder / "issues.csv", "--issues", PORTFOLIO.issues)
        mapped = [part for name in GENERATED_COLUMNS for part in ("--map", f"{name}={name}")]
        forecastle(home, "import", "issues", folder / "issues.csv", *mapped, key=key)
        forecastle(home, "jobs", "run", TRAINING, "--arg", f"model_type={NAME}", "--wait", key=key)
        forecastle(home, "models", "promote", NAME, 1, "--reason", "tested", key=key)
        given = addresses(Settings(home=home), EVERYTHING)
        assert given is not None
        asking = client(given.facade_url, key)
        await_that(lambda: asking.ask()[0] == 200)
        with Database(given.require_database_url(), 4) as database:
            files = Imports(database, folder)
            imports = Repeated(files, 1, [list(generate_issues(PORTFOLIO))])
            predictions = Repeated(lambda: ask(asking), 0.1)
            jobs = Repeated(lambda: plan(database, SMALL).id, 3)
            yield House(home, given, database, files, imports, predictions, jobs, Watch())
    finally:
        forecastle(home, "down")
    assert processes_of(home) == []


def ask(asking: Any) -> tuple[float, dict[str, Any]]:
    """When it was answered, and what. Raises ServerError where the façade says that a server is away."""
    code, answer = asking.ask()
    if code == 503:
        raise ServerError(answer["detail"])
    assert code == 200, answer
    return time.monotonic(), answer


@contextmanager
def under_load(house: House, killed: Collection[str], record: Record) -> Iterator[None]:
    """Kill within the block and await what is healthy; afterwards the load goes on for a while, and all is checked."""
    begun = len(house.predictions.acknowledged)
    with running(house.load):
        training, kill_at = house.begin_training(), time.time()
        yield
        house.await_more(house.imports)
        house.await_more(house.jobs)
    forecastle(house.home, "status")
    answered = [moment for moment, _ in house.predictions.acknowledged[begun:]]
    record("longest without an answer", f"{max(after - before for before, after in pairwise(answered)):.1f} s")
    check_rows(house)
    runs = house.await_runs()
    check_jobs(house, training, runs, killed)
    ended = runs[training.id]
    if ended.attempts > 1 and ended.sent_at is not None:
        record("training sent again after", f"{ended.sent_at.timestamp() - kill_at:.1f} s")
    record("training", check_training(house, ended, killed))


def await_health(house: House, killed_at: float, record: Record) -> None:
    await_that(house.is_healthy, 90, 0.1)
    house.await_more(house.predictions)
    record("healthy again", f"{time.monotonic() - killed_at:.1f} s")


@pytest.mark.parametrize("names", KILLED, ids="+".join)
def test_what_is_killed_is_healthy_again_without_help_and_nothing_is_lost_or_doubled(
    house: House, names: tuple[str, ...], record_property: Record
) -> None:
    with under_load(house, names, record_property):
        before = house.pids()
        for name in names:
            os.kill(before[name], signal.SIGKILL)
        killed_at = time.monotonic()
        await_that(lambda: all(house.pids().get(name, before[name]) != before[name] for name in names), 60)
        await_health(house, killed_at, record_property)
        after = house.pids()
        assert {name: after[name] for name in EVERYTHING if name not in names}.items() <= before.items()


@pytest.mark.skipif(sys.platform != "linux", reason="Linux ends children with their parent")
def test_the_supervisor_is_killed_and_leaves_nothing_and_the_next_one_loses_and_doubles_nothing(
    house: House, record_property: Record
) -> None:
    with under_load(house, EVERYTHING, record_property):
        supervisor = supervision.read(Home(house.home))
        assert supervisor is not None
        os.kill(supervisor.pid, signal.SIGKILL)
        killed_at = time.monotonic()
        await_that(lambda: processes_of(house.home) == [], 40, 0.1)
        record_property("nothing left", f"{time.monotonic() - killed_at:.1f} s")
        forecastle(house.home, "up", "--detach")
        await_health(house, killed_at, record_property)


def check_rows(house: House) -> None:
    """Every acknowledged issue and prediction is there once, as it was acknowledged, and nothing that nobody sent."""
    imported = {row.key: row.title for rows in house.imports.acknowledged for row in rows}
    under_way = {row.key: row.title for row in house.files.waiting}
    with house.database.transaction() as connection:
        issues = connection.execute("select key, title from issues").fetchall()
        predictions = connection.execute("select id, answer from predictions").fetchall()
    assert max(Counter(row["key"] for row in issues).values()) == 1
    stored = {row["key"]: row["title"] for row in issues}
    assert imported.items() <= stored.items() <= (imported | under_way).items()

    answers = {answer["prediction_id"]: answer for _, answer in house.predictions.acknowledged}
    assert len(answers) == len(house.predictions.acknowledged)
    kept = {str(row["id"]): row["answer"] for row in predictions}
    assert {prediction_id: kept.get(prediction_id) for prediction_id in answers} == answers
    asked = 1 + len(answers) + house.predictions.refused  # the first one before there was any load
    assert len(predictions) <= asked


def check_jobs(house: House, training: JobRun, runs: Mapping[UUID, JobRun], killed: Collection[str]) -> None:
    """No run was lost; none ran twice at once, ended twice, or was begun again where nothing had cut it off."""
    assert set(house.jobs.acknowledged) <= runs.keys()
    assert str(training.id) in house.watch.seen
    assert not house.watch.doubled
    said = re.findall(r"run (\S+): (?:succeeded|failed)", Home(house.home).log("worker").read_text())
    assert max(Counter(said).values()) == 1
    since = [run for run in runs.values() if run.planned_at >= training.planned_at]
    assert max(run.attempts for run in since) <= (2 if KEEP_LEASES & set(killed) else 1)
    for run in since:
        if run.name == "registry.reconcile":  # the next tick does what one could not
            continue
        cut_off = "postgresql" in killed and run.error_code == "server_unavailable"
        assert run.name == TRAINING or run.outcome == "succeeded" or cut_off, run


def check_training(house: House, run: JobRun, killed: Collection[str]) -> str:
    """How it ended: one that succeeded has one version, one that failed a reason and none, and can be retried."""
    tracked = house.tracked(run.id)
    states = Counter(found.info.status for found in tracked)
    assert not states["RUNNING"], states
    versions = house.versions_of(tracked)
    if run.outcome == "succeeded":
        assert (states["FINISHED"], len(versions)) == (1, 1)
        return f"succeeded, attempt {run.attempts}"
    assert SERVE_TRAINING & set(killed), run
    assert (run.outcome, run.error_code) in (("failed", "server_unavailable"), ("failed", "training")), run
    assert (states["FINISHED"], versions) == (0, [])
    with house.database.transaction() as connection:
        again = job_runs.retry(connection, run.id, "ada")
    check_training(house, house.await_runs()[again.id], ())
    return f"failed ({run.detail}), succeeded when retried"
