"""Removing what was decided long ago, and what nobody names any more."""

from __future__ import annotations

from datetime import timedelta

from forecastle.registry.mlflow_rest import MlflowRest
from forecastle.store import retention
from forecastle.store.retention import Named
from jobs.maintenance import BATCH_ROWS, after_leap, in_batches, is_dry_run, now
from jobs.registry import Done, Work


def cleanup_decisions(work: Work) -> Done:
    """Delete old retraining decisions and looks of gates; with `dry_run=yes` say how many. Raises ServerError.

    What the ledger or a version in MLflow names stays. Raises InputError for another word than yes and no.
    """
    days, dry_run = work.settings.job_run_days, is_dry_run(work)
    before = now(work.database) - timedelta(days=days)
    versions = MlflowRest.of(work.settings).list_versions()
    named = Named([one.name for one in versions], [one.run_id for one in versions])
    skipped = None if dry_run else after_leap(work)
    if skipped is not None:
        return skipped
    if dry_run:
        with work.database.transaction() as connection:
            decisions = len(retention.old_decisions(connection, before))
            looks = len(retention.old_looks(connection, before, named))
        return Done(0, f"would be deleted: retraining decisions: {decisions:,}, looks of gates: {looks:,}")
    decisions = in_batches(
        work.database, lambda connection: retention.delete_decisions(connection, before, BATCH_ROWS), BATCH_ROWS
    )
    looks = in_batches(
        work.database, lambda connection: retention.delete_looks(connection, before, named, BATCH_ROWS), BATCH_ROWS
    )
    detail = f"deleted retraining decisions: {decisions:,}, looks of gates: {looks:,} (kept {days} days)"
    return Done(decisions + looks, detail)
