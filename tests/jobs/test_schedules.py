"""Ticks: the newest one that is not after a moment, whatever the moment."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.schedules import Daily, Every, Hourly, Schedule, Weekly

MOMENTS = st.datetimes(datetime(2000, 1, 8), datetime(2100, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001
HOURS, MINUTES = st.integers(0, 23), st.integers(0, 59)
SCHEDULES = st.one_of(
    st.builds(Every, st.sampled_from([1, 10, 30, 60])),
    st.builds(Hourly, MINUTES),
    st.builds(Daily, HOURS, MINUTES),
    st.builds(Weekly, st.integers(0, 6), HOURS, MINUTES),
)
WEDNESDAY = datetime(2026, 11, 18, 10, 30, tzinfo=UTC)


@given(SCHEDULES, MOMENTS)
def test_a_tick_is_never_later_and_less_than_a_period_old(schedule: Schedule, moment: datetime) -> None:
    tick = schedule.last_tick(moment)
    assert tick <= moment < tick + schedule.period


@given(SCHEDULES, MOMENTS, st.timedeltas(timedelta(0), timedelta(days=30)))
def test_ticks_never_go_back_and_a_tick_is_its_own(schedule: Schedule, moment: datetime, later: timedelta) -> None:
    tick = schedule.last_tick(moment)
    assert schedule.last_tick(tick) == tick
    after = schedule.last_tick(moment + later)
    assert after >= tick
    assert (after - tick) % schedule.period == timedelta(0)


@pytest.mark.parametrize(
    "schedule, tick",
    [
        (Daily(3), datetime(2026, 11, 18, 3, tzinfo=UTC)),
        (Daily(10, 30), WEDNESDAY),
        (Daily(10, 31), datetime(2026, 11, 17, 10, 31, tzinfo=UTC)),
        (Every(30), WEDNESDAY),
        (Hourly(30), WEDNESDAY),
        (Hourly(31), datetime(2026, 11, 18, 9, 31, tzinfo=UTC)),
        (Weekly(0, 2), datetime(2026, 11, 16, 2, tzinfo=UTC)),
        (Weekly(2, 11), datetime(2026, 11, 11, 11, tzinfo=UTC)),
        (Weekly(2, 10), datetime(2026, 11, 18, 10, tzinfo=UTC)),
    ],
)
def test_ticks_that_a_calendar_shows(schedule: Schedule, tick: datetime) -> None:
    assert schedule.last_tick(WEDNESDAY) == tick


@given(SCHEDULES, MOMENTS)
def test_the_database_finds_the_same_tick_from_a_period_and_any_tick(schedule: Schedule, moment: datetime) -> None:
    anchor = schedule.last_tick(datetime(2000, 1, 31, tzinfo=UTC))
    ticks = (moment - anchor) // schedule.period  # what date_bin does
    assert anchor + ticks * schedule.period == schedule.last_tick(moment)
