"""Retraining: deciding now, saying why, and letting a period teach no more."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import click

import projects
from cli.rooms import Room, opened, say
from cli.tables import table
from forecastle.access.principals import Permission
from forecastle.errors import NotFoundError
from forecastle.monitoring.signals import Signal
from forecastle.registry.decisions import ALL, as_document, list_decisions
from forecastle.registry.retraining import Asked, consider, decide
from forecastle.store import unlearning
from forecastle.store.retraining import StoredDecision
from forecastle.store.tenants import get_project
from forecastle.store.unlearning import UnlearnedPeriod

MOMENT = click.DateTime(["%Y-%m-%d", "%Y-%m-%dT%H:%M", "%Y-%m-%dT%H:%M:%S"])


@click.group()
def retrain() -> None:
    """Decide whether a training is due, and say why."""


@retrain.command("decide")
@click.argument("name")
@click.option("--dry-run", is_flag=True, help="Say what it would be; write nothing and plan nothing.")
@click.option("--json", "as_json", is_flag=True)
def decide_now(name: str, dry_run: bool, as_json: bool) -> None:
    """Decide about the registered model NAME now, and plan the training where it says RETRAIN."""
    with opened() as room:
        asked = Asked(room.principal(Permission.READ if dry_run else Permission.TRAIN).name)
        found = (consider if dry_run else decide)(room.database, projects.discover(), name, asked)
    _show(found, as_json)


@retrain.command("why")
@click.argument("name")
@click.option("--json", "as_json", is_flag=True)
def why(name: str, as_json: bool) -> None:
    """The last decision about NAME, with every signal."""
    with opened() as room:
        room.principal(Permission.READ)
        found = list_decisions(room.database, projects.discover(), name, 1)
    if not found:
        raise NotFoundError(f"nothing was decided about {name} yet: `forecastle retrain decide {name}` does")
    _show(found[0], as_json)


def _show(found: StoredDecision, as_json: bool) -> None:
    click.echo(json.dumps(as_document(found), indent=2) if as_json else "\n".join(as_text(found)))


def as_text(found: StoredDecision) -> list[str]:
    """A decision as a person reads it: verdict, reasons, flip, every signal, and what the last training cost."""
    serves = f"version {found.serves} serves" if found.serves else "nothing serves"
    head = f"{found.verdict}: {found.model_name}, {serves}; {found.decided_at:%Y-%m-%d %H:%M}Z by {found.decided_by}"
    last = found.basis["last_training"]
    trained = f"{last['cost']}, ended {last['ended_at'][:16]}" if last else "none is known"
    return [
        head,
        *(f"- {reason}" for reason in found.reasons),
        f"- {found.flip}",
        "",
        *table(("signal", "value", "fires at", "fired", "what"), [_cells(signal) for signal in found.signals]),
        "",
        f"rows to learn from: {found.basis['rows']:,}; last training: {trained}; "
        f"cool-down: {found.basis['cool_down_hours']:g} h",
        *([f"training planned: forecastle jobs tail {found.training_run}"] if found.training_run else []),
    ]


def _cells(stored: dict[str, Any]) -> list[str]:
    signal = Signal(*(stored[name] for name in ("name", "value", "beyond", "threshold", "sentence")))
    limit = "" if signal.threshold is None else f"{signal.beyond} {signal.figure(signal.threshold)}"
    fired = ("yes" if stored["fired"] else "no") if stored["measured"] else "not measured"
    value = signal.figure(signal.value) if stored["value"] is not None or not stored["measured"] else "unbounded"
    return [signal.name, value, limit, fired, signal.sentence]


@retrain.command("unlearn")
@click.argument("model_type")
@click.option("--from", "from_at", required=True, type=MOMENT, help="When the period begins, UTC.")
@click.option("--until", "until_at", required=True, type=MOMENT, help="When it is over, UTC.")
@click.option("--reason", "-m", required=True, help="Why its rows must teach no more.")
@click.option("--project", default=ALL, show_default=True, help="Id or key of one project.")
def unlearn(model_type: str, from_at: datetime, until_at: datetime, reason: str, project: str) -> None:
    """Let no row that was asked, or became known, in a period teach MODEL_TYPE, or be known to what serves."""
    declared = projects.get_model_type(model_type)
    if not reason.strip():
        raise click.BadParameter("say why in a few words", param_hint="--reason")
    with opened() as room:
        by = room.principal(Permission.TRAIN).name
        with room.database.transaction() as connection:
            found = None if project == ALL else get_project(connection, project).id
            begin, end = (moment.replace(tzinfo=UTC) for moment in (from_at, until_at))
            made = unlearning.mark_period(connection, declared.name, found, begin, end, reason.strip(), by)
            left = unlearning.unlearned_issues(connection, declared.name, declared.known_field, found)
    again = f"`forecastle retrain decide {model_type}` decides about a training"
    say(f"{len(left):,} issues teach no more, and are known no more; {again}")
    click.echo(str(made.id))


@retrain.command("relearn")
@click.argument("period", type=click.UUID)
def relearn(period: UUID) -> None:
    """Withdraw a mark: the rows of the period teach again from the next training on, and are known from now on."""
    with opened() as room:
        by = room.principal(Permission.TRAIN).name
        with room.database.transaction() as connection:
            unlearning.withdraw_period(connection, period, by)


@retrain.command("periods")
@click.option("--json", "as_json", is_flag=True)
def periods(as_json: bool) -> None:
    """The periods whose rows teach no more."""
    with opened() as room:
        _say_periods(room, as_json)


def _say_periods(room: Room, as_json: bool) -> None:
    room.principal(Permission.READ)
    with room.database.transaction() as connection:
        found = unlearning.marked_periods(connection)
    if as_json:
        click.echo(json.dumps([vars(period) for period in found], default=str))
    elif found:
        head = ("period", "model type", "project", "from", "until", "by", "reason")
        click.echo("\n".join(table(head, [_period(period) for period in found])))
    else:
        say("no period is marked")


def _period(found: UnlearnedPeriod) -> list[str]:
    begin, end = (f"{moment:%Y-%m-%d %H:%M}" for moment in (found.from_at, found.until_at))
    return [str(found.id), found.model_type, str(found.project_id or ALL), begin, end, found.marked_by, found.reason]
