"""Cleaning up deletes exactly what is past its retention."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from psycopg.types.json import Jsonb

from forecastle.records.issues import IssueRecord
from forecastle.settings import Settings
from forecastle.store import job_runs
from forecastle.store.database import Connection, Database
from forecastle.store.identifiers import new_id
from forecastle.store.issues import import_issues
from forecastle.store.tenants import get_project
from jobs.child import call
from jobs.maintenance import delete_expired

NOW = datetime(2026, 11, 20, 3, tzinfo=UTC)
SECOND = timedelta(seconds=1)
AGES = {
    "delivery.story_points": [timedelta(365) - SECOND, timedelta(365) + SECOND, timedelta(800)],
    "reliability.insights": [timedelta(90) - SECOND, timedelta(90) + SECOND, timedelta(100), timedelta(400)],
    "deliveryish.other": [timedelta(800)],
}


def insert(connection: Connection, model_type: str, created_at: datetime) -> None:
    project, prediction = get_project(connection, "A"), new_id()
    connection.execute(
        "insert into predictions (id, model_type, model_name, model_version, alias, run_id, dataset_digest, "
        "git_commit, feature_digest, bundle_digest, project_id, principal, moment, input_digest, request, history, "
        "answer, method, latency_ms, created_at) "
        "values (%s, %s, '', 1, '', '', '', '', '', '', %s, '', %s, '', %s, %s, %s, '', 1, %s)",
        (prediction, model_type, project.id, created_at, Jsonb({}), Jsonb({}), Jsonb({}), created_at),
    )
    for _ in range(2):
        connection.execute(
            "insert into ground_truth (id, prediction_id, value, source, known_at, recorded_by) "
            "values (%s, %s, 1, 's', %s, 'ada')",
            (new_id(), prediction, created_at),
        )


def fill(database: Database, now: datetime) -> None:
    with database.transaction() as connection:
        import_issues(
            connection, [IssueRecord(project_key="A", key="A-1", ordinal=0, time_basis="ordinal", title="An issue")]
        )
        for model_type, ages in AGES.items():
            for age in ages:
                insert(connection, model_type, now - age)


def counts(database: Database) -> list[int]:
    with database.transaction() as connection:
        rows = [
            connection.execute(f"select count(*) as n from {table}").fetchone()
            for table in ("predictions", "ground_truth")
        ]
    return [int(row["n"]) for row in rows if row is not None]


@pytest.mark.parametrize("batch", [1, 2, 1000])
def test_exactly_what_is_past_its_retention_is_deleted(database: Database, batch: int) -> None:
    fill(database, NOW)
    assert counts(database) == [8, 16]
    assert delete_expired(database, NOW, batch) == {"delivery": 2, "reliability": 3}
    assert counts(database) == [3, 6]
    with database.transaction() as connection:
        kept = {row["model_type"]: row["created_at"] for row in connection.execute("select * from predictions")}
    assert kept == {
        "delivery.story_points": NOW - timedelta(365) + SECOND,
        "reliability.insights": NOW - timedelta(90) + SECOND,
        "deliveryish.other": NOW - timedelta(800),
    }
    assert delete_expired(database, NOW, batch) == {"delivery": 0, "reliability": 0}


def test_the_job_says_how_many(database: Database, database_url: str) -> None:
    fill(database, datetime.now(UTC) + timedelta(seconds=-30))
    with database.transaction() as connection:
        run = job_runs.plan(connection, "maintenance.cleanup_predictions", {}, "ada")
    assert run is not None
    ending = call("jobs.maintenance:cleanup_predictions", Settings(database_url=database_url), run.id)
    assert ending.items == 5 + 2  # half a minute later the two on the edge are past it as well
    assert ending.detail == "predictions deleted: 3 of delivery (kept 365 days), 4 of reliability (kept 90 days)"
