"""Where a cluster's outcomes lie and how far they spread, on the log scale, from what is known at a moment."""

from __future__ import annotations

import math
import statistics
from dataclasses import dataclass

from forecastle.records.outcomes import ROLLING, Outcomes

FLOOR = 0.25  # smaller outcomes count as this much: a logarithm of 0 does not exist
LEAST_FOR_SPREAD = 10
LEAST_SPREAD = 0.25
COLD_CENTRE, COLD_SPREAD = math.log(3.0), 0.8  # where nothing or too little is known


@dataclass(frozen=True, slots=True)
class LogLevels:
    """Natural logarithms of a cluster's level; every field but `spread` and `centre` is relative to `centre`.

    `centre` is the mean of the last ROLLING outcomes, `spread` the standard deviation of the recent ones.
    """

    centre: float
    spread: float
    rolling_median: float
    mean: float
    median: float
    last_10: float
    last_3: float


def log(value: float) -> float:
    return math.log(max(value, FLOOR))


def log_levels(outcomes: Outcomes) -> LogLevels:
    """The levels of the outcomes known at a moment; those of a cold start where none is known."""
    if not outcomes.count:
        return LogLevels(COLD_CENTRE, COLD_SPREAD, 0.0, 0.0, 0.0, 0.0, 0.0)
    logs = [log(value) for value in outcomes.recent]
    centre = statistics.fmean(logs[-ROLLING:])
    spread = COLD_SPREAD
    if len(logs) >= LEAST_FOR_SPREAD:
        middle = math.fsum(logs) / len(logs)
        spread = math.sqrt(math.fsum((value - middle) ** 2 for value in logs) / (len(logs) - 1))
    return LogLevels(
        centre=centre,
        spread=max(spread, LEAST_SPREAD),
        rolling_median=log(outcomes.rolling_median) - centre,
        mean=log(outcomes.mean) - centre,
        median=log(outcomes.median) - centre,
        last_10=statistics.fmean(logs[-10:]) - centre,
        last_3=statistics.fmean(logs[-3:]) - centre,
    )
