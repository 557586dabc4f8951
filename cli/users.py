"""Who may do what."""

from __future__ import annotations

import json

import click

from cli.rooms import opened, say
from forecastle.access.principals import Permission, Role, add_user, disable_user
from forecastle.errors import InputError
from forecastle.store.principals import list_enabled


@click.group()
def users() -> None:
    """Add, disable and list users."""


@users.command("add")
@click.argument("name")
@click.option("--role", type=click.Choice([role.value for role in Role]), required=True)
def add(name: str, role: str) -> None:
    """Add a user and print the API key, which is shown this once.

    The first user may be added by anybody who reaches the database; every other one by an admin.
    """
    with opened() as room:
        with room.database.transaction() as connection:
            first = not list_enabled(connection)
        if not first:
            room.principal(Permission.ADMINISTER)
        elif role != Role.ADMIN:
            raise InputError("the first user has to be an admin: nobody else could add others")
        with room.database.transaction() as connection:
            key = add_user(connection, name, Role(role))
    say(f"{name} is {role}. The key below is shown this once:")
    click.echo(key)


@users.command("disable")
@click.argument("name")
def disable(name: str) -> None:
    """Withdraw a user and their keys; façades forget them within half a minute."""
    with opened() as room:
        room.principal(Permission.ADMINISTER)
        with room.database.transaction() as connection:
            disable_user(connection, name)
    click.echo(f"{name} is disabled")


@users.command("list")
@click.option("--json", "as_json", is_flag=True)
def list_users(as_json: bool) -> None:
    """List users with their roles."""
    with opened() as room, room.database.transaction() as connection:
        found = list_enabled(connection)
    if as_json:
        click.echo(json.dumps([user.__dict__ for user in found]))
        return
    for user in found:
        click.echo(f"{user.role:<16} {user.name}")
