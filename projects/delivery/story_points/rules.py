"""A project's own point scale: what stands on it, how likely each value is, which one to recommend."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from forecastle.features.levels import LogScale
from forecastle.records.outcomes import ROLLING, Outcomes, once

CUSTOMARY = (1.0, 2.0, 3.0, 5.0, 8.0, 13.0)  # the planning-poker scale, until a project has shown its own
FEW = 20  # fewer known outcomes than this do not make a scale

# p(s) ∝ frequency(s)^TRUST · exp(-|ln s - ln estimate| / (width · spread)). The sharp form finds the value to
# recommend (its lower median has the least absolute error), the wide one tells how likely each value is.
TRUST = 0.7
SHARP, WIDE = 0.5, 2.0


POINTS = LogScale(floor=0.25, cold_centre=math.log(3.0), cold_spread=0.8)


@dataclass(frozen=True)
class Scale:
    """The values that stand on a project's scale, ascending, and how often each was chosen (sum 1)."""

    values: tuple[float, ...]
    frequencies: tuple[float, ...]

    @classmethod
    def of(cls, outcomes: Outcomes) -> Scale:
        """Half by the last ROLLING known outcomes, half by all recent ones.

        The customary values count once each where fewer than FEW outcomes are known.
        """
        recent = outcomes.recent if len(outcomes.recent) >= FEW else (*CUSTOMARY, *outcomes.recent)
        all_of_them, latest = Counter(recent), Counter(recent[-ROLLING:])
        total, newest = len(recent), min(len(recent), ROLLING)
        values = tuple(sorted(all_of_them))
        return cls(values, tuple(0.5 * all_of_them[v] / total + 0.5 * latest[v] / newest for v in values))

    def nearest(self, value: float) -> float:
        return min(self.values, key=lambda candidate: abs(candidate - value))

    def distribution(self, estimate: float, spread: float, width: float) -> tuple[float, ...]:
        """The probability of each value around an estimate in points; `spread` is that of log points."""
        middle, reach = POINTS.log(estimate), width * spread
        scores = [
            TRUST * math.log(frequency) - abs(POINTS.log(value) - middle) / reach
            for value, frequency in zip(self.values, self.frequencies, strict=True)
        ]
        highest = max(scores)
        weights = [math.exp(score - highest) for score in scores]
        total = sum(weights)
        return tuple(weight / total for weight in weights)


scale_of = once(Scale.of)


@dataclass(frozen=True)
class Recommendation:
    """A value of the scale, and the probability of each value."""

    value: float
    values: Sequence[float]
    probabilities: Sequence[float]

    def confidence(self, share_within: Callable[[float], float]) -> float:
        """The probability that the recommended value is the one chosen."""
        return self.probabilities[self.values.index(self.value)]

    def is_hit(self, truth: float) -> bool:
        return truth == self.value

    def interval(self, threshold: float) -> tuple[float, float]:
        """The values around the recommended one, likelier neighbours first, until they hold `threshold`."""
        for low, high, mass in self._growing():
            if mass > threshold:
                break
        return self.values[low], self.values[high]

    def score(self, truth: float) -> float:
        """The least threshold whose interval holds `truth`; infinite where it lies beyond the scale."""
        before = 0.0
        for low, high, mass in self._growing():
            if self.values[low] <= truth <= self.values[high]:
                return before
            before = mass
        return math.inf

    def _growing(self) -> list[tuple[int, int, float]]:
        probabilities, last = self.probabilities, len(self.values) - 1
        low = high = self.values.index(self.value)
        mass = probabilities[low]
        steps = [(low, high, mass)]
        while low > 0 or high < last:
            below = probabilities[low - 1] if low > 0 else -1.0
            above = probabilities[high + 1] if high < last else -1.0
            if low == 0 or above > below:
                high += 1
            else:
                low -= 1
            mass += max(above, below)
            steps.append((low, high, mass))
        return steps


def recommend_near(estimate: float, scale: Scale, spread: float) -> Recommendation:
    """For a baseline: the value of the scale that lies nearest; that of a cold start where it says nothing."""
    if math.isnan(estimate):
        estimate = math.exp(POINTS.cold_centre)
    return Recommendation(scale.nearest(estimate), scale.values, scale.distribution(estimate, spread, WIDE))


def recommend_middle(estimate: float, scale: Scale, spread: float) -> Recommendation:
    """For a model: the lower median of the sharp distribution."""
    mass = 0.0
    for value, probability in zip(scale.values, scale.distribution(estimate, spread, SHARP), strict=True):
        mass += probability
        if mass >= 0.5 - 1e-9:
            break
    return Recommendation(value, scale.values, scale.distribution(estimate, spread, WIDE))
