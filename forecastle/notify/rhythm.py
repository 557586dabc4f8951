"""When somebody is told again, and when a failed delivery is tried again: pure functions."""

from __future__ import annotations

from datetime import datetime, timedelta

from forecastle.notify.alerts import EVENTS

REPEATS = (timedelta(hours=1), timedelta(hours=4), timedelta(days=1), timedelta(days=3), timedelta(days=7))
FIRST_RETRY, LONGEST_RETRY = timedelta(minutes=1), timedelta(hours=1)


def repeat_after(delivered: int) -> timedelta:
    """How long after the `delivered`-th time (from 1) an alert that is still open is told again; then every week."""
    return REPEATS[min(delivered, len(REPEATS)) - 1]


def retry_after(failures: int) -> timedelta:
    """How long after the `failures`-th failed delivery in a row (from 1) it is tried again: doubled, up to an hour."""
    return min(FIRST_RETRY * (1 << min(failures - 1, 10)), LONGEST_RETRY)


def is_over(kind: str, last_raised_at: datetime, last_delivered_at: datetime | None) -> bool:
    """Whether an alert that is due again need not be told: an event that did not happen again."""
    return kind in EVENTS and last_delivered_at is not None and last_raised_at <= last_delivered_at
