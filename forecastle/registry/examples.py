"""Rows to learn from: what was asked, what was known then, and what came out."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from forecastle.features.recency import KnownOutcomes
from forecastle.records.outcomes import Outcomes
from forecastle.registry.declaration import Scorer


@dataclass(frozen=True, slots=True)
class Row:
    """What was asked, and what came out; `asked_at` and `known_at` are positions on one axis of time."""

    key: str
    cluster: str
    asked_at: float
    known_at: float
    target: float
    request: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Example(Row):
    """A row with the outcomes of its cluster that were known at `asked_at`, and the features of both."""

    outcomes: Outcomes
    features: Any


class Examples(Sequence[Example]):
    """Examples in order of time."""

    def __init__(self, examples: Iterable[Example]) -> None:
        self._examples = sorted(examples, key=lambda example: example.asked_at)
        self._asked_at = [example.asked_at for example in self._examples]

    def __len__(self) -> int:
        return len(self._examples)

    def __getitem__(self, index: Any) -> Any:
        return self._examples[index]

    def __iter__(self) -> Iterator[Example]:
        return iter(self._examples)

    def known_by(self, cut: float) -> Examples:
        """The examples asked before the cut whose outcome was known by then."""
        before = self._examples[: bisect_left(self._asked_at, cut)]
        return Examples(example for example in before if example.known_at <= cut)

    def asked_between(self, start: float, end: float) -> Examples:
        """The examples asked from `start` on and before `end`."""
        return Examples(self._examples[bisect_left(self._asked_at, start) : bisect_left(self._asked_at, end)])

    def cut_at(self, share: float) -> float:
        """The position before which this share of the rows was asked; 1 lies behind the last row."""
        if share >= 1:
            return float("inf")
        return self._asked_at[int(share * len(self._asked_at))]


def history_of(rows: Iterable[Row]) -> dict[str, KnownOutcomes]:
    """What was known of each cluster at any moment."""
    collected: dict[str, tuple[list[float], list[float]]] = {}
    for row in rows:
        moments, values = collected.setdefault(row.cluster, ([], []))
        moments.append(row.known_at)
        values.append(row.target)
    return {cluster: KnownOutcomes(moments, values) for cluster, (moments, values) in collected.items()}


def make_examples(rows: Sequence[Row], scorer: Scorer) -> Examples:
    """Extract every row once, knowing only what was known when it was asked."""
    history = history_of(rows)
    examples = []
    for row in rows:
        outcomes = history[row.cluster].at(row.asked_at)
        features = scorer.extract(row.request, row.cluster, outcomes)
        examples.append(
            Example(row.key, row.cluster, row.asked_at, row.known_at, row.target, row.request, outcomes, features)
        )
    return Examples(examples)
