"""An issue as numbers: what it says, and how issues like it went, as it was known when it was asked about."""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from forecastle.features.levels import LogLevels, LogScale, mean_of, median_of
from forecastle.features.text import Words
from forecastle.records.outcomes import Outcomes, once


@dataclass(frozen=True, slots=True)
class IssueFeatures:
    """Numbers and words of one issue. Levels are natural logarithms of the target's unit.

    `numbers` are named by `names`, NaN where something is not known; `labels` are words for what has no order (a
    type, a component). A model learns how far the outcome's logarithm lies from `centre`, in units of `spread`;
    `weight` is how much an error there counts. `estimate` is a person's, NaN where nobody gave one.
    """

    cluster: str
    names: tuple[str, ...]
    numbers: array[float]
    title: Words
    description: Words
    labels: tuple[str, ...]
    scale: LogScale
    levels: LogLevels
    centre: float
    spread: float
    weight: float
    estimate: float = math.nan
    similar: float = math.nan
    """The level of the most similar completed issues, NaN where none is similar."""

    @property
    def ladder(self) -> tuple[float, ...]:
        """The deciles of the project's recent outcomes as deviations; empty where too few are known."""
        shift = self.levels.centre - self.centre
        return tuple((rung + shift) / self.spread for rung in self.levels.ladder)

    def to_units(self, deviation: float) -> float:
        return math.exp(min(deviation * self.spread + self.centre, MOST_LOG))

    def to_deviation(self, value: float) -> float:
        return (self.scale.log(value) - self.centre) / self.spread


MOST_LOG = 20.0  # nothing takes longer; keeps a wild estimate finite


def group_numbers(prefix: str, outcomes: Outcomes, scale: LogScale, centre: float) -> dict[str, float]:
    """How the issues of one group went, relative to `centre`: level, latest level, spread, and how many there are."""
    count, mean, median, last_3, last_10, spread = _levels(outcomes, scale)
    return {
        f"{prefix}.count": count,
        f"{prefix}.mean": mean - centre,
        f"{prefix}.median": median - centre,
        f"{prefix}.last_3": last_3 - centre,
        f"{prefix}.last_10": last_10 - centre,
        f"{prefix}.spread": spread,
    }


@once
def _levels(outcomes: Outcomes, scale: LogScale) -> tuple[float, float, float, float, float, float]:
    """The logarithm of how many there are, then mean, median, latest means and spread; NaN where there are none."""
    logs = scale.logs(outcomes.recent)
    if not logs:
        return 0.0, math.nan, math.nan, math.nan, math.nan, math.nan
    latest = mean_of(logs[-3:]), mean_of(logs[-10:])
    return math.log1p(len(logs)), mean_of(logs), median_of(logs), *latest, deviation_of(logs)


def ratio_numbers(prefix: str, outcomes: Outcomes, scale: LogScale) -> dict[str, float]:
    """By how much the estimates of a group were exceeded, as logarithms of outcome over estimate."""
    mean, median, last_3 = _ratio_levels(outcomes, scale)
    return {f"{prefix}.ratio_mean": mean, f"{prefix}.ratio_median": median, f"{prefix}.ratio_last_3": last_3}


@once
def _ratio_levels(outcomes: Outcomes, scale: LogScale) -> tuple[float, float, float]:
    ratios = log_ratios(outcomes, scale)
    return (mean_of(ratios), median_of(ratios), mean_of(ratios[-3:])) if ratios else (math.nan, math.nan, math.nan)


@once
def log_ratios(outcomes: Outcomes, scale: LogScale) -> Sequence[float]:
    """Logarithms of outcome over estimate, of the outcomes that somebody had estimated."""
    if not outcomes.estimates:
        return ()
    pairs = zip(outcomes.recent, outcomes.estimates, strict=True)
    estimated = [pair for pair in pairs if pair[1] == pair[1]]
    values, estimates = scale.logs([value for value, _ in estimated]), scale.logs([guess for _, guess in estimated])
    return tuple([value - guess for value, guess in zip(values, estimates, strict=True)])


def packed(numbers: Mapping[str, float]) -> tuple[tuple[str, ...], array[float]]:
    """Names and values of numbers, the names shared by all issues that have the same ones."""
    names = tuple(numbers)
    return _NAMES.setdefault(names, names), array("d", numbers.values())


_NAMES: dict[tuple[str, ...], tuple[str, ...]] = {}


def labels_of(request: Mapping[str, object], fields: Iterable[str]) -> tuple[str, ...]:
    """What a request says in these fields; line ends, which trackers take in names, count as blanks."""
    return tuple(f"{field}={' '.join(str(request[field]).split())}" for field in fields if request.get(field))


def deviation_of(values: Sequence[float]) -> float:
    """The standard deviation of values that are all there is."""
    mean = mean_of(values)
    return math.sqrt(math.fsum([(value - mean) ** 2 for value in values]) / len(values))
