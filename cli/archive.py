"""Removing old versions that never served."""

from __future__ import annotations

import json
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

import click

from cli.rooms import MLFLOW, POSTGRESQL, S3, opened, say
from cli.tables import table
from forecastle.access.principals import Permission
from forecastle.registry.loading import ours
from forecastle.store import job_runs
from projects import discover

HEAD = ("model", "version", "made", "what becomes of it")


@click.command("archive")
@click.option("--dry-run", is_flag=True, help="Only say what would be removed, and why the others stay.")
@click.option("--json", "as_json", is_flag=True)
def archive(dry_run: bool, as_json: bool) -> None:
    """Remove versions beyond the last three that never served, after 90 days, and data sets that nobody names."""
    from forecastle.registry.archive import Archive  # MLflow takes seconds to import
    from forecastle.registry.cleanup import Cleanup

    with opened((POSTGRESQL, S3, MLFLOW)) as room:
        room.principal(Permission.READ if dry_run else Permission.TRAIN)
        with room.database.transaction() as connection:
            moment = job_runs.now(connection)
        mlflow = Cleanup(room.settings.require_tracking_uri())
        found = Archive(room.database, room.objects, mlflow, moment, ours(discover()))
        plan = found.plan()
        done = None if dry_run else found.remove(plan)
    if as_json:
        click.echo(json.dumps({**_document(plan), "removed": None if done is None else asdict(done)}))
        return
    if plan.versions:
        becomes = "would be removed" if dry_run else "removed"
        rows = [_cells(one.version, one.stays_because or becomes) for one in plan.versions]
        click.echo("\n".join(table(HEAD, rows)))
    for dataset in plan.datasets:
        click.echo(f"dataset {dataset.name} version {dataset.version}: {'would be ' if dry_run else ''}removed")
    if done is not None:
        say(f"versions removed: {done.versions}, runs with their files: {done.runs}, dataset versions: {done.datasets}")


def _cells(version: Any, becomes: str) -> list[str]:
    made = datetime.fromtimestamp(version.created_at_ms / 1000, UTC)
    return [version.name, str(version.version), f"{made:%Y-%m-%d}", becomes]


def _document(plan: Any) -> dict[str, Any]:
    return {
        "versions": [
            {"name": one.version.name, "version": one.version.version, "stays_because": one.stays_because}
            for one in plan.versions
        ],
        "datasets": [asdict(dataset) for dataset in plan.datasets],
    }
