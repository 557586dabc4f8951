"""Where a project's outcomes lie and how far they spread, on the log scale, from what is known at a moment."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from forecastle.records.outcomes import ROLLING, Outcomes, once

RUNGS = 9
LEAST_FOR_SPREAD = 10
LEAST_SPREAD = 0.25


@dataclass(frozen=True, slots=True)
class LogScale:
    """A unit on the log scale: outcomes below `floor` count as that much, since a logarithm of 0 does not exist.

    `cold_centre` and `cold_spread` (both logarithmic) stand where nothing or too little is known.
    """

    floor: float
    cold_centre: float
    cold_spread: float

    def log(self, value: float) -> float:
        return math.log(max(value, self.floor))

    def logs(self, values: Iterable[float]) -> list[float]:
        """The logarithm of each value: a request has hundreds, and a call for each would cost more than they do."""
        log, floor = math.log, self.floor
        of_floor = log(floor)
        return [log(value) if value > floor else of_floor for value in values]


@dataclass(frozen=True, slots=True)
class LogLevels:
    """Natural logarithms of a project's level; every field but `spread` and `centre` is relative to `centre`.

    `centre` is the mean of the last ROLLING outcomes, `spread` the standard deviation of the recent ones, `ladder`
    their RUNGS deciles, empty below 2 · RUNGS of them.
    """

    centre: float
    spread: float
    rolling_median: float
    mean: float
    median: float
    last_10: float
    last_3: float
    ladder: tuple[float, ...] = ()


@once
def log_levels(outcomes: Outcomes, scale: LogScale) -> LogLevels:
    """The levels of the outcomes known at a moment; those of a cold start where none is known."""
    if not outcomes.count:
        return LogLevels(scale.cold_centre, scale.cold_spread, 0.0, 0.0, 0.0, 0.0, 0.0)
    logs = scale.logs(outcomes.recent)
    centre = mean_of(logs[-ROLLING:])
    spread = scale.cold_spread
    if len(logs) >= LEAST_FOR_SPREAD:
        middle = mean_of(logs)
        spread = math.sqrt(math.fsum([(value - middle) ** 2 for value in logs]) / (len(logs) - 1))
    return LogLevels(
        centre=centre,
        spread=max(spread, LEAST_SPREAD),
        rolling_median=scale.log(outcomes.rolling_median) - centre,
        mean=scale.log(outcomes.mean) - centre,
        median=scale.log(outcomes.median) - centre,
        last_10=mean_of(logs[-10:]) - centre,
        last_3=mean_of(logs[-3:]) - centre,
        ladder=_ladder(logs, centre),
    )


def mean_of(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)


def median_of(values: Sequence[float]) -> float:
    """As `statistics.median`, of at least one value that is a number."""
    ordered, half = sorted(values), len(values) // 2
    return ordered[half] if len(values) % 2 else (ordered[half - 1] + ordered[half]) / 2


def _ladder(logs: list[float], centre: float) -> tuple[float, ...]:
    if len(logs) < 2 * RUNGS:
        return ()
    ordered, last = sorted(logs), len(logs) - 1
    places = [rung * last / (RUNGS + 1) for rung in range(1, RUNGS + 1)]
    return tuple(
        ordered[int(place)] + (place - int(place)) * (ordered[int(place) + 1] - ordered[int(place)]) - centre
        for place in places
    )
