"""What jobs raise: a training that failed, a job that is overdue; and the job that tells people of it."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from forecastle.errors import ServerError
from forecastle.settings import Settings
from forecastle.store import job_runs, notifications
from forecastle.store.database import Database
from forecastle.store.job_runs import Ending, JobRun, Outcome
from jobs import endings, runner
from jobs.child import call
from jobs.dispatcher import Dispatcher
from jobs.notification import DELIVER
from jobs.registry import JOBS
from jobs.runner import Runner

MODEL = "delivery.effort"


@dataclass
class Sent:
    """Stands in for the broker."""

    names: list[str] = field(default_factory=list)

    def send(self, run: JobRun, queue: str) -> None:
        self.names.append(run.name)

    def idle_queues(self) -> list[str]:
        return []


def alerts(database: Database) -> list[tuple[str, str]]:
    """Kind and subject of what is open."""
    with database.transaction() as connection:
        found = notifications.list_notifications(connection, is_open=True)
    return [(notification.kind, notification.subject) for notification, _ in found]


def trained(database: Database, outcome: Outcome, detail: str = "it failed", **arguments: str) -> UUID:
    """A training that a worker held and that ended so."""
    with database.transaction() as connection:
        run = job_runs.plan(connection, "training.train", {"model_type": MODEL, **arguments}, "ada")
        assert run is not None
        held = job_runs.take_lease(connection, run.id, "worker", 60)
        assert held is not None
        assert endings.end(connection, held, Ending(outcome, detail))
    return run.id


def test_a_training_that_fails_raises_an_alert_and_one_that_succeeds_closes_it(database: Database) -> None:
    run_id = trained(database, "failed", "needs 50 rows\nfile.csv:3: a person's text")
    trained(database, "failed", project="DEMO1")
    assert sorted(alerts(database)) == [("training_failed", MODEL), ("training_failed", f"{MODEL}.DEMO1")]
    with database.transaction() as connection:
        details = [told.detail for told, _ in notifications.list_notifications(connection)]
    assert f"failed, what serves goes on serving: needs 50 rows (run {run_id})" in details[1]
    assert "person" not in details[1]
    trained(database, "cancelled")
    assert len(alerts(database)) == 2
    trained(database, "succeeded")
    assert alerts(database) == [("training_failed", f"{MODEL}.DEMO1")]


def test_a_training_that_takes_its_workers_with_it_raises_an_alert(database: Database) -> None:
    with database.transaction() as connection:
        run = job_runs.plan(connection, "training.train", {"model_type": MODEL}, "ada")
        assert run is not None
        connection.execute("update job_runs set attempts = 3")
    Dispatcher(database, Sent(), JOBS).run_once()
    assert ("training_failed", MODEL) in alerts(database)


def test_a_training_that_failed_while_its_database_was_away_raises_its_alert_afterwards(
    database: Database, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner, "LEASE_SECONDS", 0.5)
    failing = replace(JOBS["training.train"], function="nowhere:train")
    with database.transaction() as connection:
        run = job_runs.plan(connection, failing.name, {"model_type": MODEL}, "ada")
    assert run is not None

    class Leaving(Database):
        """Away from the moment at which the run is held."""

        def retrying(self, work: Callable[..., Any]) -> Any:
            if is_held(run.id):
                raise ServerError("away")
            return super().retrying(work)

    def is_held(run_id: UUID) -> bool:
        with database.transaction() as connection:
            return job_runs.get_run(connection, run_id).lease_token is not None

    jobs, settings = {failing.name: failing}, Settings(database_url=database_url)
    with Leaving(database_url) as leaving, pytest.raises(ServerError, match="away"):
        Runner(settings, leaving, "first", threading.Event(), jobs).run(run.id)
    assert alerts(database) == []  # nor has the run ended
    sent = Sent()
    Dispatcher(database, sent, jobs).run_once()
    assert sent.names == [failing.name]
    monkeypatch.undo()
    Runner(settings, database, "second", threading.Event(), jobs).run(run.id)
    assert alerts(database) == [("training_failed", MODEL)]


def test_other_jobs_that_fail_raise_none_at_once(database: Database) -> None:
    with database.transaction() as connection:
        run = job_runs.plan(connection, "maintenance.cleanup_predictions", {}, "ada")
        assert run is not None
        endings.end_unheld(connection, run, Ending("failed", "it failed"))
    assert alerts(database) == []


def test_a_job_that_is_overdue_raises_an_alert_which_is_closed_when_it_ran(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    nightly = "maintenance.cleanup_predictions"
    monkeypatch.setattr("jobs.dispatcher.WATCH_SECONDS", 0)
    dispatcher = Dispatcher(database, Sent(), {nightly: JOBS[nightly]})
    dispatcher.run_once()
    assert alerts(database) == []  # the first start: nothing was due before it
    with database.transaction() as connection:
        connection.execute("update jobs set known_since = now() - interval '9 days'")
        connection.execute("update job_runs set ended_at = ended_at - interval '9 days'")
    dispatcher.run_once()
    dispatcher.run_once()
    assert alerts(database) == [("job_overdue", nightly)]
    with database.transaction() as connection:
        ((told, _),) = notifications.list_notifications(connection)
        assert (told.times, f"{nightly} was due at" in told.detail) == (1, True)
        run = job_runs.plan(connection, nightly, {}, "ada")
        assert run is not None
        endings.end_unheld(connection, run, Ending("succeeded", "done"))
    dispatcher.run_once()
    assert alerts(database) == []


def test_what_is_due_is_delivered_by_a_run_that_is_planned_once_a_minute_and_never_beside_another(
    database: Database,
) -> None:
    broker = Sent()
    dispatcher = Dispatcher(database, broker, {DELIVER: JOBS[DELIVER]})
    with database.transaction() as connection:
        now = job_runs.now(connection)
    dispatcher.run_once(now)
    assert broker.names == []
    trained(database, "failed")
    for minutes in (0, 0, 1):
        dispatcher.run_once(now + timedelta(minutes=minutes))
    assert broker.names == [DELIVER]  # it has not ended
    with database.transaction() as connection:
        (waiting,) = job_runs.list_runs(connection, name=DELIVER)
        endings.end_unheld(connection, waiting, Ending("failed", "nobody took it"))
    dispatcher.run_once(now)
    assert broker.names == [DELIVER]
    dispatcher.run_once(now + timedelta(minutes=2))
    assert broker.names == [DELIVER, DELIVER]


def deliver(database: Database, settings: Settings) -> Ending:
    with database.transaction() as connection:
        run = job_runs.plan(connection, DELIVER, {}, "schedule")
    assert run is not None
    return call(JOBS[DELIVER].function, settings, run.id)


def test_the_job_tells_the_log_where_no_channel_is_set(
    database: Database, database_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    trained(database, "failed")
    with caplog.at_level(logging.WARNING):
        ending = deliver(database, Settings(database_url=database_url))
    assert (ending.outcome, ending.items) == ("succeeded", 1)
    assert f"Forecastle: training failed: {MODEL}" in caplog.text


def test_a_job_that_could_not_deliver_has_failed_and_the_alert_is_due_again(
    database: Database, database_url: str, tmp_path: Path
) -> None:
    trained(database, "failed")
    settings = Settings(home=tmp_path, database_url=database_url, notify_webhook_url="http://127.0.0.1:9/secret")
    ending = deliver(database, settings)
    assert (ending.outcome, ending.error_code) == ("failed", "server_unavailable")
    assert "the webhook at 127.0.0.1 did not answer" in ending.detail
    assert "secret" not in ending.detail
    with database.transaction() as connection:
        ((_, (delivery,)),) = notifications.list_notifications(connection)
    assert (delivery.failures, delivery.delivered) == (1, 0)
    assert delivery.due_at is not None
