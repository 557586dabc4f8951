"""The job that holds MLflow against the ledger; what it does there stands in tests/registry/test_reconciling.py."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from forecastle.settings import Settings
from forecastle.store import job_runs
from forecastle.store.database import Database
from forecastle.store.job_runs import SCHEDULE, Ending, JobRun
from jobs.child import call

NAME, FUNCTION = "registry.reconcile", "jobs.reconciling:reconcile"


def ended(database: Database, key: str, ending: Ending, age: timedelta, planned_by: str = SCHEDULE) -> JobRun:
    with database.transaction() as connection:
        run = job_runs.plan(connection, NAME, {}, planned_by, key)
        assert run is not None
        job_runs.end_unheld(connection, run.id, ending)
        connection.execute("update job_runs set ended_at = ended_at - %s where id = %s", (age, run.id))
    return run


def reconcile(database: Database, settings: Settings) -> Ending:
    with database.transaction() as connection:
        run = job_runs.plan(connection, NAME, {}, "tester")
    assert run is not None
    return call(FUNCTION, settings, run.id)


def test_scheduled_runs_that_found_nothing_to_do_are_soon_forgotten_and_all_others_kept(
    database: Database, database_url: str
) -> None:
    minutes = timedelta(minutes=3)
    idle = Ending("succeeded", "MLflow agrees with the ledger", items=0)
    ended(database, "old and idle", idle, minutes)
    kept = [
        ended(database, "just now", idle, timedelta()),
        ended(database, "by the webhook", idle, minutes, "webhook"),
        ended(database, "found something", Ending("succeeded", "adopted: m 1", items=1), minutes),
        ended(database, "failed", Ending("failed", "MLflow did not answer"), minutes),
        ended(database, "skipped", Ending("skipped", "busy"), minutes),
    ]
    ending = reconcile(database, Settings(database_url=database_url))
    assert (ending.outcome, ending.items) == ("succeeded", 0)
    assert ending.detail == "this worker knows no MLflow: start it with MLFLOW_TRACKING_URI"
    with database.transaction() as connection:
        found = {run.id for run in job_runs.list_runs(connection) if run.planned_by != "tester"}
    assert found == {run.id for run in kept}


def test_an_mlflow_that_is_away_is_a_failed_run_that_says_so(
    database: Database, database_url: str, own_storage: Settings
) -> None:
    settings = replace(own_storage, database_url=database_url, mlflow_tracking_uri="http://127.0.0.1:1")
    ending = reconcile(database, settings)
    assert (ending.outcome, ending.error_code) == ("failed", "server_unavailable")
    assert "MLflow did not answer" in ending.detail
