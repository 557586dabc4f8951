"""Alerts: what is open, how far they were delivered, and whether the channels work."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from typing import Any

import click

from cli.rooms import opened, say
from cli.tables import table
from forecastle.access.principals import Permission
from forecastle.errors import ServerError
from forecastle.notify.channels import Message, channels_of
from forecastle.settings import Settings
from forecastle.store import notifications
from forecastle.store.identifiers import new_id
from forecastle.store.notifications import Delivery, Notification

HEAD = ("kind", "subject", "raised", "times", "state", "delivered", "what")


@click.group()
def notify() -> None:
    """List alerts, and try the channels out."""


@notify.command("ls")
@click.option("--all", "is_all", is_flag=True, help="Those that are closed, too.")
@click.option("--limit", default=100, show_default=True, type=click.IntRange(1, 1000))
@click.option("--json", "as_json", is_flag=True)
def list_alerts(is_all: bool, limit: int, as_json: bool) -> None:
    """The alerts that are open, the newest first, and how far each channel has come."""
    with opened() as room:
        room.principal(Permission.READ)
        with room.database.transaction() as connection:
            found = notifications.list_notifications(connection, limit, is_open=not is_all)
    if as_json:
        click.echo(json.dumps([_document(*one) for one in found], default=str))
    elif found:
        click.echo("\n".join(table(HEAD, [_cells(*one) for one in found])))
    else:
        say("no alert" if is_all else "no alert is open")


@notify.command("test")
def try_channels() -> None:
    """Send a message by every channel of these settings; exit code 1 where one did not take it."""
    message = Message(f"test.{new_id()}", "Forecastle: a test", "Somebody tries out whether alerts arrive here.")
    is_well = True
    for channel in channels_of(Settings.from_env()):
        try:
            channel.send(message)
            click.echo(f"{channel.name}: taken")
        except ServerError as error:
            is_well = False
            click.echo(f"{channel.name}: {error}")
    if not is_well:
        sys.exit(1)


def _document(told: Notification, deliveries: list[Delivery]) -> dict[str, Any]:
    return {**asdict(told), "deliveries": [asdict(delivery) for delivery in deliveries]}


def _cells(told: Notification, deliveries: list[Delivery]) -> list[str]:
    return [
        told.kind,
        told.subject,
        f"{told.raised_at:%Y-%m-%d %H:%M}",
        str(told.times),
        "closed" if told.closed_at else "open",
        ", ".join(_told(delivery) for delivery in deliveries) or "not yet",
        told.detail,
    ]


def _told(delivery: Delivery) -> str:
    if delivery.last_error is not None:
        return f"{delivery.channel}: failed {delivery.failures} times, {delivery.last_error}"
    return f"{delivery.channel}: {delivery.delivered}"
