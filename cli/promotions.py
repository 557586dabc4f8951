"""Moving production, and looking back at how it was moved."""

from __future__ import annotations

import json
import sys
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime

import click

from cli.rooms import MLFLOW, POSTGRESQL, S3, Room, opened, say
from cli.tables import table
from forecastle.access.principals import Permission
from forecastle.errors import InputError, NotFoundError, ServerError
from forecastle.registry.loading import loadable
from forecastle.registry.mlflow_rest import MlflowRest
from forecastle.registry.moves import as_document, remarks, sentence
from forecastle.registry.promotions import Promoter
from forecastle.registry.verification import Witness, verify, witnesses_of
from forecastle.store import promotions as ledger
from forecastle.store.promotions import LedgerStep
from projects import discover

HEAD = ("when (UTC)", "action", "from", "to", "by", "verdict", "remarks", "reason")


@contextmanager
def registry(needs: Collection[str] = (POSTGRESQL, S3, MLFLOW)) -> Iterator[tuple[Room, MlflowRest]]:
    """A room with MLflow in it."""
    with opened(needs) as room:
        yield room, MlflowRest.of(room.settings)


def promoter(room: Room, rest: MlflowRest) -> Promoter:
    return Promoter(room.database, room.objects, rest, loadable(discover()), room.settings.four_eyes)


@click.command()
@click.argument("name")
@click.argument("version", type=int)
@click.option("--reason", "-m", required=True, help="Why; it stands in the ledger.")
@click.option("--override", is_flag=True, help="Promote against the gate's verdict; takes an admin.")
@click.option("--head", help="Only where this is still the model's newest step: its hash, as `history` shows it.")
@click.option("--json", "as_json", is_flag=True)
def promote(name: str, version: int, reason: str, override: bool, head: str | None, as_json: bool) -> None:
    """Let VERSION of NAME serve."""
    reason = _given(reason)
    with registry() as (room, rest):
        principal = room.principal(Permission.PROMOTE)
        step = promoter(room, rest).promote(name, version, principal, reason, override=override, head=head)
    _show(step, as_json)


@click.command()
@click.argument("name")
@click.option("--reason", "-m", required=True, help="Why; it stands in the ledger.")
@click.option("--head", help="Only where this is still the model's newest step: its hash, as `history` shows it.")
@click.option("--json", "as_json", is_flag=True)
def rollback(name: str, reason: str, head: str | None, as_json: bool) -> None:
    """Let the version of NAME serve that served before."""
    reason = _given(reason)
    with registry() as (room, rest):
        principal = room.principal(Permission.PROMOTE)
        step = promoter(room, rest).rollback(name, principal, reason, head=head)
    _show(step, as_json)


@click.command()
@click.argument("name")
@click.option("--limit", default=100, show_default=True, type=click.IntRange(1, 100_000))
@click.option("--json", "as_json", is_flag=True)
def history(name: str, limit: int, as_json: bool) -> None:
    """Who moved production of NAME when, from what to what, and why; the newest first."""
    with opened() as room, room.database.transaction() as connection:
        steps = ledger.history(connection, name, limit=limit)
    if not steps:
        raise NotFoundError(f"nothing of {name} was ever in production; `forecastle models list` shows what there is")
    if as_json:
        click.echo(json.dumps([as_document(step) for step in steps]))
        return
    click.echo("\n".join(table(HEAD, [_cells(step) for step in steps])))
    head = next((step.hash for step in steps if step.outcome == "confirmed"), steps[0].hash)
    say(f"head: {head}\nwho notes it down can ask later: forecastle models verify --head HASH")


@click.command()
@click.argument("moment", metavar="TIME")
@click.argument("name", required=False)
@click.option("--json", "as_json", is_flag=True)
def at(moment: str, name: str | None, as_json: bool) -> None:
    """What was in production at TIME (ISO 8601; UTC where it names no zone), of all models or of NAME."""
    asked = _moment(moment)
    with opened() as room, room.database.transaction() as connection:
        steps = ledger.serving(connection, name, asked)
    if as_json:
        click.echo(json.dumps({"at": asked.isoformat(), "production": [as_document(step) for step in steps.values()]}))
    elif steps:
        click.echo("\n".join(sentence(step) for step in steps.values()))
    else:
        say(f"nothing{f' of {name}' if name else ''} was in production at {asked:%Y-%m-%d %H:%M:%S}Z")


@click.command("verify")
@click.option("--head", help="A hash that was noted down, as `history` shows it: it has to be in the ledger.")
@click.option("--offline", is_flag=True, help="Do not ask MLflow which steps its versions remember.")
@click.option("--json", "as_json", is_flag=True)
def verify_ledger(head: str | None, offline: bool, as_json: bool) -> None:
    """Recompute the ledger's chain of hashes; exit code 1 where a step was changed, removed or put in."""
    with opened((POSTGRESQL,) if offline else (POSTGRESQL, S3, MLFLOW)) as room:
        noted = [Witness("who noted it down", 0, head)] if head else []
        remembered = None if offline else _remembered(room)
        with room.database.transaction() as connection:
            found = verify(connection, [*noted, *(remembered or [])])
    if as_json:
        click.echo(json.dumps({**asdict(found), "mlflow_asked": remembered is not None}))
    elif found.broken is None:
        heard = f", as remembered outside of it {found.witnesses} times" if found.witnesses else ""
        click.echo(f"the ledger is whole: {found.steps} steps{heard}; head {found.head or 'none'}")
    if found.broken is not None:
        say(f"error: {found.broken.detail}\nwhat is served is checked by itself; restore the ledger from a backup")
        sys.exit(1)


def _remembered(room: Room) -> list[Witness] | None:
    try:
        return witnesses_of(MlflowRest.of(room.settings).list_versions())
    except ServerError:
        say("MLflow did not answer: whether the newest steps were cut off is not known")
        return None


def _moment(text: str) -> datetime:
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise click.BadParameter(f"{text} is no moment such as 2026-11-20T08:30:00Z", param_hint="TIME") from None
    found = found if found.tzinfo else found.replace(tzinfo=UTC)
    if found > datetime.now(UTC):
        raise InputError("this moment has not come yet; give one of the past")
    return found.astimezone(UTC)


def _given(reason: str) -> str:
    if not reason.strip():
        raise click.BadParameter("say why in a few words", param_hint="--reason")
    return reason.strip()


def _show(step: LedgerStep, as_json: bool) -> None:
    click.echo(json.dumps(as_document(step)) if as_json else sentence(step))


def _cells(step: LedgerStep) -> list[str]:
    moved = step.promotion
    return [
        f"{step.recorded_at:%Y-%m-%d %H:%M:%S}",
        moved.action if step.outcome == "confirmed" else f"{moved.action} ({step.outcome})",
        str(moved.from_version or ""),
        str(moved.to_version),
        moved.actor,
        moved.verdict,
        ", ".join(remarks(moved)),
        " ".join(moved.reason.split()),
    ]
