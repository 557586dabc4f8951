"""What is planned is sent, what cannot be done is refused with a sentence, and what is due is planned once."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from threading import Barrier

import pytest

from forecastle.errors import ServerError
from forecastle.store import job_runs
from forecastle.store.database import Database
from forecastle.store.job_runs import Ending, JobRun
from jobs.dispatcher import MOST_ATTEMPTS, Dispatcher, plan_ticks
from jobs.registry import JOBS, QUEUES, Job, resolve
from jobs.schedules import Daily

NIGHTLY = Job("nightly", "maintenance", "x:y", 1, 1, schedule=Daily(3))
TRAIN = Job("train", "training", "x:y", 1, 1, required=frozenset({"model_type"}))
KNOWN = {job.name: job for job in (NIGHTLY, TRAIN)}
NOON = datetime(2026, 11, 18, 12, tzinfo=UTC)


@dataclass
class Sent:
    """Stands in for the broker."""

    runs: list[tuple[str, str]] = field(default_factory=list)
    away: bool = False

    def send(self, run: JobRun, queue: str) -> None:
        if self.away:
            raise ServerError("away")
        self.runs.append((run.name, queue))

    def idle_queues(self) -> list[str]:
        return []


def listed(database: Database) -> list[JobRun]:
    with database.transaction() as connection:
        return job_runs.list_runs(connection)


def tick(database: Database, moment: datetime) -> None:
    with database.transaction() as connection:
        plan_ticks(connection, KNOWN, moment)


def end_all(database: Database) -> None:
    for run in listed(database):
        with database.transaction() as connection:
            job_runs.end_unheld(connection, run.id, Ending("succeeded", "done"))


def plan(database: Database, name: str, **arguments: str) -> None:
    with database.transaction() as connection:
        job_runs.plan(connection, name, arguments, "ada")


def test_a_planned_run_is_sent_once_to_the_queue_of_its_job(database: Database) -> None:
    plan(database, "train", model_type="x")
    broker = Sent()
    for _ in range(3):
        Dispatcher(database, broker, {"train": TRAIN}).run_once()
    assert broker.runs == [("train", "training")]
    (run,) = listed(database)
    assert (run.state, run.queue) == ("sent", "training")


@pytest.mark.parametrize(
    "name, arguments, sentence",
    [
        ("trian", {}, "there is no job of this name; there are: train"),
        ("train", {}, "train needs the argument model_type"),
        ("train", {"model_type": "x", "b": "c"}, "train takes no b; its arguments are: model_type"),
    ],
)
def test_what_cannot_be_done_ends_as_failed_with_a_sentence(
    database: Database, name: str, arguments: dict[str, str], sentence: str
) -> None:
    plan(database, name, **arguments)
    broker = Sent()
    Dispatcher(database, broker, {"train": TRAIN}).run_once()
    (run,) = listed(database)
    assert (run.outcome, run.detail, broker.runs) == ("failed", sentence, [])


def test_what_the_broker_did_not_take_stays_planned(database: Database) -> None:
    plan(database, "train", model_type="x")
    with pytest.raises(ServerError):
        Dispatcher(database, Sent(away=True), {"train": TRAIN}).run_once()
    assert listed(database)[0].state == "planned"


def test_a_run_that_takes_its_workers_with_it_is_given_up(database: Database) -> None:
    plan(database, "train", model_type="x")
    broker = Sent()
    dispatcher = Dispatcher(database, broker, {"train": TRAIN})
    dispatcher.run_once()
    for _ in range(MOST_ATTEMPTS):
        with database.transaction() as connection:
            assert job_runs.take_lease(connection, listed(database)[0].id, "w", 0.01) is not None
        with database.transaction() as connection:
            connection.execute("select pg_sleep(0.02)")
        dispatcher.run_once()
    (run,) = listed(database)
    assert (run.outcome, run.error_code) == ("failed", "worker_lost")
    assert len(broker.runs) == MOST_ATTEMPTS


def test_a_cancelled_run_whose_worker_is_gone_ends_as_cancelled(database: Database) -> None:
    plan(database, "train", model_type="x")
    dispatcher = Dispatcher(database, Sent(), {"train": TRAIN})
    dispatcher.run_once()
    with database.transaction() as connection:
        run = job_runs.take_lease(connection, listed(database)[0].id, "w", 60)
        assert run is not None
        job_runs.request_cancel(connection, run.id, "ada")
        connection.execute("update job_runs set lease_until = clock_timestamp()")
    dispatcher.run_once()
    assert listed(database)[0].outcome == "cancelled"


def test_the_first_start_of_a_schedule_catches_nothing_up(database: Database) -> None:
    tick(database, NOON)
    (run,) = listed(database)
    assert (run.outcome, run.due_key) == ("skipped", "nightly@2026-11-18T03:00Z")
    tick(database, NOON + timedelta(hours=14))
    assert len(listed(database)) == 1
    tick(database, NOON + timedelta(hours=15))
    assert [run.state for run in listed(database)] == ["planned", "skipped"]


def test_missed_ticks_are_caught_up_once(database: Database) -> None:
    tick(database, NOON)
    for minutes in range(3):
        tick(database, NOON + timedelta(days=5, minutes=minutes))
    planned = [run for run in listed(database) if run.outcome is None]
    assert [run.due_key for run in planned] == ["nightly@2026-11-23T03:00Z"]


def test_a_clock_that_goes_back_plans_nothing_twice(database: Database) -> None:
    for day in (0, 1, 0, 1):
        tick(database, NOON + timedelta(days=day))
        end_all(database)
    assert len(listed(database)) == 2


def test_a_tick_is_skipped_while_the_run_of_an_earlier_one_goes_on(database: Database) -> None:
    tick(database, NOON)
    tick(database, NOON + timedelta(days=1))
    tick(database, NOON + timedelta(days=2))
    skipped, planned, _ = listed(database)
    assert planned.outcome is None
    assert (skipped.outcome, skipped.detail) == ("skipped", "an earlier run of this job has not ended")
    end_all(database)
    tick(database, NOON + timedelta(days=3))
    assert listed(database)[0].state == "planned"


def test_many_that_keep_the_schedule_at_once_plan_a_tick_once_and_send_it_once(database: Database) -> None:
    tick(database, NOON)
    together, broker = Barrier(4, timeout=20), Sent()

    def keep(_: int) -> None:
        dispatcher = Dispatcher(database, broker, {"nightly": NIGHTLY})
        together.wait()
        for _ in range(3):
            dispatcher.run_once(NOON + timedelta(days=1))

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(keep, range(4)))
    assert [run.state for run in listed(database)] == ["sent", "skipped"]
    assert broker.runs == [("nightly", "maintenance")]


def test_every_job_has_a_queue_that_exists_and_a_function_that_can_be_called() -> None:
    for name, job in JOBS.items():
        assert job.name == name
        assert job.queue in QUEUES
        assert callable(resolve(job.function))
