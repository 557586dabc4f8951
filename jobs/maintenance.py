"""Keeping the house clean."""

from __future__ import annotations

from datetime import datetime, timedelta

from forecastle.store import job_runs, retention
from forecastle.store.database import Database
from jobs.registry import Done, Work

RETENTION_DAYS = {"delivery": 365, "reliability": 90}
BATCH_ROWS = 5_000


def cleanup_predictions(work: Work) -> Done:
    """Delete predictions past the retention of their family, with their ground truth."""
    with work.database.transaction() as connection:
        moment = job_runs.now(connection)
    deleted = delete_expired(work.database, moment)
    counts = ", ".join(f"{n:,} of {family} (kept {RETENTION_DAYS[family]} days)" for family, n in deleted.items())
    return Done(sum(deleted.values()), f"predictions deleted: {counts}")


def delete_expired(database: Database, moment: datetime, batch: int = BATCH_ROWS) -> dict[str, int]:
    """Delete what is past its retention at `moment`, a transaction a batch; returns how many by family."""
    deleted = dict.fromkeys(RETENTION_DAYS, 0)
    for family, days in RETENTION_DAYS.items():
        while True:
            with database.transaction() as connection:
                gone = retention.delete_predictions(connection, family, moment - timedelta(days=days), batch)
            deleted[family] += gone
            if gone < batch:
                break
    return deleted
