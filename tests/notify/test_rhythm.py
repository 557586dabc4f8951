"""Laws of when somebody is told again: ever more seldom, and never out of reach."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forecastle.notify.alerts import EVENTS, Kind
from forecastle.notify.rhythm import LONGEST_RETRY, is_over, repeat_after, retry_after

COUNTS = st.integers(1, 10_000)
MOMENTS = st.datetimes(datetime(2000, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001


def test_repeats_decay_from_an_hour_to_a_week() -> None:
    hours = [repeat_after(delivered) / timedelta(hours=1) for delivered in range(1, 8)]
    assert hours == [1, 4, 24, 72, 168, 168, 168]


def test_retries_double_from_a_minute_to_an_hour() -> None:
    minutes = [retry_after(failures) / timedelta(minutes=1) for failures in range(1, 10)]
    assert minutes == [1, 2, 4, 8, 16, 32, 60, 60, 60]


@given(COUNTS)
def test_pauses_never_get_shorter_and_never_longer_than_a_week_or_an_hour(count: int) -> None:
    assert timedelta(hours=1) <= repeat_after(count) <= repeat_after(count + 1) <= timedelta(days=7)
    assert timedelta(minutes=1) <= retry_after(count) <= retry_after(count + 1) <= LONGEST_RETRY


@given(st.integers(1, 3650))
def test_an_alert_that_stays_open_is_told_five_times_and_then_once_a_week(days: int) -> None:
    told, moment = 1, timedelta()
    while (moment := moment + repeat_after(told)) <= timedelta(days=days):
        told += 1
    assert told <= 5 + days / 7


@given(st.sampled_from(Kind), MOMENTS, st.none() | MOMENTS)
def test_only_an_event_that_was_told_and_did_not_happen_again_is_over(
    kind: Kind, raised: datetime, delivered: datetime | None
) -> None:
    over = is_over(kind, raised, delivered)
    assert over == (kind in EVENTS and delivered is not None and raised <= delivered)


@pytest.mark.parametrize("kind", Kind)
def test_every_kind_is_known_by_the_database(database: object, kind: Kind) -> None:
    from forecastle.notify.alerts import raise_alert

    with database.transaction() as connection:  # type: ignore[attr-defined]
        raise_alert(connection, kind, "a", "b")
