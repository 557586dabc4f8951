"""Jobs: what ran, what runs, and asking for more."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from typing import Any

import click

from cli.rooms import Room, opened, say
from cli.tables import table
from forecastle.access.principals import Permission
from forecastle.store import job_runs
from forecastle.store.database import Connection
from forecastle.store.job_runs import JobRun

HEAD = ("run", "job", "state", "planned", "by", "took", "items", "detail")
OUTCOMES = ("succeeded", "failed", "skipped", "cancelled", "open")
_LOOK_SECONDS = 0.5


@click.group()
def jobs() -> None:
    """List runs of jobs, plan, follow, retry and cancel them; `forecastle up` starts who does them."""


@jobs.command("ls")
@click.option("--name", help="Only runs of this job.")
@click.option("--outcome", type=click.Choice(OUTCOMES), help="Only runs that ended so; open: that have not ended.")
@click.option("--limit", default=30, show_default=True, type=click.IntRange(1, 1000))
@click.option("--json", "as_json", is_flag=True)
def list_jobs(name: str | None, outcome: str | None, limit: int, as_json: bool) -> None:
    """The newest runs, and how they ended."""
    with opened() as room, room.database.transaction() as connection:
        found = job_runs.list_runs(connection, limit, name, outcome)
    if as_json:
        click.echo(json.dumps([as_document(run) for run in found]))
    elif found:
        click.echo("\n".join(table(HEAD, [_cells(run) for run in found])))
    else:
        say("no run yet: `forecastle jobs run NAME` plans one")


@jobs.command("run")
@click.argument("name")
@click.option("--arg", "pairs", multiple=True, metavar="NAME=VALUE", help="An argument of the job.")
@click.option("--wait", is_flag=True, help="Wait for its end; exit code 1 where it did not succeed.")
def run_job(name: str, pairs: tuple[str, ...], wait: bool) -> None:
    """Plan a run of the job NAME, and print its id."""
    with opened() as room:
        principal = room.principal(Permission.TRAIN)
        with room.database.transaction() as connection:
            run = job_runs.plan(connection, name, _arguments(pairs), principal.name)
        assert run is not None  # it has no due key
        click.echo(str(run.id))
        if wait:
            follow(room, run)


@jobs.command("tail")
@click.argument("run_id", metavar="ID")
def tail(run_id: str) -> None:
    """Follow a run until it has ended; exit code 1 where it did not succeed."""
    with opened() as room:
        with room.database.transaction() as connection:
            run = job_runs.get_run(connection, job_runs.find_id(connection, run_id))
        follow(room, run)


@jobs.command("retry")
@click.argument("run_id", metavar="ID")
def retry(run_id: str) -> None:
    """Plan a run that has ended anew, with the same arguments, and print the new id."""
    again = _change(run_id, job_runs.retry)
    click.echo(str(again.id))


@jobs.command("cancel")
@click.argument("run_id", metavar="ID")
def cancel(run_id: str) -> None:
    """Cancel a run: at once where nobody holds it, within seconds where it runs."""
    found = _change(run_id, job_runs.request_cancel)
    click.echo(found.state)


def _change(run_id: str, change: Callable[[Connection, Any, str], JobRun]) -> JobRun:
    with opened() as room:
        principal = room.principal(Permission.TRAIN)
        with room.database.transaction() as connection:
            return change(connection, job_runs.find_id(connection, run_id), principal.name)


def follow(room: Room, run: JobRun) -> None:
    """Say every change of state until the run has ended."""
    said = None

    def look(connection: Connection) -> JobRun:
        return job_runs.get_run(connection, run.id)

    while True:
        if run.state != said:
            said = run.state
            say(f"{run.name}: {said}{f' on {run.worker}' if said == 'running' else ''}")
        if run.ended_at is not None:
            break
        time.sleep(_LOOK_SECONDS)
        run = room.database.retrying(look)
    click.echo(run.detail)
    if run.outcome not in ("succeeded", "skipped"):
        sys.exit(1)


def as_document(run: JobRun) -> dict[str, Any]:
    """A run as JSON, without the token of its lease."""
    shown = {name: value for name, value in run.__dict__.items() if name != "lease_token"}
    document: dict[str, Any] = json.loads(json.dumps({**shown, "state": run.state}, default=_text))
    return document


def _text(value: Any) -> str:
    return value.isoformat() if hasattr(value, "isoformat") else str(value)


def _cells(run: JobRun) -> list[str]:
    took = f"{(run.ended_at - run.started_at).total_seconds():.1f} s" if run.ended_at and run.started_at else ""
    items = "" if run.items is None else f"{run.items:,}"
    detail = (run.detail or "").partition("\n")[0]
    return [
        str(run.id),
        run.name,
        run.state,
        f"{run.planned_at:%Y-%m-%d %H:%M:%S}",
        run.planned_by,
        took,
        items,
        detail,
    ]


def _arguments(pairs: tuple[str, ...]) -> dict[str, str]:
    found = {}
    for pair in pairs:
        name, separator, value = pair.partition("=")
        if not separator or not name:
            raise click.BadParameter(f"{pair} is not NAME=VALUE", param_hint="--arg")
        found[name] = value
    return found
