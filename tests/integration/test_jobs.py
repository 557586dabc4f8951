"""Jobs on a real broker, with real workers and dispatchers that are killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from webhook_server import Hook

import projects
from forecastle.embedded.servers import addresses, running
from forecastle.settings import Settings
from forecastle.store import job_runs
from forecastle.store.database import Database
from forecastle.store.job_runs import Ending, JobRun
from jobs import runner
from jobs.app import Broker, create_app
from jobs.dispatcher import Dispatcher
from jobs.registry import Job

PROGRAM = """
import sys
from pathlib import Path
from jobs import registry, schedules
options = frozenset({"file", "seconds"})
def job(name):
    return registry.Job(name, "analysis", f"slow_jobs:{name}", 120, 1 << 29, None, frozenset(), options)
registry.JOBS = {found.name: found for found in (job("note"), job("fail"), job("break_down"), job("eat"))}
registry.JOBS["nightly"] = registry.Job(
    "nightly", "analysis", "slow_jobs:tick", 60, 1 << 29, schedules.Daily(0))
registry.JOBS["short"] = registry.Job("short", "analysis", "slow_jobs:note", 1, 1 << 29, None, frozenset(), options)
sys.argv = ["jobs", *sys.argv[2:]]
"""
WORKER = PROGRAM + "from jobs.worker import main; main()"
BEAT = PROGRAM + "from jobs.beat import main; main()"
DELIVERING = (
    "from jobs import registry; deliver = registry.JOBS['notification.deliver']\n"
    + PROGRAM
    + "registry.JOBS[deliver.name] = deliver\n"
)
HOLDING = (
    "from jobs import registry; reconcile = registry.JOBS['registry.reconcile']\n"
    + PROGRAM
    + "held = registry.Job('training.train', 'training', 'slow_jobs:hold', 120, 1 << 29, None, frozenset({'gate'}))\n"
    + "registry.JOBS = {job.name: job for job in (reconcile, held)}\n"
    + "from jobs import dispatcher; dispatcher.RESEND_SECONDS = 1\n"
)
Await = Callable[[Callable[[], bool], float], None]


@dataclass
class Shop:
    """A broker, a database, and the processes a test starts."""

    settings: Settings
    database: Database
    folder: Path
    started: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def start(self, program: str, name: str) -> subprocess.Popen[bytes]:
        """Start a worker or a beat and wait until it says that it is well."""
        alive, log = self.folder / f"{name}.alive", self.folder / f"{name}.log"
        path = os.pathsep.join([str(Path(__file__).parent), str(projects.ROOT)])
        environment = {"PATH": os.environ["PATH"], "PYTHONPATH": path, **self.settings.as_environment()}
        with log.open("ab") as output:
            process = subprocess.Popen(
                [sys.executable, "-c", program, "-", "--alive", str(alive)],
                env=environment, stdout=output, stderr=output, stdin=subprocess.DEVNULL,
            )  # fmt: skip
        self.started.append(process)
        deadline = time.monotonic() + 30
        while not alive.exists():
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.05)
        return process

    def plan(self, name: str, **arguments: object) -> JobRun:
        with self.database.transaction() as connection:
            run = job_runs.plan(connection, name, {key: str(value) for key, value in arguments.items()}, "ada")
        assert run is not None
        return run

    def get(self, run_id: UUID) -> JobRun:
        with self.database.transaction() as connection:
            return job_runs.get_run(connection, run_id)

    def ended(self, run: JobRun, seconds: float = 20) -> JobRun:
        deadline = time.monotonic() + seconds
        while (found := self.get(run.id)).ended_at is None:
            assert time.monotonic() < deadline, f"{found}\n{self.logs()}"
            time.sleep(0.05)
        return found

    def logs(self) -> str:
        return "\n".join(f"--- {log.name}\n{log.read_text()}" for log in self.folder.glob("*.log"))

    def lines(self, name: str = "lines") -> list[list[str]]:
        file = self.folder / name
        return [line.split() for line in file.read_text().splitlines()] if file.exists() else []

    def stop(self) -> None:
        for process in self.started:
            process.terminate()
        for process in self.started:
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    with running(Settings(home=tmp_path_factory.mktemp("broker")), ("valkey",)) as settings:
        yield settings


@pytest.fixture
def shop(broker: Settings, database: Database, database_url: str, tmp_path: Path) -> Iterator[Shop]:
    # A number of its own among the broker's databases: nothing of another test is in it.
    number = int.from_bytes(os.urandom(1), "big") % 15 + 1
    url = broker.require_redis_url().rsplit("/", 1)[0] + f"/{number}"
    create_app(replace(broker, redis_url=url)).control.purge()
    settings = Settings(home=tmp_path / "home", database_url=database_url, redis_url=url)
    shop = Shop(settings, database, tmp_path)
    try:
        yield shop
    finally:
        shop.stop()


@pytest.fixture
def open_shop(shop: Shop) -> Shop:
    """One with a worker and a beat."""
    shop.start(BEAT, "beat")
    shop.start(WORKER, "worker")
    return shop


def living(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def test_a_job_runs_once_its_row_says_so_and_nothing_is_left_of_it(open_shop: Shop, record_property: Any) -> None:
    run = open_shop.plan("note", file=open_shop.folder / "lines")
    found = open_shop.ended(run)
    assert (found.outcome, found.items, found.detail, found.attempts) == ("succeeded", 1, "noted", 1)
    assert found.started_at is not None
    pickup = (found.started_at - found.planned_at).total_seconds()
    record_property("pickup_seconds", pickup)
    print(f"picked up after {pickup:.3f} s")
    assert pickup < 2
    begun, end = open_shop.lines()
    assert (begun[0], end[0]) == ("begin", "end")
    assert not living(int(begun[1]))
    assert not living(int(end[3]))


def test_how_jobs_fail_is_written_without_anybodys_text(open_shop: Shop) -> None:
    runs = {name: open_shop.plan(name) for name in ("fail", "break_down", "eat", "nothing", "training.train")}
    runs["wrong"] = open_shop.plan("note", colour="red")
    runs["short"] = open_shop.plan("short", file=open_shop.folder / "lines", seconds=60)
    found = {name: open_shop.ended(run, 40) for name, run in runs.items()}
    assert {run.outcome for run in found.values()} == {"failed"}
    codes = {name: run.error_code for name, run in found.items()}
    assert codes == {
        "fail": "invalid_input", "break_down": "internal", "eat": "memory_limit", "nothing": "unknown_job",
        "training.train": "unknown_job", "wrong": "invalid_input", "short": "time_limit",
    }  # fmt: skip
    assert found["fail"].detail == "what was handed in is wrong"
    assert (
        found["nothing"].detail
        == "there is no job of this name; there are: break_down, eat, fail, nightly, note, short"
    )
    assert found["nothing"].started_at is None
    assert "ValueError" in str(found["break_down"].detail)
    assert "customer" not in open_shop.logs()
    assert "slow_jobs.py" in open_shop.logs()


def test_trainings_leave_room_for_everything_else(shop: Shop, await_that: Await, record_property: Any) -> None:
    for name in ("beat", "worker"):
        shop.start(HOLDING + f"from jobs.{name} import main; main()", name)
    gates = [shop.folder / f"gate{number}" for number in range(4)]
    for gate in gates:
        os.mkfifo(gate)
    trainings = [shop.plan("training.train", gate=gate) for gate in gates]

    def begun() -> list[int]:
        return [number for number, run in enumerate(trainings) if shop.get(run.id).started_at is not None]

    await_that(lambda: shop.logs().count("left to be sent again, as 2 trainings run here") >= 2, 10)
    first = begun()
    reconciled = shop.ended(shop.plan("registry.reconcile"), 10)
    assert (reconciled.outcome, len(first), begun()) == ("succeeded", 2, first)
    assert reconciled.started_at is not None
    record_property("reconcile picked up", f"{(reconciled.started_at - reconciled.planned_at).total_seconds():.3f} s")
    for number in first:
        gates[number].write_bytes(b"")  # opens for who waits to read
    await_that(lambda: len(begun()) == 4, 10)
    for number in set(begun()) - set(first):
        gates[number].write_bytes(b"")
    assert {(shop.ended(run).outcome, shop.get(run.id).attempts) for run in trainings} == {("succeeded", 1)}


def test_a_worker_that_is_told_to_stop_gives_its_run_back(shop: Shop, await_that: Await) -> None:
    shop.start(BEAT, "beat")
    first = shop.start(WORKER, "first")
    run = shop.plan("note", file=shop.folder / "lines", seconds=4)
    await_that(lambda: len(shop.lines()) > 3, 10)
    first.terminate()
    assert first.wait(15) == 0
    assert shop.get(run.id).attempts == 0
    shop.start(WORKER, "second")
    found = shop.ended(run, 20)
    assert (found.outcome, found.attempts) == ("succeeded", 1)


def test_the_same_message_delivered_twice_runs_once(open_shop: Shop) -> None:
    run = open_shop.plan("note", file=open_shop.folder / "lines", seconds=2)
    sender = Broker(create_app(open_shop.settings))
    for _ in range(3):
        sender.send(run, "analysis")
    assert open_shop.ended(run).outcome == "succeeded"
    sender.send(run, "analysis")
    after = open_shop.plan("note", file=open_shop.folder / "after")
    open_shop.ended(after)
    assert [line[0] for line in open_shop.lines() if line[0] != "alive"] == ["begin", "end"]
    assert open_shop.get(run.id).attempts == 1


def test_what_the_broker_lost_is_sent_again(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jobs.dispatcher.RESEND_SECONDS", 0.5)
    app = create_app(shop.settings)
    dispatcher = Dispatcher(shop.database, Broker(app), {"note": Job("note", "analysis", "x:y", 1, 1)})
    run = shop.plan("note")
    dispatcher.run_once()
    sent = shop.get(run.id).sent_at
    time.sleep(0.7)
    dispatcher.run_once()  # the message waits still
    assert shop.get(run.id).sent_at == sent
    assert app.control.purge() == 1
    dispatcher.run_once()
    assert shop.get(run.id).sent_at != sent
    assert app.control.purge() == 1


def test_a_missed_tick_is_caught_up_once_by_two_beats(shop: Shop) -> None:
    with shop.database.transaction() as connection:
        long_ago = job_runs.plan(connection, "nightly", {}, "schedule", "nightly@2020-01-01T00:00Z")
        assert long_ago is not None
        job_runs.end_unheld(connection, long_ago.id, Ending("succeeded", "ticked"))
    for name in ("beat", "other"):
        shop.start(BEAT, name)
    shop.start(WORKER, "worker")
    with shop.database.transaction() as connection:
        caught_up, _ = job_runs.list_runs(connection)
    assert shop.ended(caught_up).detail == "ticked"
    time.sleep(2.5)  # two more passes of each
    with shop.database.transaction() as connection:
        assert len(job_runs.list_runs(connection)) == 2
    assert shop.get(caught_up.id).attempts == 1


@pytest.mark.slow
def test_a_broker_that_was_killed_and_comes_back_is_found_again(
    database: Database, database_url: str, tmp_path: Path
) -> None:
    home = tmp_path / "broker"
    with running(Settings(home=home), ("valkey",)) as given:
        settings = replace(given, home=tmp_path / "home", database_url=database_url)
        shop = Shop(settings, database, tmp_path)
        try:
            shop.start(BEAT, "beat")
            worker = shop.start(WORKER, "worker")
            held = [shop.plan("note", file=tmp_path / f"held{number}", seconds=4) for number in range(5)]
            while not (shop.lines("held0") and shop.lines("held1")):
                time.sleep(0.05)
            time.sleep(1)  # two run, two wait in the worker, one in the broker
            os.kill(json.loads((home / "run/servers.json").read_text())["valkey"]["pid"], signal.SIGKILL)
            while_away = shop.plan("note", file=tmp_path / "away")
            time.sleep(2)
            assert shop.get(while_away.id).state == "planned"
            with running(Settings(home=home), ("valkey",)) as again:
                assert again.redis_url == given.redis_url
                assert shop.ended(while_away, 60).outcome == "succeeded"
                for run in held:
                    found = shop.ended(run, 60)
                    assert (found.outcome, found.attempts) == ("succeeded", 1)
                assert shop.ended(shop.plan("note", file=tmp_path / "after")).outcome == "succeeded"
                assert worker.poll() is None
                assert "Unrecoverable" not in shop.logs()
        finally:
            shop.stop()
    for name in ("held0", "held1", "held2", "held3", "held4", "away"):
        assert [line[0] for line in shop.lines(name) if line[0] != "alive"] == ["begin", "end"]


def test_a_running_job_is_cancelled_with_everything_it_started_and_may_be_retried(
    open_shop: Shop, await_that: Await
) -> None:
    run = open_shop.plan("note", file=open_shop.folder / "lines", seconds=60)
    await_that(lambda: len(open_shop.lines()) > 3, 10)
    pid = int(open_shop.lines()[0][1])
    with open_shop.database.transaction() as connection:
        assert job_runs.request_cancel(connection, run.id, "ada").state == "cancelling"
    found = open_shop.ended(run, 10)
    assert (found.outcome, found.detail) == ("cancelled", "cancelled while it ran")
    assert not living(pid)
    with open_shop.database.transaction() as connection:
        again = job_runs.retry(connection, run.id, "bob")
    assert (again.arguments, again.planned_by) == (run.arguments, "bob")
    await_that(lambda: open_shop.get(again.id).started_at is not None, 5)
    with open_shop.database.transaction() as connection:
        job_runs.request_cancel(connection, again.id, "bob")
    assert open_shop.ended(again, 10).outcome == "cancelled"


def test_an_alert_of_a_training_that_failed_reaches_the_webhook_once(
    shop: Shop, tmp_path: Path, await_that: Await
) -> None:
    with Hook().serving() as hook:
        settings = replace(shop.settings, notify_webhook_url=hook.url)
        delivering = Shop(settings, shop.database, tmp_path, shop.started)
        for name in ("beat", "worker"):
            delivering.start(DELIVERING + f"from jobs.{name} import main; main()", name)
        assert delivering.ended(delivering.plan("training.train", model_type="delivery.effort")).outcome == "failed"
        await_that(lambda: len(hook.bodies) > 0, 20)
        with shop.database.transaction() as connection:
            (delivery,) = job_runs.list_runs(connection, name="notification.deliver")
        assert delivering.ended(delivery).detail == "messages delivered: 1"
    ((_, body),) = hook.bodies
    assert body["text"].startswith("*Forecastle: training failed: delivery.effort*\n")
    assert hook.url not in delivering.logs()


def test_celerys_own_command_finds_the_worker(open_shop: Shop) -> None:
    environment = {"PATH": os.environ["PATH"], **open_shop.settings.as_environment()}
    asked = subprocess.run(
        [sys.executable, "-m", "celery", "-A", "jobs", "inspect", "registered", "--json"],
        cwd=projects.ROOT, env=environment, capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert "forecastle.run" in str(json.loads(asked.stdout)), asked.stderr


def test_worker_and_beat_start_as_servers_of_a_home_and_leave_nothing(
    database: Database, database_url: str, broker: Settings, tmp_path: Path, await_that: Await
) -> None:
    settings = replace(broker, home=tmp_path / "home", database_url=database_url)
    needs = ("worker", "beat")
    with running(settings, needs) as given:
        assert addresses(given, needs) is not None
        with database.transaction() as connection:
            run = job_runs.plan(connection, "maintenance.cleanup_predictions", {}, "ada")
        assert run is not None
        shop = Shop(given, database, tmp_path)
        assert shop.ended(run).outcome == "succeeded"
        pids = [found["pid"] for found in json.loads((tmp_path / "home/run/servers.json").read_text()).values()]
        os.kill(pids[0], signal.SIGKILL)
        await_that(lambda: not living(pids[0]), 5)
    assert not any(living(pid) for pid in pids)


def test_the_times_of_a_lease_fit_together() -> None:
    noticed = runner.FENCE_SECONDS + runner.HEARTBEAT_SECONDS + 3 + runner.GRACE_SECONDS
    assert noticed < runner.LEASE_SECONDS < 55
