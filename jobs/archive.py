"""Keeping MLflow clean: old versions that never served, and runs that nobody will end."""

from __future__ import annotations

import projects
from forecastle.registry.loading import ours
from forecastle.store.objects import Objects
from jobs.maintenance import after_leap, is_dry_run, now
from jobs.registry import Done, Work


def archive_versions(work: Work) -> Done:
    """Remove versions and data sets that nobody needs any more; with `dry_run=yes` say which. Raises InputError."""
    from forecastle.registry.archive import Archive  # MLflow takes seconds to import
    from forecastle.registry.cleanup import Cleanup

    dry_run = is_dry_run(work)
    mlflow = Cleanup(work.settings.require_tracking_uri())
    archive = Archive(work.database, Objects.of(work.settings), mlflow, now(work.database), ours(projects.discover()))
    plan = archive.plan()
    if dry_run:
        named = ", ".join(f"{one.name}/{one.version}" for one in plan.removed) or "none"
        return Done(0, f"would be removed: {named}; dataset versions: {len(plan.datasets)}")
    skipped = after_leap(work)
    if skipped is not None:
        return skipped
    done = archive.remove(plan)
    detail = f"versions removed: {done.versions}, runs with their files: {done.runs}, dataset versions: {done.datasets}"
    return Done(done.versions + done.datasets, detail)


def end_lost_runs(work: Work) -> Done:
    """End MLflow runs of our experiments that nobody will end."""
    from forecastle.registry import lost_runs  # MLflow takes seconds to import
    from forecastle.registry.cleanup import Cleanup

    mlflow = Cleanup(work.settings.require_tracking_uri())
    ended = lost_runs.end_lost_runs(work.database, mlflow, list(projects.discover()), now(work.database))
    return Done(len(ended), f"MLflow runs ended: {', '.join(ended) or 'none'}")
