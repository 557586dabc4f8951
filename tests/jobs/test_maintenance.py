"""Cleaning up removes exactly what is past its retention."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
from predictions import a_prediction, id_at, some_project, write_truth

from forecastle.access.principals import Role, add_user, key_digest
from forecastle.notify.alerts import Kind, raise_alert
from forecastle.registry.mlflow_rest import Version
from forecastle.settings import Settings
from forecastle.store import job_runs
from forecastle.store import promotions as ledger
from forecastle.store.database import Connection, Database
from forecastle.store.gate_looks import Look, add_look, looked_at
from forecastle.store.identifiers import new_id
from forecastle.store.job_runs import Ending
from forecastle.store.notifications import list_notifications
from forecastle.store.prediction_months import list_months
from forecastle.store.predictions import write_predictions
from forecastle.store.promotions import Promotion
from jobs import decisions
from jobs.child import call
from jobs.maintenance import Cleaned, remove_expired

NOW = datetime(2026, 11, 20, 3, tzinfo=UTC)
SECOND = timedelta(seconds=1)
MONTH = f"{datetime.now(UTC):%Y_%m}"
AGES = {
    "delivery.story_points": [timedelta(365) - SECOND, timedelta(365) + SECOND, timedelta(800)],
    "reliability.insights": [timedelta(90) - SECOND, timedelta(90) + SECOND, timedelta(100), timedelta(400)],
}


def fill(database: Database, now: datetime) -> None:
    """Predictions of these ages, each with two outcomes."""
    with database.transaction() as connection:
        project = some_project(connection)
    for model_type, ages in AGES.items():
        for age in ages:
            prediction = a_prediction(project, id=id_at(now - age), model_type=model_type)
            write_predictions(database, [prediction])
            with database.transaction() as connection:
                connection.execute("update predictions set created_at = %s where id = %s", (now - age, prediction.id))
                for _ in range(2):
                    write_truth(connection, prediction)


def counts(database: Database) -> list[int]:
    with database.transaction() as connection:
        rows = [
            connection.execute(f"select count(*) as n from {table}").fetchone()
            for table in ("predictions", "ground_truth")
        ]
    return [int(row["n"]) for row in rows if row is not None]


def months(database: Database, family: str) -> list[str]:
    with database.transaction() as connection:
        return [month.name for month in list_months(connection, family)]


@pytest.mark.parametrize("batch", [1, 2, 1000])
def test_exactly_what_is_past_its_retention_is_removed_and_whole_months_are_dropped(
    database: Database, batch: int
) -> None:
    fill(database, NOW)
    assert counts(database) == [7, 14]
    removed = remove_expired(database, NOW, batch)
    assert removed == {"delivery": Cleaned(2, 1, 0), "reliability": Cleaned(3, 1, 0)}
    assert counts(database) == [2, 4]
    with database.transaction() as connection:
        kept = {row["model_type"]: row["created_at"] for row in connection.execute("select * from predictions")}
    assert kept == {
        "delivery.story_points": NOW - timedelta(365) + SECOND,
        "reliability.insights": NOW - timedelta(90) + SECOND,
    }
    assert months(database, "delivery")[0] == "2025_11"
    assert months(database, "reliability")[0] == "2026_08"
    assert remove_expired(database, NOW, batch) == dict.fromkeys(removed, Cleaned(0, 0, 0))


def test_what_was_made_lately_stays_although_the_clock_of_its_app_was_years_behind(database: Database) -> None:
    with database.transaction() as connection:
        project = some_project(connection)
    write_predictions(database, [a_prediction(project, id=id_at(datetime(2001, 1, 1, tzinfo=UTC)))])
    assert remove_expired(database, datetime.now(UTC))["delivery"] == Cleaned(0, 0, 0)
    assert counts(database) == [1, 0]


def test_predictions_of_a_month_that_is_in_use_are_deleted_and_the_month_is_dropped_next_time(
    database: Database, database_url: str
) -> None:
    fill(database, NOW)
    with psycopg.connect(database_url) as reader:
        reader.execute("select * from predictions")
        assert remove_expired(database, NOW)["delivery"] == Cleaned(2, 0, 1)
        assert counts(database)[0] == 2
    assert remove_expired(database, NOW)["delivery"] == Cleaned(0, 1, 0)


def run_job(database: Database, database_url: str, name: str) -> Any:
    with database.transaction() as connection:
        run = job_runs.plan(connection, f"maintenance.{name}", {}, "ada")
    assert run is not None
    return call(f"jobs.maintenance:{name}", Settings(database_url=database_url), run.id)


def test_the_job_says_how_many_predictions_and_months(database: Database, database_url: str) -> None:
    fill(database, datetime.now(UTC) + timedelta(seconds=-30))
    ending = run_job(database, database_url, "cleanup_predictions")
    assert ending.items == 5 + 2  # half a minute later the two on the edge are past it as well
    counted = "3 of delivery (kept 365 days), 4 of reliability (kept 90 days)"
    assert ending.detail.startswith(f"predictions removed: {counted}; months dropped as a whole: ")


def test_months_are_made_ahead(database: Database, database_url: str) -> None:
    assert run_job(database, database_url, "make_prediction_months").items == 0  # the migration made them
    with database.transaction() as connection:
        connection.execute(f"drop table ground_truth_delivery_{MONTH}, predictions_delivery_{MONTH}")
    ending = run_job(database, database_url, "make_prediction_months")
    assert (ending.outcome, ending.items) == ("succeeded", 1)
    assert MONTH in months(database, "delivery")


def test_runs_of_jobs_that_ended_a_year_ago_are_deleted_and_those_that_have_not_ended_stay(
    database: Database, database_url: str
) -> None:
    with database.transaction() as connection:
        for name, days in (("old", 366), ("young", 364)):
            connection.execute(
                "insert into job_runs (id, name, arguments, planned_by, ended_at, outcome) "
                "values (gen_random_uuid(), %s, '{}', 'ada', now() - %s * interval '1 day', 'succeeded')",
                (name, days),
            )
        connection.execute(
            "insert into job_runs (id, name, arguments, planned_by, planned_at) "
            "values (gen_random_uuid(), 'waiting', '{}', 'ada', now() - interval '900 days')"
        )
    ending = run_job(database, database_url, "cleanup_job_runs")
    assert (ending.outcome, ending.items) == ("succeeded", 1)
    with database.transaction() as connection:
        left = {run.name for run in job_runs.list_runs(connection)}
    assert left == {"young", "waiting", "maintenance.cleanup_job_runs"}


def test_api_keys_withdrawn_a_month_ago_and_alerts_closed_long_ago_are_deleted(
    database: Database, database_url: str
) -> None:
    with database.transaction() as connection:
        keys = {name: add_user(connection, name, Role.MEMBER) for name in ("ada", "bob", "carl", "dana")}
        connection.execute("update principals set disabled_at = now() - interval '31 days' where name = 'ada'")
        connection.execute("update principals set disabled_at = now() - interval '29 days' where name = 'bob'")
        revoked = "update api_keys set revoked_at = now() - interval '31 days' where digest = %s"
        connection.execute(revoked, (key_digest(keys["carl"]),))
        for subject in ("old", "young", "open"):
            raise_alert(connection, Kind.TRAINING_FAILED, subject, "it failed")
        connection.execute("update notifications set closed_at = now() - interval '366 days' where subject = 'old'")
        connection.execute("update notifications set closed_at = now() - interval '364 days' where subject = 'young'")
        connection.execute("update notifications set raised_at = now() - interval '900 days'")
    ending = run_job(database, database_url, "cleanup_withdrawn")
    assert (ending.outcome, ending.items) == ("succeeded", 3)
    assert run_job(database, database_url, "cleanup_withdrawn").items == 0
    with database.transaction() as connection:
        digests = {row["digest"] for row in connection.execute("select digest from api_keys")}
        subjects = {told.subject for told, _ in list_notifications(connection)}
        names = {row["name"] for row in connection.execute("select name from principals")}
    assert digests == {key_digest(keys["bob"]), key_digest(keys["dana"])}
    assert subjects == {"young", "open"}
    assert names == set(keys)  # what somebody did keeps the name


def test_how_long_runs_of_jobs_are_kept_is_a_setting(database: Database, database_url: str) -> None:
    with database.transaction() as connection:
        connection.execute(
            "insert into job_runs (id, name, arguments, planned_by, ended_at, outcome) "
            "values (gen_random_uuid(), 'old', '{}', 'ada', now() - interval '8 days', 'succeeded')"
        )
        run = job_runs.plan(connection, "maintenance.cleanup_job_runs", {}, "ada")
    assert run is not None
    settings = Settings(database_url=database_url, job_run_days=7)
    assert call("jobs.maintenance:cleanup_job_runs", settings, run.id).items == 1


class Registry:
    """Stands in for MLflow: versions of `known`, made by these runs."""

    def list_versions(self) -> list[Version]:
        return [Version("known", 9, run, (), {}, 0) for run in ("registered", "young")]


def old_and_young(connection: Connection) -> None:
    """Decisions and looks of two years ago and of now, of which some are named."""
    long_ago, now = datetime.now(UTC) - timedelta(days=730), datetime.now(UTC)
    decided: list[tuple[str, datetime, str, bool]] = [
        ("known", long_ago, "WAIT", False), ("known", long_ago, "CANNOT", False), ("known", long_ago, "RETRAIN", True),
        ("known", now, "WAIT", False), ("quiet", long_ago, "WAIT", False),
    ]  # fmt: skip
    for name, moment, verdict, planned in decided:
        connection.execute(
            "insert into retraining_decisions (id, model_name, decided_at, decided_by, verdict, reasons, flip, "
            "signals, basis, policy, feature_digest, training_run) values (gen_random_uuid(), %s, %s, 'ada', %s, '[]', "
            "'', '[]', '{}', '{}', 'f', case when %s then gen_random_uuid() end)",
            (name, moment, verdict, planned),
        )
    runs = [("known", run) for run in ("gone", "registered", "young", "approved", "approved before")]
    for number, (name, run) in enumerate([*runs, ("foreign", "elsewhere")]):
        add_look(connection, Look(name, number, run, "HOLD", {}, [("a", run)]))
    connection.execute("update gate_looks set looked_at = %s where run_id <> 'young'", (long_ago,))
    told = {"run_id": "approved"}
    steps = Promotion(new_id(), "promote", "known", 4, 3, "rita", "tested", "PROMOTE", False, (), told)
    ledger.add_step(connection, steps, "intent")


def test_old_decisions_and_looks_that_nobody_names_are_deleted_and_their_rows_stay_used_up(
    database: Database, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decisions.MlflowRest, "of", lambda settings: Registry())
    monkeypatch.setattr(decisions, "BATCH_ROWS", 1)
    with database.transaction() as connection:
        old_and_young(connection)

    def run(**arguments: str) -> Ending:
        with database.transaction() as connection:
            planned = job_runs.plan(connection, "maintenance.cleanup_decisions", arguments, "ada")
        assert planned is not None
        return call("jobs.decisions:cleanup_decisions", Settings(database_url=database_url), planned.id)

    counted = "retraining decisions: 2, looks of gates: 1"
    assert (run(dry_run="yes").items, run(dry_run="yes").detail) == (0, f"would be deleted: {counted}")
    assert run(dry_run="perhaps").error_code == "invalid_input"
    done = run()
    assert (done.items, done.detail) == (3, f"deleted {counted} (kept 365 days)")
    with database.transaction() as connection:
        left = connection.execute("select model_name, verdict from retraining_decisions order by 1, 2").fetchall()
        looks = connection.execute("select run_id from gate_looks order by 1").fetchall()
        assert [tuple(row.values()) for row in left] == [("known", "RETRAIN"), ("known", "WAIT"), ("quiet", "WAIT")]
        assert [row["run_id"] for row in looks] == [
            "approved", "approved before", "elsewhere", "registered", "young"
        ]  # fmt: skip
        assert ("a", "gone") in looked_at(connection, "known")
    assert run().items == 0
