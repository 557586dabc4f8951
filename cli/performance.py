"""`forecastle models performance`: how versions turned out."""

from __future__ import annotations

import json
from dataclasses import asdict
from datetime import UTC, datetime

import click

from cli.rooms import POSTGRESQL, opened
from cli.tables import table
from forecastle.registry.performance import Performance, performance_of
from projects import discover


@click.command("performance")
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
