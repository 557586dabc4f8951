"""Versions: which there are, which one serves, how they differ, and what they answered."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from datetime import datetime, timedelta
from typing import Any

import click

from cli import promotions
from cli.performance import performance
from cli.promotions import registry
from cli.rooms import opened, say
from cli.tables import table
from cli.webhook import webhook
from forecastle.errors import NotFoundError
from forecastle.registry.loading import type_of
from forecastle.registry.mlflow_rest import MlflowRest, Version
from forecastle.registry.moves import as_document, sentence
from forecastle.registry.review import UNGATED, VERDICT_TAG
from forecastle.store import promotions as ledger
from forecastle.store.blast_radius import Affected, affected_projects
from forecastle.store.database import Connection
from forecastle.store.datasets import find_redaction
from projects import discover

CLOCKS_DIFFER = timedelta(days=1)
"""How far the clocks of façades and MLflow may be apart before a prediction seems older than its version."""
_TRUSTED = (VERDICT_TAG, "gate.margin", "data.digest", "feature.digest", "git.commit", "trained_by")


@click.group()
def models() -> None:
    """List versions, compare them, move production, and look back at how it was moved."""


for _command in (
    promotions.promote,
    promotions.rollback,
    promotions.history,
    promotions.at,
    promotions.verify_ledger,
    performance,
):
    models.add_command(_command)
models.add_command(webhook)


@models.command("list")
@click.argument("name", required=False)
@click.option("--json", "as_json", is_flag=True)
def list_models(name: str | None, as_json: bool) -> None:
    """Every version, with its aliases; `serves` is what the ledger says."""
    with registry() as (room, rest):
        versions = rest.list_versions(name)
        with room.database.transaction() as connection:
            serving = {n: step.promotion.to_version for n, step in ledger.serving(connection).items()}
    rows = [
        {
            "name": v.name,
            "version": v.version,
            "aliases": list(v.aliases),
            "serves": serving.get(v.name) == v.version,
            "verdict": v.tags.get(VERDICT_TAG, UNGATED),
            "mae": v.tags.get("mae", ""),
            "trained_by": v.tags.get("trained_by", ""),
        }
        for v in versions
    ]
    if as_json:
        click.echo(json.dumps(rows))
        return
    shown = [{**row, "aliases": ", ".join(row["aliases"]), "serves": "yes" if row["serves"] else ""} for row in rows]
    head = ["model", "version", "aliases", "serves", "verdict", "mae", "trained by"]
    click.echo("\n".join(table(head, [[str(value) for value in row.values()] for row in shown])))


@models.command("show")
@click.argument("name")
@click.argument("version", type=int, required=False)
@click.option("--json", "as_json", is_flag=True)
def show_model(name: str, version: int | None, as_json: bool) -> None:
    """One version (that in production where none is named): verdict, tags, approved files, and every move."""
    with registry() as (room, rest):
        with room.database.transaction() as connection:
            moves = ledger.confirmed_steps(connection, name)
        if not version and not moves:
            raise NotFoundError(f"nothing of {name} was ever in production; name a version: `forecastle models list`")
        found = rest.get_version(name, version or moves[-1].promotion.to_version)
        with room.database.transaction() as connection:
            redacted_at = find_redaction(connection, found.tags.get("data.digest", ""))
    verdict = found.tags.get(VERDICT_TAG, UNGATED)
    approved = next((m.promotion.files for m in reversed(moves) if m.promotion.to_version == found.version), ())
    files = {file.name: file.sha256 for file in approved}
    if as_json:
        history = [as_document(step) for step in moves]
        more = {"dataset_redacted_at": redacted_at, "verdict": verdict, "files": files, "moves": history}
        click.echo(json.dumps({**asdict(found), **more}, default=_text))
        return
    aliases = ", ".join(found.aliases) or "none"
    click.echo(f"{found.name} version {found.version}, {verdict}, aliases: {aliases}, run {found.run_id}")
    for key, value in [*sorted(found.tags.items()), *files.items()]:
        click.echo(f"  {key:<24} {value}")
    if redacted_at:
        click.echo(
            f"  text was erased from its dataset at {redacted_at:%Y-%m-%d %H:%M:%S}Z; the digest is that of before"
        )
    for step in moves:
        click.echo(sentence(step))


@models.command("diff")
@click.argument("name")
@click.argument("before", type=int, metavar="A")
@click.argument("after", type=int, metavar="B")
@click.option("--all", "everything", is_flag=True, help="Also what is equal.")
@click.option("--json", "as_json", is_flag=True)
def diff(name: str, before: int, after: int, everything: bool, as_json: bool) -> None:
    """Versions A and B of NAME side by side: where they come from, their baselines, metrics and parameters."""
    with registry() as (_, rest):
        first, second = (_described(rest, rest.get_version(name, number)) for number in (before, after))
    if as_json:
        click.echo(json.dumps({"name": name, str(before): first, str(after): second}))
        return
    rows = [
        [part, key, first[part].get(key, ""), second[part].get(key, "")]
        for part in first
        for key in sorted({*first[part], *second[part]})
    ]
    shown = [row for row in rows if everything or row[2] != row[3]]
    cells = [[part, key, *(f"{v:.6g}" if isinstance(v, float) else v for v in values)] for part, key, *values in shown]
    if cells:
        click.echo("\n".join(table(["", "what", str(before), str(after)], cells)))
    if len(shown) < len(rows):
        say(f"{len(rows) - len(shown)} more are equal; --all shows them")


def _described(rest: MlflowRest, version: Version) -> dict[str, Mapping[str, Any]]:
    """A version by parts: origin, baselines (their errors on identical rows), metrics, params."""
    run, model_type = rest.get_run(version.run_id), type_of(discover(), version.name)
    baselines = {f"mae.{name}" for name in (model_type.baselines if model_type else ())}
    return {
        "origin": {name: version.tags[name] for name in _TRUSTED if name in version.tags},
        "baselines": {name: value for name, value in run.metrics.items() if name in baselines},
        "metrics": {name: value for name, value in run.metrics.items() if name not in baselines},
        "params": run.params,
    }


@models.command("affected")
@click.argument("name")
@click.argument("version", type=int)
@click.option("--json", "as_json", is_flag=True)
def affected(name: str, version: int, as_json: bool) -> None:
    """How many predictions VERSION of NAME made, by project, and when the first and the last."""
    with opened() as room, room.database.transaction() as connection:
        found = affected_projects(connection, name, version, _made_at(connection, name, version))
    if as_json:
        click.echo(json.dumps([asdict(row) for row in found], default=_text))
    elif found:
        head = ("project", "predictions", "first (UTC)", "last (UTC)", "project id")
        click.echo("\n".join(table(head, [_cells(row) for row in found])))
        say(f"{sum(row.predictions for row in found):,} predictions of {name} version {version}")
    else:
        say(f"{name} version {version} made no prediction that is still kept")


def _made_at(connection: Connection, name: str, version: int) -> datetime | None:
    """Since when there can be predictions of a version; None where the ledger does not know."""
    for step in ledger.confirmed_steps(connection, name):
        if step.promotion.to_version == version and "created_at" in step.promotion.provenance:
            return datetime.fromisoformat(step.promotion.provenance["created_at"]) - CLOCKS_DIFFER
    return None


def _text(value: Any) -> str:
    return value.isoformat() if hasattr(value, "isoformat") else str(value)


def _cells(row: Affected) -> list[str]:
    moments = [f"{moment:%Y-%m-%d %H:%M:%S}" for moment in (row.first_at, row.last_at)]
    return [row.project_key, f"{row.predictions:,}", *moments, str(row.project_id)]
