"""What is measured of answers, by the names that declarations use, with 95 % intervals.

Intervals are t intervals over contiguous blocks of time: they speak of the projects that were asked. The gate, which
speaks of projects to come, takes variance over projects where there are enough; their mean has no useful interval where
projects differ in size.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np
from scipy.stats import rankdata

from forecastle.monitoring.comparison import Floats, PairedSums

TWO_SIDED = 0.975
"""The confidence of each side of a two-sided 95 % interval."""

FACTOR = 2.0


@dataclass(frozen=True)
class Estimate:
    """A figure with its 95 % interval; NaN or an infinite bound where the rows bound nothing."""

    value: float
    low: float = math.nan
    high: float = math.nan

    @property
    def bounded(self) -> bool:
        return math.isfinite(self.high - self.low)


def mean_over_time(values: Floats) -> Estimate:
    """The mean of values of 0 and more (shape: rows, in order of time), by a t interval over blocks of time."""
    if not len(values):
        return Estimate(math.nan)
    above = _over_time(values, np.ones(len(values)))
    return Estimate(1 + above.value, max(0.0, 1 + above.low), 1 + above.high)


def difference_over_time(losses: Floats, reference: Floats) -> Estimate:
    """The relative difference of paired losses (shape of both: rows, in order of time), over the reference's."""
    return _over_time(losses, reference) if len(losses) else Estimate(math.nan)


def _over_time(values: Floats, reference: Floats) -> Estimate:
    sums = PairedSums.over_time(values, reference)
    return Estimate(sums.difference, *sums.bounds(TWO_SIDED))


@dataclass(frozen=True)
class Metric:
    """`of_rows` gives a value a row, whose mean is the metric; `of_all` one figure, which has no interval."""

    label: str
    percent: bool = False
    of_rows: Callable[[Floats, Floats], Floats] | None = None
    of_all: Callable[[Floats, Floats], float] | None = None

    def measure(self, answers: Floats, outcomes: Floats) -> Estimate:
        """Of answers and outcomes, both of the shape: rows, in order of time."""
        if self.of_rows is not None:
            found = mean_over_time(self.of_rows(answers, outcomes))
            return replace(found, high=min(found.high, 1.0)) if self.percent else found
        assert self.of_all is not None
        return Estimate(self.of_all(answers, outcomes))


def absolute_errors(answers: Floats, outcomes: Floats) -> Floats:
    return np.abs(answers - outcomes)


def within_factor_2(answers: Floats, outcomes: Floats) -> Floats:
    """1 where neither is more than twice the other, else 0."""
    return ((answers <= FACTOR * outcomes) & (outcomes <= FACTOR * answers)).astype(float)


def rank_correlation(answers: Floats, outcomes: Floats) -> float:
    """Spearman's; NaN where either does not vary."""
    if len(answers) < 2 or not (np.ptp(answers) and np.ptp(outcomes)):
        return math.nan
    return float(np.corrcoef(rankdata(answers), rankdata(outcomes))[0, 1])


METRICS: Mapping[str, Metric] = {
    "mae": Metric("MAE", of_rows=absolute_errors),
    "within_factor_2": Metric("within a factor of 2", percent=True, of_rows=within_factor_2),
    "rank_correlation": Metric("rank correlation", of_all=rank_correlation),
}
