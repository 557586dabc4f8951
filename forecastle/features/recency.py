"""Outcomes as they were known at any moment of the past, for training and for walking through time."""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from heapq import heappop, heappush
from itertools import accumulate, islice
from types import MappingProxyType

from forecastle.records.outcomes import NONE_KNOWN, RECENT, ROLLING, Case, Known, Outcomes


class KnownOutcomes:
    """The outcomes of one project, by the moment at which each became known.

    `edits` say, by the place of an outcome, since when its estimate and its case look different, in order of time.
    Building takes O(n log n), asking O(log n).
    """

    def __init__(
        self,
        known_at: Sequence[float],
        values: Sequence[float],
        estimates: Sequence[float] = (),
        cases: Sequence[Case] = (),
        edits: Mapping[int, Sequence[tuple[float, float, Case]]] = MappingProxyType({}),
    ) -> None:
        order = sorted(range(len(values)), key=known_at.__getitem__)
        self._moments = [known_at[index] for index in order]
        self._values = [values[index] for index in order]
        self._estimates = [estimates[index] for index in order] if estimates else []
        self._cases = [cases[index] for index in order] if cases else []
        self._edits = {place: edits[index] for place, index in enumerate(order) if index in edits} if edits else {}
        self._edited = list(self._edits)
        self._sums = [0.0, *accumulate(self._values)]
        self._medians = list(_running_medians(self._values))

    def at(self, moment: float) -> Outcomes:
        """What was known at `moment`, outcomes that became known at that very moment included."""
        count = bisect_right(self._moments, moment)
        if count == 0:
            return NONE_KNOWN
        start = max(0, count - RECENT)
        estimates = self._estimates[start:count]
        if estimates:
            for place, (_, estimate, _) in self._edited_by(moment, start, count):
                estimates[place - start] = estimate
        return Outcomes(
            count,
            self._sums[count] / count,
            self._medians[count - 1],
            tuple(self._values[start:count]),
            tuple(estimates),
        )

    def cases_at(self, moment: float) -> Sequence[Case]:
        """The latest RECENT cases known at `moment`."""
        count = bisect_right(self._moments, moment)
        start = max(0, count - RECENT)
        cases = self._cases[start:count]
        if cases:
            for place, (_, _, case) in self._edited_by(moment, start, count):
                cases[place - start] = case
        return cases

    def _edited_by(self, moment: float, start: int, end: int) -> Iterator[tuple[int, tuple[float, float, Case]]]:
        """How the outcomes between two places look at `moment`, where that is not how they looked at first."""
        for place in self._edited[bisect_left(self._edited, start) : bisect_left(self._edited, end)]:
            past = [edit for edit in self._edits[place] if edit[0] <= moment]
            if past:
                yield place, past[-1]


class GroupOutcomes:
    """The latest outcomes of the issues that share something, by the moment at which each became known.

    An issue belongs to the group during one of `lives`, from its first moment up to, and without, its second; without
    any it belongs for ever.
    """

    def __init__(
        self,
        known_at: Sequence[float],
        values: Sequence[float],
        estimates: Sequence[float] = (),
        lives: Sequence[tuple[float, float]] = (),
    ) -> None:
        order = sorted(range(len(values)), key=known_at.__getitem__)
        self._moments = [known_at[index] for index in order]
        self._values = [values[index] for index in order]
        self._estimates = [estimates[index] for index in order] if estimates else []
        passing = {index: life for index, life in enumerate(lives) if life[0] > known_at[index] or life[1] < math.inf}
        self._lives = {place: passing[index] for place, index in enumerate(order) if index in passing}
        self._passing = list(self._lives)

    def at(self, moment: float) -> Outcomes:
        end = bisect_right(self._moments, moment)
        start = max(0, end - ROLLING)
        if bisect_left(self._passing, start) == bisect_left(self._passing, end):
            return Outcomes.of_latest(self._values[start:end], self._estimates[start:end])
        places = [*islice((place for place in range(end - 1, -1, -1) if self._belongs(place, moment)), ROLLING)][::-1]
        estimates = [self._estimates[place] for place in places] if self._estimates else ()
        return Outcomes.of_latest([self._values[place] for place in places], estimates)

    def _belongs(self, place: int, moment: float) -> bool:
        since, until = self._lives.get(place, (-math.inf, math.inf))
        return since <= moment < until


class History:
    """What was known of one project at any moment, groups and cases included."""

    def __init__(self, project: KnownOutcomes, groups: Mapping[tuple[str, object], GroupOutcomes]) -> None:
        self._project = project
        self._groups = groups

    def at(self, moment: float, groups: Mapping[str, object]) -> Known:
        """What was known at `moment`, with the groups asked for: by name, what an issue must share to be in it.

        Groups of which nothing was known are absent.
        """
        looked_up = ((name, self._groups.get((name, key))) for name, key in groups.items())
        found = {name: group.at(moment) for name, group in looked_up if group is not None}
        known = {name: outcomes for name, outcomes in found.items() if outcomes.count}
        return Known(self._project.at(moment), known, self._project.cases_at(moment))


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
