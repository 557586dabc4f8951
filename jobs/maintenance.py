"""Keeping the house clean."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from forecastle.errors import ConflictError, InputError
from forecastle.store import job_runs, prediction_months, retention
from forecastle.store.database import Connection, Database
from jobs.registry import Done, Work

RETENTION_DAYS = {"delivery": 365, "reliability": 90}
WITHDRAWN_KEY_DAYS = 30
BATCH_ROWS = 5_000
LEAP = timedelta(days=2)
"""A scheduled job that last ran longer ago was away, or the clock was moved."""


@dataclass(frozen=True)
class Cleaned:
    """Of one family: predictions that are gone, months dropped as a whole, and months left as one was in use."""

    predictions: int
    months: int
    left: int


def make_prediction_months(work: Work) -> Done:
    """Make the partitions of predictions of this month and the next ones."""
    with work.database.transaction() as connection:
        made = prediction_months.make_months_ahead(connection)
    return Done(made, f"partitions of predictions made: {made}, {prediction_months.MONTHS_AHEAD} months ahead")


def cleanup_predictions(work: Work) -> Done:
    """Remove predictions past the retention of their family, with their ground truth.

    Nothing at the first run after a leap of the clock: one that is wrong by a year would remove everything.
    """
    skipped = after_leap(work)
    if skipped is not None:
        return skipped
    moment = now(work.database)
    cleaned = remove_expired(work.database, moment)
    counts = ", ".join(
        f"{done.predictions:,} of {family} (kept {RETENTION_DAYS[family]} days)" for family, done in cleaned.items()
    )
    months, left = (sum(getattr(done, name) for done in cleaned.values()) for name in ("months", "left"))
    waiting = f"; {left} left for the next run, as somebody uses them" if left else ""
    detail = f"predictions removed: {counts}; months dropped as a whole: {months}{waiting}"
    return Done(sum(done.predictions for done in cleaned.values()), detail)


def cleanup_job_runs(work: Work) -> Done:
    """Delete runs of jobs that ended long ago; nothing at the first run after a leap of the clock."""
    skipped = after_leap(work)
    if skipped is not None:
        return skipped
    days = work.settings.job_run_days
    before = now(work.database) - timedelta(days=days)
    deleted = in_batches(
        work.database, lambda connection: retention.delete_job_runs(connection, before, BATCH_ROWS), BATCH_ROWS
    )
    return Done(deleted, f"runs deleted: {deleted:,} that ended more than {days} days ago")


def cleanup_withdrawn(work: Work) -> Done:
    """Delete API keys that were withdrawn and alerts that were closed, long ago; nothing after a leap of the clock."""
    skipped = after_leap(work)
    if skipped is not None:
        return skipped
    moment, days = now(work.database), work.settings.job_run_days
    with work.database.transaction() as connection:
        keys = retention.delete_api_keys(connection, moment - timedelta(days=WITHDRAWN_KEY_DAYS))
        alerts = retention.delete_notifications(connection, moment - timedelta(days=days))
    kept = f"(kept {WITHDRAWN_KEY_DAYS} days), closed alerts: {alerts:,} (kept {days} days)"
    return Done(keys + alerts, f"deleted withdrawn API keys: {keys:,} {kept}")


def _since_last_run(work: Work) -> timedelta:
    """How long ago the same job was last planned before this run; nothing where it never was."""
    with work.database.transaction() as connection:
        moment = job_runs.now(connection)
        runs = job_runs.list_runs(connection, 2, work.run.name)
    return min((moment - run.planned_at for run in runs if run.id != work.run.id), default=timedelta())


def after_leap(work: Work) -> Done | None:
    """Why nothing is removed at the first run after a leap of the clock; None where it did not leap."""
    leap = _since_last_run(work)
    if leap <= LEAP:
        return None
    again = f"where the clock is right, run it again: forecastle jobs run {work.run.name}"
    return Done(0, f"nothing was removed: this is {leap.days} days after the last run; {again}", skipped=True)


def remove_expired(database: Database, moment: datetime, batch: int = BATCH_ROWS) -> dict[str, Cleaned]:
    """Remove what is past its retention at `moment`, by family: whole months first, then the rest in batches."""
    return {
        family: _remove(database, family, moment - timedelta(days=days), batch)
        for family, days in RETENTION_DAYS.items()
    }


def _remove(database: Database, family: str, before: datetime, batch: int) -> Cleaned:
    removed = months = left = 0
    with database.transaction() as connection:
        past = prediction_months.list_months(connection, family, before)
    for done, month in enumerate(past):
        try:
            with database.transaction() as connection:
                gone = prediction_months.drop_month(connection, month, before)
        except ConflictError:
            left = len(past) - done  # whoever reads one month of predictions tends to read all: nobody waits again
            break
        if gone is not None:
            removed, months = removed + gone, months + 1
    removed += in_batches(
        database, lambda connection: retention.delete_predictions(connection, family, before, batch), batch
    )
    return Cleaned(removed, months, left)


def in_batches(database: Database, delete: Callable[[Connection], int], batch: int) -> int:
    """Call `delete`, a transaction each, until it finds fewer than a batch; returns how many it deleted."""
    deleted = 0
    while True:
        with database.transaction() as connection:
            gone = delete(connection)
        deleted += gone
        if gone < batch:
            return deleted


def is_dry_run(work: Work) -> bool:
    """Whether it is only to say what it would do. Raises InputError."""
    asked = work.run.arguments.get("dry_run", "no")
    if asked not in ("yes", "no"):
        raise InputError("dry_run is yes or no")
    return asked == "yes"


def now(database: Database) -> datetime:
    """The database's clock."""
    with database.transaction() as connection:
        return job_runs.now(connection)
