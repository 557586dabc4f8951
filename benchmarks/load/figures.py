"""Percentiles, and medians over rounds with their spread."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

Name = TypeVar("Name")
Found = TypeVar("Found")


@dataclass(frozen=True)
class Spread:
    """The median of a figure over rounds, with the least and the most that a round showed."""

    median: float
    least: float
    most: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """Raises ValueError where there is no value."""
        if not values:
            raise ValueError("no round was measured")
        return cls(statistics.median(values), min(values), max(values))


def percentile(ordered: Sequence[float], share: float) -> float:
    """The least of the ascending values that at least `share` of all do not exceed; NaN where there is none."""
    if not ordered:
        return math.nan
    return ordered[max(math.ceil(share * len(ordered)) - 1, 0)]


def interleave(
    measures: Mapping[Name, Callable[[], Found]], rounds: int, on_done: Callable[[], None] = lambda: None
) -> dict[Name, list[Found]]:
    """Measure A B C, A B C, …: whatever else the machine does for a while meets all of them alike."""
    found: dict[Name, list[Found]] = {name: [] for name in measures}
    for _ in range(rounds):
        for name, measure in measures.items():
            found[name].append(measure())
            on_done()
    return found
