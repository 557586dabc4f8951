"""Removing what is past its retention and does not stand in a month that is dropped as a whole."""

from __future__ import annotations

from datetime import datetime

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
