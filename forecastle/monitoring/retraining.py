"""Is a new training due? A pure function of signals and circumstances, with its reasons.

    no signal has fired                      → WAIT
    one has, and something stands against it → CANNOT   (too few rows, a training runs, cool-down, nothing new)
    one has                                  → RETRAIN

`docs/retraining.md` says how signals are measured, and what such decisions cost and bring over a simulated year.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from forecastle.monitoring.policies import RetrainingPolicy
from forecastle.monitoring.signals import Signal


class Verdict(StrEnum):
    RETRAIN = "RETRAIN"
    WAIT = "WAIT"
    CANNOT = "CANNOT"


@dataclass(frozen=True)
class LastTraining:
    """The newest training that ended, and what it cost.

    `succeeded` is None where no job did it, so that nobody wrote how it ended; `seconds` and `rows` where they are not
    known. `serves` says whether what it made is in production, `new_rows` counts outcomes that came after it had begun,
    `changed` names what else would make a training of now another one.
    """

    ended_at: datetime
    succeeded: bool | None
    serves: bool
    seconds: float | None
    rows: int | None
    new_rows: int
    changed: str | None = None

    @property
    def cost(self) -> str:
        took = "an unknown time" if self.seconds is None else f"{self.seconds:,.0f} s"
        return f"{took} on {'an unknown number of' if self.rows is None else f'{self.rows:,}'} rows"

    @property
    def fate(self) -> str:
        if self.succeeded is False:
            return "failed"
        return "serves" if self.serves else "made a version that does not serve"


@dataclass(frozen=True)
class Situation:
    """What a decision rests on at one moment: rows that could be learned from, trainings, and every signal."""

    moment: datetime
    rows: int
    least_rows: int
    running: str | None
    """The run of a training that has not ended."""
    last: LastTraining | None
    signals: tuple[Signal, ...]


@dataclass(frozen=True)
class Obstacle:
    """What stands against a training, and what would remove it."""

    sentence: str
    removed: str


@dataclass(frozen=True)
class RetrainingDecision:
    """A verdict, why, the cheapest change that would have made it another one, and all it rests on."""

    verdict: Verdict
    reasons: tuple[str, ...]
    flip: str
    situation: Situation
    policy: RetrainingPolicy

    @property
    def basis(self) -> dict[str, Any]:
        """The circumstances beside the signals, as plain values."""
        last = self.situation.last
        return {
            "rows": self.situation.rows,
            "least_rows": self.situation.least_rows,
            "running": self.situation.running,
            "cool_down_hours": self.policy.cool_down_hours,
            "last_training": None
            if last is None
            else {**asdict(last), "ended_at": last.ended_at.isoformat(), "cost": last.cost},
        }


def decide_retraining(situation: Situation, policy: RetrainingPolicy) -> RetrainingDecision:
    """The verdict on what was measured; nothing is read and nothing kept."""
    fired = [signal for signal in situation.signals if signal.fired]
    obstacles = list(_obstacles(situation, policy))
    verdict = Verdict.WAIT if not fired else Verdict.CANNOT if obstacles else Verdict.RETRAIN
    reasons = [f"{signal.condition}: {signal.figure(signal.value)}, {signal.sentence}" for signal in fired]
    if not fired:
        measured = sum(signal.measured for signal in situation.signals)
        reasons.append(f"none of {measured} measured signals reaches its threshold")
    if verdict is Verdict.CANNOT:
        reasons += [obstacle.sentence for obstacle in obstacles]
    reasons += [f"{s.name} could not be measured: {s.sentence}" for s in situation.signals if not s.measured]
    flip = _flip(verdict, fired, obstacles, situation.signals)
    return RetrainingDecision(verdict, tuple(reasons), flip, situation, policy)


def _obstacles(situation: Situation, policy: RetrainingPolicy) -> Iterator[Obstacle]:
    missing = situation.least_rows - situation.rows
    if missing > 0:
        yield Obstacle(
            f"too few rows: {situation.rows:,} with a known outcome, {situation.least_rows:,} are declared",
            f"with {_more(missing)}",
        )
    if situation.running is not None:
        yield Obstacle(f"a training runs or waits: {situation.running}", "once that training has ended")
    if situation.last is not None:
        yield from _after(situation.last, situation.moment, policy)


def _after(last: LastTraining, moment: datetime, policy: RetrainingPolicy) -> Iterator[Obstacle]:
    """What the last training stands against: rest after it, and the same again from the same rows."""
    rested = last.ended_at + timedelta(hours=policy.cool_down_hours)
    if moment < rested:
        ended = f"the last training ended at {_at(last.ended_at)}"
        yield Obstacle(f"cool-down of {policy.cool_down_hours:g} h: {ended}", f"after {_at(rested)}")
    if last.changed is not None:
        return
    # A training of the same rows gives the same. One that did not come to serve is worth repeating with as many
    # more rows as are many, or when it is old itself.
    old = last.ended_at + timedelta(days=policy.oldest_days)
    needed = 1 if last.serves or moment > old else policy.many_rows(last.rows or 0)
    if last.new_rows < needed:
        yield Obstacle(
            f"nothing new: {last.new_rows:,} rows since the last training, which {last.fate}; it takes {needed:,}",
            f"with {_more(needed - last.new_rows, 'new ')}",
        )


def _flip(verdict: Verdict, fired: list[Signal], obstacles: list[Obstacle], signals: tuple[Signal, ...]) -> str:
    if verdict is Verdict.CANNOT:
        return f"would retrain {' and '.join(obstacle.removed for obstacle in obstacles)}"
    if verdict is Verdict.RETRAIN:
        return f"would wait without {' and without '.join(signal.condition for signal in fired)}"
    nearest = min(signals, key=lambda signal: signal.gap, default=None)
    if nearest is None or nearest.value is None or nearest.unit == "yes or no":
        return "nothing that was measured could make it retrain by degrees"
    return f"would retrain if {nearest.condition}, is {nearest.figure(nearest.value)}"


def _more(rows: int, kind: str = "") -> str:
    return f"{rows:,} more {kind}row{'s' if rows != 1 else ''}"


def _at(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M}Z"
