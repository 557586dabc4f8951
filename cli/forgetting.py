"""Erasing what was written by or about somebody."""

from __future__ import annotations

import json
from collections.abc import Callable

import click

from cli.rooms import POSTGRESQL, S3, Room, opened, say
from forecastle.access.principals import Permission
from forecastle.errors import NotFoundError
from forecastle.registry.forgetting import Forgotten, finish_forgetting, forget_issue, forget_person

Forget = Callable[[Room, str, bool], Forgotten]


@click.group()
def forget() -> None:
    """Erase the text of a person or an issue, and say what stays."""


def _options(command: Callable[..., None]) -> Callable[..., None]:
    for option in (
        click.option("--json", "as_json", is_flag=True, help="Print what was done as JSON."),
        click.option("--yes", is_flag=True, help="Do not ask."),
        click.option("--dry-run", is_flag=True, help="Say what would be erased, and erase nothing."),
    ):
        command = option(command)
    return command


@forget.command("person")
@click.argument("name")
@_options
def person(name: str, dry_run: bool, yes: bool, as_json: bool) -> None:
    """Put a pseudonym in the place of NAME, as the tracker writes it, wherever it stands."""
    _run(lambda room, by, dry: forget_person(room.database, room.objects, name, by, dry), dry_run, yes, as_json)


@forget.command("issue")
@click.argument("project")
@click.argument("key")
@_options
def issue(project: str, key: str, dry_run: bool, yes: bool, as_json: bool) -> None:
    """Erase title, description and comments of the issue KEY of PROJECT (its key or id)."""
    _run(lambda room, by, dry: forget_issue(room.database, room.objects, project, key, by, dry), dry_run, yes, as_json)


@forget.command("resume")
def resume() -> None:
    """Finish what was stopped before all files were done; every other forgetting does so first."""
    with opened((POSTGRESQL, S3)) as room:
        room.principal(Permission.ADMINISTER)
        finished = _resume(room)
    click.echo(f"{finished} finished")


def _run(work: Forget, dry_run: bool, yes: bool, as_json: bool) -> None:
    if as_json and not (dry_run or yes):
        raise click.UsageError("--json asks nothing: add --yes or --dry-run")
    with opened((POSTGRESQL, S3)) as room:
        by = room.principal(Permission.ADMINISTER).name
        finished = 0 if dry_run else _resume(room)
        try:
            if not (dry_run or yes):
                _show(work(room, by, True), as_json)
                click.confirm("Erase this? There is no way back.", abort=True, err=True)
            _show(work(room, by, dry_run), as_json)
        except NotFoundError:
            if not finished:
                raise
            say("beside that, nothing of it is stored")


def _resume(room: Room) -> int:
    finished = len(finish_forgetting(room.database, room.objects))
    if finished:
        say(f"finished first what was stopped before: {finished}")
    return finished


def _show(found: Forgotten, as_json: bool) -> None:
    if as_json:
        shown = {"kind": found.kind, "dry_run": found.dry_run, "erased": dict(found.erased), "stays": found.stays}
        click.echo(json.dumps(shown))
        return
    click.echo("would be erased from:" if found.dry_run else "erased from:")
    for where, count in found.erased.items():
        click.echo(f"  {count:>8,} {where.replace('_', ' ')}")
    click.echo("stays:")
    for what in found.stays:
        click.echo(f"  - {what}")
