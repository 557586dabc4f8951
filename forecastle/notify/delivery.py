"""Telling what is due on every channel; what one did not take is tried again later, and the others go on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from forecastle.errors import ServerError
from forecastle.notify.alerts import EVENTS
from forecastle.notify.channels import Channel, Message
from forecastle.notify.rhythm import is_over, repeat_after, retry_after
from forecastle.store import notifications
from forecastle.store.database import Connection, Database
from forecastle.store.notifications import Delivery, Notification


@dataclass(frozen=True)
class Delivered:
    """How many messages were taken, and the sentence of each channel that took none."""

    messages: int
    failures: tuple[str, ...]


def deliver(database: Database, channels: Sequence[Channel]) -> Delivered:
    """Tell what is due; a message is told twice only where this ended between its sending and the note of it."""
    with database.transaction() as connection:
        notifications.fan_out(connection, [channel.name for channel in channels])
    messages, failures = 0, []
    for channel in channels:
        sent, failure = _deliver_by(database, channel)
        messages += sent
        failures += [failure] if failure else []
    with database.transaction() as connection:
        notifications.close_told(connection, EVENTS)
    return Delivered(messages, tuple(failures))


def _deliver_by(database: Database, channel: Channel) -> tuple[int, str | None]:
    sent = 0
    while True:
        with database.transaction() as connection:
            due = notifications.take_due(connection, channel.name)
            if due is None:
                return sent, None
            told, delivery = due
            if is_over(told.kind, told.last_raised_at, delivery.last_delivered_at):
                notifications.mark_done(connection, told, channel.name)
                continue
            failure = _send(connection, channel, told, delivery)
            if failure is not None:
                return sent, failure
            sent += 1


def _send(connection: Connection, channel: Channel, told: Notification, delivery: Delivery) -> str | None:
    """Send one and note it; returns why the channel did not take it."""
    try:
        channel.send(message_of(told, delivery.delivered))
    except ServerError as error:
        after = retry_after(delivery.failures + 1)
        notifications.mark_failed(connection, told, channel.name, str(error), after)
        return str(error)
    notifications.mark_delivered(connection, told, channel.name, repeat_after(delivery.delivered + 1))
    return None


def message_of(told: Notification, delivered: int) -> Message:
    """The alert in words; `delivered` is how often it was told before."""
    raised = f"raised {told.times} times since" if told.times > 1 else "raised at"
    return Message(
        id=f"{told.id}.{delivered + 1}",
        title=f"Forecastle: {told.kind.replace('_', ' ')}: {told.subject}",
        text=f"{told.detail}\n\n({raised} {told.raised_at:%Y-%m-%d %H:%M} UTC; told {delivered} times before)",
    )
