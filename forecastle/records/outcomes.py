"""What was known of outcomes at a moment."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import wraps
from typing import Any, NamedTuple, TypeVar, TypeVarTuple

Made = TypeVar("Made")
Rest = TypeVarTuple("Rest")

RECENT = 200  # how many of a project's latest known outcomes are kept one by one
ROLLING = 50  # how many of them the rolling median looks at; also how many of a group's are kept


@dataclass(frozen=True, slots=True)
class Outcomes:
    """The known outcomes of one project, or of one group of its issues, at a moment, in the target's unit.

    `recent` holds the latest in the order in which they became known, `estimates` what people had estimated of each
    (NaN where nobody did). `count`, `mean` and `median` are over all outcomes of a project, over the latest ROLLING of
    a group. With no known outcome `count` is 0 and `mean` and `median` are NaN. `derived` holds what was made of them
    before, where they are kept to be asked about again.
    """

    count: int
    mean: float
    median: float
    recent: tuple[float, ...]
    estimates: tuple[float, ...] = ()
    derived: dict[Any, Any] | None = field(default=None, compare=False, repr=False)

    @classmethod
    def of_latest(cls, values: Sequence[float], estimates: Sequence[float] = ()) -> Outcomes:
        """The outcomes of a group: these are all that count."""
        if not values:
            return NONE_KNOWN
        recent = tuple(values)
        return cls(len(recent), math.fsum(recent) / len(recent), statistics.median(recent), recent, tuple(estimates))

    @property
    def rolling_median(self) -> float:
        """The median of the last ROLLING known outcomes; NaN where there is none."""
        return _rolling_median(self)


def once(made: Callable[[Outcomes, *Rest], Made]) -> Callable[[Outcomes, *Rest], Made]:
    """Make it once of outcomes that are kept: requests about a project ask for the same, one after the other."""

    @wraps(made)
    def remembering(outcomes: Outcomes, *rest: *Rest) -> Made:
        if outcomes.derived is None:
            return made(outcomes, *rest)
        key = made, *rest
        found: Made | None = outcomes.derived.get(key)
        if found is None:
            found = outcomes.derived[key] = made(outcomes, *rest)
        return found

    return remembering


@once
def _rolling_median(outcomes: Outcomes) -> float:
    window = outcomes.recent[-ROLLING:]
    return statistics.median(window) if window else math.nan


NONE_KNOWN = Outcomes(0, math.nan, math.nan, ())


class Case(NamedTuple):
    """A completed issue, as later ones may be held against it."""

    key: str
    title: str
    value: float


@dataclass(frozen=True, slots=True)
class Known:
    """All that was known when something was asked.

    `groups` holds the outcomes of the issues of the same project that share something with what was asked (its type,
    its component, who does it), by the name that the model type gave the group; `cases` the project's latest
    completed issues, oldest first, where the model type looks at them.
    """

    project: Outcomes = NONE_KNOWN
    groups: Mapping[str, Outcomes] = field(default_factory=dict)
    cases: Sequence[Case] = ()

    def group(self, name: str) -> Outcomes:
        return self.groups.get(name, NONE_KNOWN)


NOTHING_KNOWN = Known()
