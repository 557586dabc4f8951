"""Keeping the house clean."""

from __future__ import annotations

from datetime import datetime, timedelta

from forecastle.store import job_runs, retention
from forecastle.store.database import Database
from jobs.registry import Done, Work

RETENTION_DAYS = {"delivery": 365, "reliability": 90}
BATCH_ROWS = 5_000
LEAP = timedelta(days=2)
"""A scheduled job that last ran longer ago was away, or the clock was moved."""


def cleanup_predictions(work: Work) -> Done:
    """Delete predictions past the retention of their family, with their ground truth.

    Nothing at the first run after a leap of the clock: one that is wrong by a year would delete everything.
    """
    with work.database.transaction() as connection:
        moment = job_runs.now(connection)
        runs = job_runs.list_runs(connection, 2, work.run.name)
    leap = min((moment - run.planned_at for run in runs if run.id != work.run.id), default=timedelta())
    if leap > LEAP:
        again = f"where the clock is right, run it again: forecastle jobs run {work.run.name}"
        return Done(0, f"nothing was deleted: this is {leap.days} days after the last run; {again}")
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
