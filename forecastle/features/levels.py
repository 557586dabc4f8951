"""Where a project's outcomes lie and how far they spread, on the log scale, from what is known at a moment."""

from __future__ import annotations

import math
import statistics
from dataclasses import dataclass

from forecastle.records.outcomes import ROLLING, Outcomes

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


def log_levels(outcomes: Outcomes, scale: LogScale) -> LogLevels:
    """The levels of the outcomes known at a moment; those of a cold start where none is known."""
    if not outcomes.count:
        return LogLevels(scale.cold_centre, scale.cold_spread, 0.0, 0.0, 0.0, 0.0, 0.0)
    logs = [scale.log(value) for value in outcomes.recent]
    centre = math.fsum(logs[-ROLLING:]) / len(logs[-ROLLING:])
    spread = scale.cold_spread
    if len(logs) >= LEAST_FOR_SPREAD:
        middle = math.fsum(logs) / len(logs)
        spread = math.sqrt(math.fsum((value - middle) ** 2 for value in logs) / (len(logs) - 1))
    return LogLevels(
        centre=centre,
        spread=max(spread, LEAST_SPREAD),
        rolling_median=scale.log(outcomes.rolling_median) - centre,
        mean=scale.log(outcomes.mean) - centre,
        median=scale.log(outcomes.median) - centre,
        last_10=statistics.fmean(logs[-10:]) - centre,
        last_3=statistics.fmean(logs[-3:]) - centre,
        ladder=_ladder(logs, centre),
    )


def _ladder(logs: list[float], centre: float) -> tuple[float, ...]:
    if len(logs) < 2 * RUNGS:
        return ()
    ordered, last = sorted(logs), len(logs) - 1
    places = [rung * last / (RUNGS + 1) for rung in range(1, RUNGS + 1)]
    return tuple(
        ordered[int(place)] + (place - int(place)) * (ordered[int(place) + 1] - ordered[int(place)]) - centre
        for place in places
    )
