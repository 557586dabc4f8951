"""Removing what is past its retention."""

from __future__ import annotations

from datetime import datetime

from forecastle.store.database import Connection


def delete_predictions(connection: Connection, family: str, before: datetime, limit: int) -> int:
    """Delete at most `limit` predictions of a family made before this moment, with their ground truth."""
    row = connection.execute(
        "with old as (select id from predictions where created_at < %(before)s "
        "and starts_with(model_type, %(family)s) order by created_at limit %(limit)s for update skip locked), "
        "known as (delete from ground_truth where prediction_id in (select id from old)), "
        "gone as (delete from predictions where id in (select id from old) returning id) "
        "select count(*) as n from gone",
        {"family": f"{family}.", "before": before, "limit": limit},
    ).fetchone()
    assert row is not None
    return int(row["n"])
