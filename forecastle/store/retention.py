"""Removing what is past its retention and does not stand in a month that is dropped as a whole."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from forecastle.store import job_runs
from forecastle.store.database import Connection


def delete_predictions(connection: Connection, family: str, before: datetime, limit: int) -> int:
    """Delete at most `limit` predictions of a family made before this moment, with their ground truth."""
    row = connection.execute(
        "with old as (select id from predictions where family = %(family)s and created_at < %(before)s "
        "order by created_at limit %(limit)s for update skip locked), "
        "known as (delete from ground_truth where family = %(family)s and prediction_id in (select id from old)), "
        "gone as (delete from predictions where family = %(family)s and id in (select id from old) returning id) "
        "select count(*) as n from gone",
        {"family": family, "before": before, "limit": limit},
    ).fetchone()
    assert row is not None
    return int(row["n"])


def delete_job_runs(connection: Connection, before: datetime, limit: int) -> int:
    """Delete at most `limit` runs of jobs that ended before this moment."""
    return connection.execute(
        "delete from job_runs where id in (select id from job_runs where ended_at < %s limit %s)", (before, limit)
    ).rowcount


@dataclass(frozen=True)
class Named:
    """What MLflow knows: registered models that have a version, and the run of each version."""

    models: Sequence[str]
    runs: Sequence[str]


def old_decisions(connection: Connection, before: datetime, limit: int | None = None) -> list[UUID]:
    """Retraining decisions made before this moment, at most `limit`.

    Not those that planned a training, as the ledger and versions may name them, nor the newest of a registered model.
    """
    rows = connection.execute(
        "select id from retraining_decisions as old where decided_at < %s and training_run is null and exists ("
        "select from retraining_decisions as newer where newer.model_name = old.model_name "
        "and newer.decided_at > old.decided_at) limit %s",
        (before, limit),
    )
    return [row["id"] for row in rows]


def delete_decisions(connection: Connection, before: datetime, limit: int) -> int:
    found = old_decisions(connection, before, limit)
    return connection.execute("delete from retraining_decisions where id = any(%s)", (found,)).rowcount


def old_looks(connection: Connection, before: datetime, named: Named, limit: int | None = None) -> list[UUID]:
    """Looks of gates before this moment, at versions that neither MLflow nor the ledger names any more.

    Only of registered models that MLflow knows: an MLflow that is empty, or another one, says nothing about them.
    """
    rows = connection.execute(
        "select id from gate_looks as look where looked_at < %(before)s and model_name = any(%(models)s) "
        "and run_id <> all(%(runs)s) and not exists (select from promotions where "
        "promotions.model_name = look.model_name and look.model_version in (from_version, to_version) "
        "or provenance ->> 'run_id' = look.run_id) limit %(limit)s",
        {"before": before, "models": list(named.models), "runs": list(named.runs), "limit": limit},
    )
    return [row["id"] for row in rows]


def delete_looks(connection: Connection, before: datetime, named: Named, limit: int) -> int:
    """The rows that they had used up stay used up."""
    found = old_looks(connection, before, named, limit)
    return connection.execute("delete from gate_looks where id = any(%s)", (found,)).rowcount


def delete_idle_ticks(connection: Connection, name: str, before: datetime) -> int:
    """Delete scheduled runs of a job that ended before this moment, all being well and nothing to do."""
    return connection.execute(
        "delete from job_runs where name = %s and planned_by = %s and outcome = 'succeeded' and items = 0 "
        "and ended_at < %s",
        (name, job_runs.SCHEDULE, before),
    ).rowcount


def delete_api_keys(connection: Connection, before: datetime) -> int:
    """Delete keys that were withdrawn before this moment, by themselves or with whoever they belonged to."""
    return connection.execute(
        "delete from api_keys using principals where principals.id = principal_id "
        "and least(revoked_at, disabled_at) < %s",
        (before,),
    ).rowcount


def delete_notifications(connection: Connection, before: datetime) -> int:
    """Delete notifications that were closed before this moment, with their deliveries."""
    return connection.execute("delete from notifications where closed_at < %s", (before,)).rowcount
