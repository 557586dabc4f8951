"""Outcomes as they were known at any moment of the past, for training and for walking through time."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from heapq import heappop, heappush
from itertools import accumulate

from forecastle.records.outcomes import NONE_KNOWN, RECENT, ROLLING, Case, Known, Outcomes


class KnownOutcomes:
    """The outcomes of one project, by the moment at which each became known.

    Building takes O(n log n), asking O(log n).
    """

    def __init__(
        self,
        known_at: Sequence[float],
        values: Sequence[float],
        estimates: Sequence[float] = (),
        cases: Sequence[Case] = (),
    ) -> None:
        order = sorted(range(len(values)), key=known_at.__getitem__)
        self._moments = [known_at[index] for index in order]
        self._values = [values[index] for index in order]
        self._estimates = [estimates[index] for index in order] if estimates else []
        self._cases = [cases[index] for index in order] if cases else []
        self._sums = [0.0, *accumulate(self._values)]
        self._medians = list(_running_medians(self._values))

    def at(self, moment: float) -> Outcomes:
        """What was known at `moment`, outcomes that became known at that very moment included."""
        count = bisect_right(self._moments, moment)
        if count == 0:
            return NONE_KNOWN
        latest = slice(max(0, count - RECENT), count)
        return Outcomes(
            count,
            self._sums[count] / count,
            self._medians[count - 1],
            tuple(self._values[latest]),
            tuple(self._estimates[latest]),
        )

    def cases_at(self, moment: float) -> Sequence[Case]:
        """The latest RECENT cases known at `moment`."""
        count = bisect_right(self._moments, moment)
        return self._cases[max(0, count - RECENT) : count]


class GroupOutcomes:
    """The latest outcomes of the issues that share something, by the moment at which each became known."""

    def __init__(self, known_at: Sequence[float], values: Sequence[float], estimates: Sequence[float]) -> None:
        order = sorted(range(len(values)), key=known_at.__getitem__)
        self._moments = [known_at[index] for index in order]
        self._values = [values[index] for index in order]
        self._estimates = [estimates[index] for index in order]

    def at(self, moment: float) -> Outcomes:
        count = bisect_right(self._moments, moment)
        latest = slice(max(0, count - ROLLING), count)
        return Outcomes.of_latest(self._values[latest], self._estimates[latest])


class History:
    """What was known of one project at any moment, groups and cases included."""

    def __init__(self, project: KnownOutcomes, groups: Mapping[tuple[str, object], GroupOutcomes]) -> None:
        self._project = project
        self._groups = groups

    def at(self, moment: float, groups: Mapping[str, object]) -> Known:
        """What was known at `moment`, with the groups asked for: by name, what an issue must share to be in it."""
        found = {
            name: self._groups[name, key].at(moment) for name, key in groups.items() if (name, key) in self._groups
        }
        return Known(self._project.at(moment), found, self._project.cases_at(moment))


def _running_medians(values: Iterable[float]) -> Iterable[float]:
    lower: list[float] = []  # the smaller half, negated, so that its largest stands on top
    upper: list[float] = []
    for value in values:
        if not lower or value <= -lower[0]:
            heappush(lower, -value)
        else:
            heappush(upper, value)
        if len(lower) > len(upper) + 1:
            heappush(upper, -heappop(lower))
        elif len(upper) > len(lower):
            heappush(lower, -heappop(upper))
        yield -lower[0] if len(lower) > len(upper) else (upper[0] - lower[0]) / 2
