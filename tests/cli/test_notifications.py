"""`forecastle notify`, and what `status` and `jobs ls` say of jobs that are overdue, over a real database."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest

from forecastle.notify.alerts import Kind, close_alert, raise_alert
from forecastle.settings import Settings
from forecastle.store import job_runs, known_jobs
from forecastle.store.database import Database
from forecastle.store.job_runs import Ending
from forecastle.store.known_jobs import KnownJob

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(run_with: Run, database_url: str) -> Run:
    """Runs the command against a database where one admin is known."""
    settings = Settings(database_url=database_url)
    run_with(settings, "users", "add", "ada", "--role", "admin")
    return lambda *words: run_with(settings, *words)


def test_alerts_are_listed_those_that_are_open_and_all(run: Run, database: Database) -> None:
    assert run("notify", "ls") == (0, "", "no alert is open\n")
    with database.transaction() as connection:
        for subject in ("delivery.effort", "delivery.story_points"):
            raise_alert(connection, Kind.TRAINING_FAILED, subject, "it failed")
        close_alert(connection, Kind.TRAINING_FAILED, "delivery.effort")
    (shown,) = json.loads(run("notify", "ls", "--json")[1])
    assert (shown["kind"], shown["subject"], shown["deliveries"]) == ("training_failed", "delivery.story_points", [])
    table = run("notify", "ls", "--all")[1]
    assert table.count("training_failed") == 2
    assert "closed" in table


def test_channels_are_tried_out_and_the_exit_code_says_whether_they_work(run_with: Run) -> None:
    assert run_with(Settings(), "notify", "test")[:2] == (0, "console: taken\n")
    code, out, err = run_with(Settings(notify_webhook_url="http://127.0.0.1:9/secret"), "notify", "test")
    assert (code, out) == (1, "webhook: the webhook at 127.0.0.1 did not answer\n")
    assert "secret" not in out + err


def test_status_is_red_where_a_job_did_not_run_by_its_time(run: Run, database: Database) -> None:
    assert json.loads(run("status", "--json")[1])["overdue_jobs"] == []
    due = datetime.now(UTC) - timedelta(hours=2)
    job = KnownJob("a.job", "maintenance", [], [], timedelta(days=1), due, timedelta(hours=1))
    with database.transaction() as connection:
        known_jobs.replace_all(connection, [job])
        connection.execute("update jobs set known_since = now() - interval '1 day'")
    code, out, _ = run("status")
    assert (code, f"overdue: a.job was due at {due:%Y-%m-%d %H:%M} UTC and has not run well since" in out) == (1, True)
    assert [one["name"] for one in json.loads(run("status", "--json")[1])["overdue_jobs"]] == ["a.job"]


def test_status_without_a_database_says_nothing_of_jobs(run_with: Run) -> None:
    code, out, _ = run_with(Settings(), "status", "--json")
    assert (code, json.loads(out)["overdue_jobs"]) == (1, None)


def test_runs_are_listed_by_outcome(run: Run, database: Database) -> None:
    with database.transaction() as connection:
        runs = [job_runs.plan(connection, "a.job", {}, "ada") for _ in range(3)]
        for found, outcome in zip(runs, ("failed", "succeeded"), strict=False):
            assert found is not None
            job_runs.end_unheld(connection, found.id, Ending(outcome, "so it ended"))  # type: ignore[arg-type]
    for place, outcome in enumerate(("failed", "succeeded", "open")):
        (shown,) = json.loads(run("jobs", "ls", "--outcome", outcome, "--json")[1])
        assert shown["id"] == str(runs[place].id)  # type: ignore[union-attr]
