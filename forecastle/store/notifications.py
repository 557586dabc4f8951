"""Notifications: what is open, what each channel is to be told when, and what was delivered."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import LiteralString
from uuid import UUID

from forecastle.store.database import Connection
from forecastle.store.identifiers import new_id


@dataclass(frozen=True)
class Notification:
    """One kind of trouble with one subject; `times` is how often it was raised while it was open."""

    id: UUID
    kind: str
    subject: str
    detail: str
    raised_at: datetime
    last_raised_at: datetime
    times: int
    closed_at: datetime | None


@dataclass(frozen=True)
class Delivery:
    """How far one channel has come with a notification; `failures` counts those since it was last told."""

    channel: str
    due_at: datetime | None
    delivered: int
    last_delivered_at: datetime | None
    failures: int
    last_error: str | None


_COLUMNS: LiteralString = "id, kind, subject, detail, raised_at, last_raised_at, times, closed_at"
_DELIVERY: LiteralString = "channel, due_at, delivered, last_delivered_at, failures, last_error"
_TOLD: LiteralString = "(select 1 from notification_deliveries as told where told.notification_id = notifications.id)"


def write(connection: Connection, kind: str, subject: str, detail: str) -> None:
    """Open a notification; where one of this kind and subject is open already, note that it was raised again."""
    connection.execute(
        "with written as (insert into notifications (id, kind, subject, detail) values (%s, %s, %s, %s) "
        "on conflict (kind, subject) where closed_at is null do update set times = notifications.times + 1, "
        "last_raised_at = clock_timestamp(), detail = excluded.detail returning id) "
        "update notification_deliveries set due_at = clock_timestamp() "  # who had done with it is told again
        "where notification_id in (select id from written) and due_at is null",
        (new_id(), kind, subject, detail),
    )


def close(connection: Connection, kind: str, subjects: Collection[str]) -> None:
    """Close what is open of this kind about these subjects; nobody is told any more."""
    _close(connection, "kind = %(kind)s and subject = any(%(subjects)s)", kind=kind, subjects=list(subjects))


def close_told(connection: Connection, kinds: Collection[str]) -> None:
    """Close what is open of these kinds and was told, so that no channel has anything to say about it."""
    _close(
        connection,
        f"kind = any(%(kinds)s) and exists {_TOLD} and not exists "
        "(select 1 from notification_deliveries as due where due.notification_id = notifications.id "
        "and due.due_at is not null)",
        kinds=list(kinds),
    )


def _close(connection: Connection, condition: LiteralString, **values: object) -> None:
    # Deliveries are left alone: one may be locked for as long as a mail server takes to answer.
    connection.execute(
        f"update notifications set closed_at = clock_timestamp() where closed_at is null and {condition}", values
    )


def open_subjects(connection: Connection, kind: str) -> set[str]:
    """Subjects about which a notification of this kind is open."""
    rows = connection.execute("select subject from notifications where kind = %s and closed_at is null", (kind,))
    return {row["subject"] for row in rows}


def any_due(connection: Connection) -> bool:
    """Whether somebody is to be told something now."""
    found = connection.execute(
        "select 1 where exists (select 1 from notification_deliveries join notifications on id = notification_id "
        "where due_at <= clock_timestamp() and closed_at is null) "
        f"or exists (select 1 from notifications where closed_at is null and not exists {_TOLD})"
    )
    return found.fetchone() is not None


def fan_out(connection: Connection, channels: Collection[str]) -> None:
    """Let every one of these channels, and no other, have its part in what is open, and nobody in what is closed."""
    connection.execute(
        "update notification_deliveries set due_at = null where (notification_id, channel) in ("
        "select notification_id, channel from notification_deliveries join notifications on id = notification_id "
        "where due_at is not null and closed_at is not null for update of notification_deliveries skip locked)"
    )
    connection.execute(
        "delete from notification_deliveries using notifications where notifications.id = notification_id "
        "and closed_at is null and channel <> all(%s)",
        (list(channels),),
    )
    connection.execute(
        "insert into notification_deliveries (notification_id, channel) "
        "select id, channel from notifications cross join unnest(%s::text[]) as channel where closed_at is null "
        "on conflict do nothing",
        (list(channels),),
    )


def take_due(connection: Connection, channel: str) -> tuple[Notification, Delivery] | None:
    """What this channel is to be told next, locked against others until the transaction ends."""
    row = connection.execute(
        f"select {_COLUMNS}, {_DELIVERY} from notification_deliveries join notifications on id = notification_id "
        "where channel = %s and due_at <= clock_timestamp() and closed_at is null order by failures, due_at limit 1 "
        "for update of notification_deliveries skip locked",
        (channel,),
    ).fetchone()
    return None if row is None else _pair(row)


def mark_delivered(connection: Connection, told: Notification, channel: str, again_after: timedelta) -> None:
    connection.execute(
        "update notification_deliveries set delivered = delivered + 1, last_delivered_at = clock_timestamp(), "
        "due_at = clock_timestamp() + %s, failures = 0, last_error = null "
        "where notification_id = %s and channel = %s",
        (again_after, told.id, channel),
    )


def mark_done(connection: Connection, told: Notification, channel: str) -> None:
    """The channel has nothing more to say about it."""
    connection.execute(
        "update notification_deliveries set due_at = null where notification_id = %s and channel = %s",
        (told.id, channel),
    )


def mark_failed(connection: Connection, told: Notification, channel: str, error: str, again_after: timedelta) -> None:
    """Note why it was not delivered, and let everything that is due on this channel wait."""
    connection.execute(
        "update notification_deliveries set failures = failures + 1, last_error = %s "
        "where notification_id = %s and channel = %s",
        (error, told.id, channel),
    )
    connection.execute(
        "update notification_deliveries set due_at = clock_timestamp() + %s "
        "where channel = %s and due_at <= clock_timestamp()",
        (again_after, channel),
    )


def list_notifications(
    connection: Connection, limit: int = 100, is_open: bool = False
) -> list[tuple[Notification, list[Delivery]]]:
    """The newest notifications, or those alone that are open, each with its deliveries by channel."""
    rows = connection.execute(
        f"select {_COLUMNS}, {_DELIVERY} from (select * from notifications "
        "where closed_at is null or not %(is_open)s order by raised_at desc, id desc limit %(limit)s) as newest "
        "left join notification_deliveries on id = notification_id order by raised_at desc, id desc, channel",
        {"is_open": is_open, "limit": limit},
    )
    found: dict[UUID, tuple[Notification, list[Delivery]]] = {}
    for row in rows:
        notification, delivery = _pair(row)
        deliveries = found.setdefault(notification.id, (notification, []))[1]
        if delivery.channel is not None:  # an outer join: nobody was told yet
            deliveries.append(delivery)
    return list(found.values())


def _pair(row: dict[str, object]) -> tuple[Notification, Delivery]:
    told = {name: row[name] for name in _DELIVERY.split(", ")}
    return Notification(**{name: row[name] for name in _COLUMNS.split(", ")}), Delivery(**told)  # type: ignore[arg-type]
