"""Outcomes as they were known at any moment of the past, for training and for walking through time."""

from __future__ import annotations

from bisect import bisect_right, insort
from collections.abc import Iterable, Sequence
from itertools import accumulate

from forecastle.records.outcomes import NONE_KNOWN, RECENT, Outcomes


class KnownOutcomes:
    """The outcomes of one cluster, by the moment at which each became known.

    Building takes O(n log n), `at` O(log n).
    """

    def __init__(self, known_at: Sequence[float], values: Sequence[float]) -> None:
        order = sorted(range(len(values)), key=known_at.__getitem__)
        self._moments = [known_at[index] for index in order]
        self._values = [values[index] for index in order]
        self._sums = [0.0, *accumulate(self._values)]
        self._medians = list(_running_medians(self._values))

    def at(self, moment: float) -> Outcomes:
        """What was known at `moment`, outcomes that became known at that very moment included."""
        count = bisect_right(self._moments, moment)
        if count == 0:
            return NONE_KNOWN
        recent = tuple(self._values[max(0, count - RECENT) : count])
        return Outcomes(count, self._sums[count] / count, self._medians[count - 1], recent)


def _running_medians(values: Iterable[float]) -> Iterable[float]:
    seen: list[float] = []
    for value in values:
        insort(seen, value)
        middle = len(seen) // 2
        yield seen[middle] if len(seen) % 2 else (seen[middle - 1] + seen[middle]) / 2
