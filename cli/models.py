"""Versions, and which one serves."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

import click

from cli.rooms import MLFLOW, POSTGRESQL, S3, Room, opened
from cli.tables import table
from forecastle.access.principals import Permission
from forecastle.errors import NotFoundError
from forecastle.registry.loading import loadable
from forecastle.registry.performance import Performance, performance_of
from forecastle.registry.promotions import Promoter
from forecastle.store import promotions as ledger
from forecastle.store.datasets import find_redaction
from forecastle.store.promotions import LedgerStep
from projects import discover


@click.group()
def models() -> None:
    """List versions, show one, and move production."""


@contextmanager
def _registry() -> Iterator[tuple[Room, Any]]:
    from forecastle.registry.tracking import Tracking  # MLflow takes seconds to import

    with opened((POSTGRESQL, S3, MLFLOW)) as room:
        yield room, Tracking(room.settings.require_tracking_uri())


@models.command("list")
@click.argument("name", required=False)
@click.option("--json", "as_json", is_flag=True)
def list_models(name: str | None, as_json: bool) -> None:
    """Every version, with its aliases; `serves` is what the ledger says."""
    with _registry() as (room, tracking):
        versions = tracking.list_versions(name)
        with room.database.transaction() as connection:
            serving = {n: step.promotion.to_version for n, step in ledger.serving(connection).items()}
    rows = [
        {
            "name": v.name,
            "version": v.version,
            "aliases": list(v.aliases),
            "serves": serving.get(v.name) == v.version,
            "mae": v.tags.get("mae", ""),
            "trained_by": v.tags.get("trained_by", ""),
        }
        for v in versions
    ]
    if as_json:
        click.echo(json.dumps(rows))
        return
    cells = [
        [r["name"], str(r["version"]), ", ".join(r["aliases"]), "yes" if r["serves"] else "", r["mae"], r["trained_by"]]
        for r in rows
    ]
    click.echo("\n".join(table(["model", "version", "aliases", "serves", "mae", "trained by"], cells)))


@models.command("show")
@click.argument("name")
@click.argument("version", type=int, required=False)
@click.option("--json", "as_json", is_flag=True)
def show_model(name: str, version: int | None, as_json: bool) -> None:
    """One version with its tags (that in production where none is named), and every move of production."""
    with _registry() as (room, tracking):
        with room.database.transaction() as connection:
            moves = ledger.confirmed_steps(connection, name)
        if not version and not moves:
            raise NotFoundError(f"nothing of {name} was ever in production; name a version: `forecastle models list`")
        found = tracking.get_version(name, version or moves[-1].promotion.to_version)
        with room.database.transaction() as connection:
            redacted_at = find_redaction(connection, found.tags.get("dataset.digest", ""))
    if as_json:
        more = {"dataset_redacted_at": redacted_at, "moves": [_move(step) for step in moves]}
        click.echo(json.dumps({**found.__dict__, "tags": dict(found.tags), **more}, default=str))
        return
    click.echo(
        f"{found.name} version {found.version}, aliases: {', '.join(found.aliases) or 'none'}, run {found.run_id}"
    )
    for tag, value in sorted(found.tags.items()):
        click.echo(f"  {tag:<24} {value}")
    if redacted_at:
        click.echo(
            f"  text was erased from its dataset at {redacted_at:%Y-%m-%d %H:%M:%S}Z; the digest is that of before"
        )
    for step in moves:
        click.echo(_sentence(step))


@models.command("promote")
@click.argument("name")
@click.argument("version", type=int)
@click.option("--reason", "-m", required=True, help="Why; it stands in the ledger.")
def promote(name: str, version: int, reason: str) -> None:
    """Let VERSION of NAME serve."""
    with _registry() as (room, tracking):
        principal = room.principal(Permission.PROMOTE)
        step = Promoter(room.database, room.objects, tracking, loadable(discover())).promote(
            name, version, principal, _given(reason)
        )
    click.echo(_sentence(step))


@models.command("rollback")
@click.argument("name")
@click.option("--reason", "-m", required=True, help="Why; it stands in the ledger.")
def rollback(name: str, reason: str) -> None:
    """Let the version of NAME serve that served before."""
    with _registry() as (room, tracking):
        principal = room.principal(Permission.PROMOTE)
        step = Promoter(room.database, room.objects, tracking, loadable(discover())).rollback(
            name, principal, _given(reason)
        )
    click.echo(_sentence(step))


@models.command("performance")
@click.argument("name")
@click.option("--project", help="Key or id of a project.")
@click.option("--version", type=int)
@click.option("--since", type=click.DateTime(["%Y-%m-%d", "%Y-%m-%dT%H:%M:%SZ"]), help="Asked since, UTC.")
@click.option("--json", "as_json", is_flag=True)
def performance(name: str, project: str | None, version: int | None, since: datetime | None, as_json: bool) -> None:
    """How NAME, a model type or a registered model, does on known outcomes, by version and project."""
    with opened((POSTGRESQL,)) as room:
        moment = since.replace(tzinfo=UTC) if since else None
        _, found = performance_of(room.database, discover(), name, project, version, moment)
    if as_json:
        click.echo(json.dumps([asdict(each) for each in found], default=str))
        return
    click.echo("\n".join(table(_PERFORMANCE, [_performance_cells(each) for each in found])))
    for note in sorted({each.realised.note for each in found if each.realised.note}):
        click.echo(note)


_PERFORMANCE = ["model", "version", "project", "rows", "waiting", "mae", "baseline", "skill", "coverage", "target"]


def _performance_cells(found: Performance) -> list[str]:
    realised = found.realised
    skill, coverage = realised.skill, realised.coverage
    return [
        found.registered_model,
        str(found.version),
        found.project or "all",
        f"{realised.rows:,}",
        f"{found.waiting:,}",
        _number(realised.mean_absolute_error),
        _number(realised.baseline_mean_absolute_error),
        "" if skill is None else _between(skill.value, skill.low, skill.high, "+.1%"),
        "" if coverage is None else _between(coverage.share, coverage.low, coverage.high, ".0%"),
        "" if coverage is None else f"{coverage.target:.0%}",
    ]


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"


def _between(value: float | None, low: float | None, high: float | None, form: str) -> str:
    shown, *bounds = ("unbounded" if each is None else format(each, form) for each in (value, low, high))
    return f"{shown} ({bounds[0]} to {bounds[1]})"


def _given(reason: str) -> str:
    if not reason.strip():
        raise click.BadParameter("say why in a few words", param_hint="--reason")
    return reason.strip()


def _sentence(step: LedgerStep) -> str:
    moved = step.promotion
    alone = ", single-user mode" if moved.single_user_mode else ""
    return (
        f"{step.recorded_at:%Y-%m-%d %H:%M:%S}Z  {moved.action} {moved.model_name} "
        f"{moved.from_version or 'nothing'} -> {moved.to_version} by {moved.actor}{alone}: {moved.reason}"
    )


def _move(step: LedgerStep) -> dict[str, Any]:
    moved = step.promotion
    return {
        "at": step.recorded_at.isoformat(),
        "action": moved.action,
        "from": moved.from_version,
        "to": moved.to_version,
        "by": moved.actor,
        "reason": moved.reason,
        "verdict": moved.verdict,
        "single_user_mode": moved.single_user_mode,
        "files": {file.name: file.sha256 for file in moved.files},
    }
