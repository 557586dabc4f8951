"""When a job is due: pure functions of a moment in UTC."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol


class Schedule(Protocol):
    """Moments at which a job is due, a period apart."""

    @property
    def period(self) -> timedelta: ...

    def last_tick(self, moment: datetime) -> datetime:
        """The newest tick that is not after `moment`."""
        ...


@dataclass(frozen=True)
class Every:
    """Several times a minute: at each multiple of `seconds`, which divide a minute."""

    seconds: int

    @property
    def period(self) -> timedelta:
        return timedelta(seconds=self.seconds)

    def last_tick(self, moment: datetime) -> datetime:
        return moment.replace(second=moment.second - moment.second % self.seconds, microsecond=0)


@dataclass(frozen=True)
class Daily:
    """Every day at this time of UTC."""

    hour: int
    minute: int = 0
    period = timedelta(days=1)

    def last_tick(self, moment: datetime) -> datetime:
        today = moment.replace(hour=self.hour, minute=self.minute, second=0, microsecond=0)
        return today if today <= moment else today - timedelta(days=1)


@dataclass(frozen=True)
class Hourly:
    """Every hour at this minute."""

    minute: int = 0
    period = timedelta(hours=1)

    def last_tick(self, moment: datetime) -> datetime:
        tick = moment.replace(minute=self.minute, second=0, microsecond=0)
        return tick if tick <= moment else tick - self.period


@dataclass(frozen=True)
class Weekly:
    """Every week on this day (Monday is 0) at this time of UTC."""

    weekday: int
    hour: int
    minute: int = 0
    period = timedelta(days=7)

    def last_tick(self, moment: datetime) -> datetime:
        day = Daily(self.hour, self.minute).last_tick(moment)
        return day - timedelta(days=(day.weekday() - self.weekday) % 7)
