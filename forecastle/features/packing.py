"""Features and what was known as bytes, so that an answer can be scored again: doubles in network order."""

from __future__ import annotations

import sys
import zlib
from array import array
from collections.abc import Iterable, Sequence
from dataclasses import replace

from forecastle.features.issues import IssueFeatures
from forecastle.features.levels import LogLevels
from forecastle.records.outcomes import Known, Outcomes, once

OF_A_GROUP = 32
"""Bytes of a group: which one it is, how many outcomes it has, their mean and their median."""
FASTEST = 1
"""Of zlib's levels; outcomes repeat, so that a tenth to a half is left."""


def pack_issue(issue: IssueFeatures) -> bytes:
    """Every number of an issue; its names and words are not among them, since the request tells them."""
    levels, own = issue.levels, (issue.centre, issue.spread, issue.weight, issue.estimate, issue.similar)
    of_project = (
        levels.centre, levels.spread, levels.rolling_median, levels.mean, levels.median, levels.last_10, levels.last_3,
    )  # fmt: skip
    return _pack([*own, *of_project, len(levels.ladder), *levels.ladder, *issue.numbers])


def unpack_issue(content: bytes, blank: IssueFeatures) -> IssueFeatures:
    """The issue that was packed; `blank` has its names and words, as a request has of which nothing is known.

    Raises ValueError where these are not the bytes of an issue with as many numbers.
    """
    values = iter(_unpack(content))
    centre, spread, weight, estimate, similar = (next(values) for _ in range(5))
    level, deviation, rolling_median, mean, median, last_10, last_3 = (next(values) for _ in range(7))
    ladder = tuple(next(values) for _ in range(int(next(values))))
    levels = LogLevels(level, deviation, rolling_median, mean, median, last_10, last_3, ladder)
    numbers = array("d", values)
    if len(numbers) != len(blank.names):
        raise ValueError(f"{len(numbers)} numbers were kept, and there are {len(blank.names)} now")
    return replace(
        blank, centre=centre, spread=spread, weight=weight, estimate=estimate, similar=similar, numbers=numbers,
        levels=levels,
    )  # fmt: skip


def pack_known(known: Known, groups: Sequence[str]) -> bytes:
    """What was known: a project's recent outcomes one by one, and of each of these groups how many and how much.

    The outcomes are compressed, and are so only once where they are kept; the groups stand behind them as they are.
    """
    values: list[float] = []
    for place, name in enumerate(groups):
        if (found := known.groups.get(name)) is not None:
            values += (place, found.count, found.mean, found.median)
    return _project_packed(known.project) + _pack(values)


def unpack_known(content: bytes, groups: Sequence[str]) -> Known:
    """What was packed for the same groups: their outcomes one by one, and the project's cases, are not there.

    Raises ValueError where it is cut off, or was not packed for these groups.
    """
    unpacker = zlib.decompressobj()
    try:
        compressed = unpacker.decompress(content)
    except zlib.error:
        raise ValueError("this is nothing that was packed") from None
    if not unpacker.eof or len(unpacker.unused_data) % OF_A_GROUP:
        raise ValueError("what was known is cut off")
    # In older rows the groups are compressed with the project's.
    values = iter(_unpack(compressed) + _unpack(unpacker.unused_data))
    count, mean, median, recent, estimates = (next(values) for _ in range(5))
    project = Outcomes(
        int(count), mean, median,
        tuple(next(values) for _ in range(int(recent))), tuple(next(values) for _ in range(int(estimates))),
    )  # fmt: skip
    of_groups = {}
    for place in values:
        if place >= len(groups):
            raise ValueError(f"{place:.0f} is none of {len(groups)} groups")
        of_groups[groups[int(place)]] = Outcomes(int(next(values)), next(values), next(values), ())
    return Known(project, of_groups)


@once
def _project_packed(outcomes: Outcomes) -> bytes:
    content = _pack([
        outcomes.count, outcomes.mean, outcomes.median, len(outcomes.recent), len(outcomes.estimates),
        *outcomes.recent, *outcomes.estimates,
    ])  # fmt: skip
    return zlib.compress(content, FASTEST)


def _pack(values: Iterable[float]) -> bytes:
    return _swapped(array("d", values)).tobytes()


def _unpack(content: bytes) -> array[float]:
    return _swapped(array("d", content))


def _swapped(values: array[float]) -> array[float]:
    if sys.byteorder == "little":
        values.byteswap()
    return values
