"""Rows to learn from: what was asked, what was known then, and what came out."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from forecastle.features.recency import GroupOutcomes, History, KnownOutcomes
from forecastle.records.outcomes import Case, Known
from forecastle.registry.declaration import ESTIMATE, ModelType, Scorer, resolve


class Edit(NamedTuple):
    """Fields of an issue that look different from a position in time on; None where nothing is left."""

    since: float
    fields: Mapping[str, Any]


class Look(NamedTuple):
    """What an issue says from one position in time up to, and without, another."""

    since: float
    until: float
    request: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Row:
    """What was asked, and what came out; `asked_at` and `known_at` are positions on one axis of time.

    `edits` say how the issue looked to later ones, from `known_at` on, where that differs from what was asked.
    """

    key: str
    cluster: str
    asked_at: float
    known_at: float
    target: float
    request: Mapping[str, Any]
    edits: tuple[Edit, ...] = field(default=(), kw_only=True)

    @property
    def looks(self) -> list[Look]:
        """How the issue looked to later ones, one after the other."""
        looks = [Look(self.known_at, math.inf, self.request)]
        for edit in self.edits:
            before = looks.pop()
            if before.since < edit.since:
                looks.append(before._replace(until=edit.since))
            looks.append(Look(edit.since, math.inf, {**before.request, **edit.fields}))
        return looks


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
    """What was known of each cluster at any moment; outcomes known at the same one stand in the order of `rows`."""
    by_cluster: dict[str, list[Row]] = {}
    for row in rows:
        by_cluster.setdefault(row.cluster, []).append(row)
    return {cluster: _history(model_type, found) for cluster, found in by_cluster.items()}


def _history(model_type: ModelType, rows: Sequence[Row]) -> History:
    members: dict[tuple[str, object], list[tuple[Row, Look]]] = {}
    looks = [row.looks for row in rows]
    for row, each in zip(rows, looks, strict=True):
        for look in each:
            for group in model_type.group_keys(look.request).items():
                members.setdefault(group, []).append((row, look))
    project = KnownOutcomes(
        [row.known_at for row in rows],
        [row.target for row in rows],
        [_estimate(first.request) for first, *_ in looks] if model_type.has_estimates else (),
        [_case(row, first) for row, (first, *_) in zip(rows, looks, strict=True)] if model_type.looks_at_cases else (),
        {
            place: [(look.since, _estimate(look.request), _case(rows[place], look)) for look in later]
            for place, (_, *later) in enumerate(looks)
            if later
        },
    )
    return History(project, {group: _group(model_type, found) for group, found in members.items()})


def _group(model_type: ModelType, members: Sequence[tuple[Row, Look]]) -> GroupOutcomes:
    return GroupOutcomes(
        [row.known_at for row, _ in members],
        [row.target for row, _ in members],
        [_estimate(look.request) for _, look in members] if model_type.has_estimates else (),
        [(look.since, look.until) for _, look in members],
    )


def _estimate(request: Mapping[str, Any]) -> float:
    return float(request.get(ESTIMATE) or math.nan)


def _case(row: Row, look: Look) -> Case:
    return Case(row.key, str(look.request.get("title") or ""), row.target)


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
    rows = tuple(rows)
    ordered = tuple(sorted(rows, key=lambda row: row.asked_at))
    histories, scorer = histories_of(model_type, rows), resolve(model_type.scorer)
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
    needed = model_type.views[view]
    return needed is None or request.get(needed) is not None
