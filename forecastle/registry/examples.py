"""Rows to learn from: what was asked, what was known then, and what came out."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from forecastle.features.recency import GroupOutcomes, History, KnownOutcomes
from forecastle.records.outcomes import Case, Known
from forecastle.registry.declaration import ModelType, Scorer, resolve

ESTIMATE = "estimate_hours"
"""The field of a request that holds a person's estimate, where a model type has one."""


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
    """A row with its features as one view sees it, and its project's history to look up what was known."""

    features: Any
    history: History
    group_keys: Mapping[str, object]

    @property
    def known(self) -> Known:
        """What was known when the row was asked; put together anew at every look, so that nothing is held for long."""
        return self.history.at(self.asked_at, self.group_keys)


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


def histories_of(model_type: ModelType, rows: Iterable[Row]) -> dict[str, History]:
    """What was known of each cluster at any moment."""
    by_cluster: dict[str, list[Row]] = {}
    for row in rows:
        by_cluster.setdefault(row.cluster, []).append(row)
    return {cluster: _history(model_type, found) for cluster, found in by_cluster.items()}


def _history(model_type: ModelType, rows: Sequence[Row]) -> History:
    members: dict[tuple[str, object], list[Row]] = {}
    for row in rows:
        for name, key in model_type.group_keys(row.request).items():
            members.setdefault((name, key), []).append(row)
    cases = [Case(row.key, str(row.request.get("title") or ""), row.target) for row in rows]
    return History(
        KnownOutcomes(*_columns(rows), cases if model_type.looks_at_cases else ()),
        {group: GroupOutcomes(*_columns(found)) for group, found in members.items()},
    )


def _columns(rows: Sequence[Row]) -> tuple[list[float], list[float], list[float]]:
    """When each became known, what came out, and what somebody had estimated."""
    estimates = [float(row.request.get(ESTIMATE) or math.nan) for row in rows]
    return [row.known_at for row in rows], [row.target for row in rows], estimates


@dataclass(frozen=True)
class Extracted:
    """Rows in order of time, and the examples that each view makes of those it sees."""

    rows: tuple[Row, ...]
    views: Mapping[str, Examples]

    def __len__(self) -> int:
        return len(self.rows)

    def known_by(self, cut: float) -> Extracted:
        """What was asked before the cut and whose outcome was known by then."""
        rows = tuple(row for row in self.rows if row.asked_at < cut and row.known_at <= cut)
        return Extracted(rows, {name: examples.known_by(cut) for name, examples in self.views.items()})


def extract_all(model_type: ModelType, rows: Iterable[Row]) -> Extracted:
    """Extract every row once a view, knowing only what was known when it was asked."""
    ordered = tuple(sorted(rows, key=lambda row: row.asked_at))
    histories, scorer = histories_of(model_type, ordered), resolve(model_type.scorer)
    views = {
        view: Examples(
            _example(model_type, scorer, row, histories[row.cluster], view)
            for row in ordered
            if sees(model_type, view, row.request)
        )
        for view in model_type.views
    }
    return Extracted(ordered, views)


def _example(model_type: ModelType, scorer: Scorer, row: Row, history: History, view: str) -> Example:
    request = model_type.masked(view, row.request)
    keys = model_type.group_keys(request)
    features = scorer.extract(request, row.cluster, history.at(row.asked_at, keys))
    return Example(
        row.key, row.cluster, row.asked_at, row.known_at, row.target, request, features, history, keys
    )  # fmt: skip


def sees(model_type: ModelType, view: str, request: Mapping[str, Any]) -> bool:
    """Whether a request has what the view needs; the last view needs nothing."""
    field = model_type.views[view]
    return field is None or request.get(field) is not None
