"""Hours as they are answered: a value, how far it may be off, and what counts as a hit."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import repeat

from forecastle.features.levels import LogScale
from forecastle.records.outcomes import Outcomes, once

HOURS = LogScale(floor=1 / 60, cold_centre=math.log(2.0), cold_spread=1.2)

FACTOR = 2.0
"""An answer is a hit where the truth lies within this factor of it."""

NEAR = 0.2
"""A model that says nearly what a person said says what the person said: hours are logged in customary amounts."""


@dataclass(frozen=True)
class Hours:
    """Predicted hours; `reach` is the logarithm of the factor by which outcomes usually miss."""

    value: float
    reach: float

    def interval(self, threshold: float) -> tuple[float, float]:
        """From value / factor to value · factor, never below 0; everything where the threshold is infinite."""
        factor = math.exp(min(threshold * self.reach, MOST_REACH))
        return self.value / factor, self.value * factor

    def score(self, truth: float) -> float:
        return abs(HOURS.log(truth) - HOURS.log(self.value)) / self.reach

    def confidence(self, share_within: Callable[[float], float]) -> float:
        """The probability that the truth lies within a factor of two."""
        return share_within(math.log(FACTOR) / self.reach)

    def is_hit(self, truth: float) -> bool:
        return self.value / FACTOR <= truth <= self.value * FACTOR


MOST_REACH = 12.0  # e^12 is a hundred thousand times too much, which is as good as no bound


def settle_hours(estimate: float, amounts: Sequence[float], reach: float) -> Hours:
    """The hours to answer: what was estimated, or the nearest of these amounts where that is nearly the same."""
    value = math.exp(HOURS.cold_centre) if math.isnan(estimate) else max(estimate, HOURS.floor)
    nearest = min(amounts, key=lambda amount: abs(math.log(value / amount)), default=value)
    return Hours(nearest if abs(math.log(value / nearest)) < NEAR else value, reach)


@once
def customary(outcomes: Outcomes) -> Sequence[float]:
    """The amounts that at least CUSTOMARY_SHARE of the recent outcomes have."""
    recent = outcomes.recent
    counts, least = Counter(map(round, recent, repeat(2))), max(CUSTOMARY_SHARE * len(recent), 2)
    return tuple([value for value, count in counts.items() if count >= least and value > 0])


CUSTOMARY_SHARE = 0.01
