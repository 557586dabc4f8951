"""`forecastle archive` on a real MLflow, and the jobs that do the same: what is young stays."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest
from mlflow import MlflowClient

from forecastle.settings import Settings
from forecastle.store import job_runs
from forecastle.store.database import Database
from forecastle.store.job_runs import Ending
from jobs.child import call
from jobs.registry import JOBS

Run = Callable[..., tuple[int, str, str]]
MODEL = "delivery.effort.young"


@pytest.fixture
def settings(servers: Settings, database_url: str) -> Iterator[Settings]:
    """MLflow with a registered model of five young versions, and an empty database of ours."""
    uri = servers.require_tracking_uri()
    client = MlflowClient(uri, uri)
    client.create_registered_model(MODEL)
    try:
        run = client.create_run("0").info.run_id
        client.set_terminated(run)
        for _ in range(5):
            client.create_model_version(MODEL, f"runs:/{run}/model", run)
        yield replace(servers, database_url=database_url)
    finally:
        client.delete_registered_model(MODEL)


def test_what_is_young_stays_and_is_told_why(run_with: Run, settings: Settings) -> None:
    run_with(settings, "users", "add", "ada", "--role", "admin")
    code, out, err = run_with(settings, "archive", "--dry-run", "--json")
    assert code == 0, err
    shown = {one["version"]: one["stays_because"] for one in json.loads(out)["versions"] if one["name"] == MODEL}
    assert set(shown) == {1, 2, 3, 4, 5}
    assert (shown[3], shown[2]) == ("one of the last 3", "made 0 days ago, 90 are kept")
    code, out, err = run_with(settings, "archive")
    assert (code, err) == (0, "versions removed: 0, runs with their files: 0, dataset versions: 0\n")
    assert out.count("made 0 days ago") == 2
    key = run_with(settings, "users", "add", "max", "--role", "member")[1].strip()
    code, _, err = run_with(replace(settings, api_key=key), "archive")
    assert (code, "member may not train" in err) == (1, True)


def run_job(database: Database, settings: Settings, name: str, **arguments: str) -> Ending:
    with database.transaction() as connection:
        run = job_runs.plan(connection, name, arguments, "ada")
    assert run is not None
    return call(JOBS[name].function, settings, run.id)


def test_the_jobs_say_what_they_did_and_refuse_what_they_do_not_know(database: Database, settings: Settings) -> None:
    archive = "maintenance.archive_versions"
    looked = run_job(database, settings, archive, dry_run="yes")
    assert (looked.outcome, looked.detail) == ("succeeded", "would be removed: none; dataset versions: 0")
    done = run_job(database, settings, archive)
    assert (done.outcome, done.items) == ("succeeded", 0), done
    assert run_job(database, settings, archive, dry_run="perhaps").error_code == "invalid_input"
    reaped = run_job(database, settings, "maintenance.end_lost_runs")
    assert (reaped.outcome, reaped.detail.startswith("MLflow runs ended: ")) == ("succeeded", True), reaped
