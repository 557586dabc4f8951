"""Raising an alert, in the transaction of what it is about, and closing it when its cause is gone."""

from __future__ import annotations

from enum import StrEnum

from forecastle.store import notifications
from forecastle.store.database import Connection


class Kind(StrEnum):
    """What an alert is about; its subject is a registered model, or the name of a job."""

    PROMOTION_REJECTED = "promotion_rejected"
    ALIAS_PUT_BACK = "alias_put_back"
    TRAINING_FAILED = "training_failed"
    FILE_TAMPERED = "file_tampered"
    JOB_OVERDUE = "job_overdue"


EVENTS = frozenset({Kind.PROMOTION_REJECTED, Kind.ALIAS_PUT_BACK})
"""What happens and is over: told again only where it happened again. The others last until they are closed."""


def raise_alert(connection: Connection, kind: Kind, subject: str, detail: str) -> None:
    """Let whoever is configured know, once the transaction commits; raised while it is open, it is the same alert.

    `detail` is a sentence with neither secrets nor what people wrote: it leaves the house.
    """
    notifications.write(connection, kind, subject, detail)


def close_alert(connection: Connection, kind: Kind, subject: str) -> None:
    """The cause is gone: nobody is told any more."""
    notifications.close(connection, kind, [subject])
