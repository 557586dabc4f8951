"""Many rows through many trees at once, in NumPy, for batches.

One row walks from the root to a leaf. Many rows are looked at the other way round: every comparison of the forest is
made once for all rows, and kept as one bit a row. Which rows reach a node is then a few operations on words of 64 rows,
and the leaf that a row reaches is a number whose bits are put together in the same way. No row is walked by itself.
"""

from __future__ import annotations

import math
import weakref
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import singledispatch

import numpy as np
from numpy.typing import NDArray

from forecastle.features.issues import IssueFeatures
from forecastle.learning.forms import (
    TEXT,
    ForestForm,
    Form,
    LadderForm,
    MeanForm,
    StackForm,
    Tree,
    value_at,
)

Floats = NDArray[np.float64]
Places = NDArray[np.intp]
Bits = NDArray[np.uint64]
"""Shape (things, words): a bit a row."""

ROWS = 1024
"""Rows that are looked at together; more of them leave the processor's cache."""


@dataclass(frozen=True, eq=False)
class _Level:
    """All nodes of one depth that ask something: where they stand, what they ask, and where rows go from there."""

    nodes: Places
    questions: Places
    left: Places
    right: Places


@dataclass(frozen=True, eq=False)
class _Questions:
    """Comparisons of one feature: is a number below these thresholds, ascending? `missing` is the answer of NaN."""

    feature: int
    thresholds: NDArray[np.floating]
    missing: NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Forest:
    """The trees of a form, taken apart: questions by feature, nodes by depth, leaves by tree."""

    questions: tuple[_Questions, ...]
    roots: Places
    nodes: int
    levels: tuple[_Level, ...]
    planes: tuple[tuple[Places, Places, Places], ...]
    """For each bit of a leaf's number: the leaves that have it, by tree, where each tree's begin, and those trees."""
    values: Floats
    """Shape (trees, most leaves of a tree)."""
    intercept: float
    kind: type[np.floating]
    """The precision in which numbers are compared."""

    @classmethod
    def of(cls, form: ForestForm) -> Forest:
        kind = np.float32 if form.single else np.float64
        starts = np.cumsum([0, *(len(tree.feature) for tree in form.trees)])
        questions, asked = _questions(form.trees, kind)
        leaves = [[node for node, feature in enumerate(tree.feature) if feature < 0] for tree in form.trees]
        values = np.zeros((len(form.trees), max((len(found) for found in leaves), default=1)))
        for tree, found, row in zip(form.trees, leaves, values, strict=True):
            row[: len(found)] = [tree.value[node] for node in found]
        return cls(
            questions,
            starts[:-1],
            int(starts[-1]),
            tuple(_levels(form.trees, starts, asked)),
            tuple(_planes(leaves, starts, values.shape[1])),
            values,
            form.intercept,
            kind,
        )

    def totals(self, numbers: Floats) -> Floats:
        """The forest's sum for each row; `numbers` has the shape (rows, names), NaN where something is not known."""
        blocks = [self._totals(numbers[start : start + ROWS]) for start in range(0, len(numbers), ROWS)]
        return np.concatenate(blocks) if blocks else np.empty(0)

    def _totals(self, numbers: Floats) -> Floats:
        leaves = self._leaves(self._answers(numbers.astype(self.kind)))[:, : len(numbers)]
        reached = leaves + np.arange(len(self.values))[:, np.newaxis] * self.values.shape[1]
        return np.asarray(self.intercept + self.values.ravel().take(reached).sum(axis=0))

    def _answers(self, numbers: NDArray[np.floating]) -> Bits:
        """The answer to every question; words are filled up with rows that do not count."""
        rows = len(numbers)
        columns = np.zeros((numbers.shape[1], -(-rows // 64) * 64), self.kind)
        columns[:, :rows] = numbers.T
        unknown = _packed(np.isnan(columns))
        answers = np.empty((sum(len(found.thresholds) for found in self.questions), columns.shape[1] // 64), np.uint64)
        start = 0
        for found in self.questions:
            part = answers[start : start + len(found.thresholds)]
            part[:] = _packed(columns[found.feature] < found.thresholds[:, np.newaxis])
            part[found.missing] |= unknown[found.feature]
            start += len(part)
        return answers

    def _leaves(self, answers: Bits) -> Places:
        """The number of the leaf that each row reaches, shape (trees, rows)."""
        words = answers.shape[1]
        reached = np.empty((self.nodes, words), np.uint64)
        reached[self.roots] = ~np.uint64(0)
        for level in self.levels:
            here = reached[level.nodes]
            goes_left = answers[level.questions]
            goes_left &= here
            reached[level.left] = goes_left
            here ^= goes_left
            reached[level.right] = here
        numbers = np.zeros((len(self.roots), words * 64), np.min_scalar_type(self.values.shape[1]))
        for bit, (leaves, begins, trees) in enumerate(self.planes):
            plane = np.zeros((len(self.roots), words), np.uint64)
            plane[trees] = np.bitwise_or.reduceat(reached[leaves], begins, axis=0)
            bits = np.unpackbits(plane.view(np.uint8), axis=1, bitorder="little").astype(numbers.dtype, copy=False)
            numbers |= bits << bit
        return numbers


def _packed(flags: NDArray[np.bool_]) -> Bits:
    return np.packbits(flags, axis=1, bitorder="little").view(np.uint64)


def _questions(trees: Sequence[Tree], kind: type[np.floating]) -> tuple[tuple[_Questions, ...], list[Places]]:
    """Every question that is asked anywhere, once; and for each tree the question of each node (-1 for a leaf)."""
    asked = [
        [
            (f, float(t), m) if f >= 0 else None
            for f, t, m in zip(tree.feature, tree.threshold, tree.missing_left, strict=True)
        ]
        for tree in trees
    ]
    known = sorted({question for tree in asked for question in tree if question is not None})
    places: dict[tuple[int, float, bool] | None, int] = {question: place for place, question in enumerate(known)}
    features = np.array([feature for feature, _, _ in known], np.intp)
    thresholds = np.array([threshold for _, threshold, _ in known], kind)
    missing = np.array([missing_left for _, _, missing_left in known], np.bool_)
    found = [(int(feature), features == feature) for feature in np.unique(features)]
    questions = tuple(_Questions(feature, thresholds[of_it], missing[of_it]) for feature, of_it in found)
    return questions, [np.array([places.get(question, -1) for question in tree], np.intp) for tree in asked]


def _levels(trees: Sequence[Tree], starts: Places, asked: Sequence[Places]) -> Iterator[_Level]:
    feature, left, right, question = (
        np.concatenate([np.asarray(part, np.intp) for part in parts])
        for parts in (
            [tree.feature for tree in trees],
            [np.add(tree.left, start) for tree, start in zip(trees, starts[:-1], strict=True)],
            [np.add(tree.right, start) for tree, start in zip(trees, starts[:-1], strict=True)],
            asked,
        )
    )
    nodes = starts[:-1]
    while len(nodes := nodes[feature[nodes] >= 0]):
        yield _Level(nodes, question[nodes], left[nodes], right[nodes])
        nodes = np.concatenate([left[nodes], right[nodes]])


def _planes(leaves: Sequence[Sequence[int]], starts: Places, most: int) -> Iterator[tuple[Places, Places, Places]]:
    for bit in range((most - 1).bit_length()):
        having = [[node for number, node in enumerate(found) if number >> bit & 1] for found in leaves]
        trees = [tree for tree, found in enumerate(having) if found]
        begins = np.cumsum([0, *(len(having[tree]) for tree in trees)])[:-1]
        nodes = [node + starts[tree] for tree in trees for node in having[tree]]
        yield np.array(nodes, np.intp), begins, np.array(trees, np.intp)


@singledispatch
def deviations(form: Form, issues: Sequence[IssueFeatures]) -> list[float]:
    """What `form.deviation` says of each issue, within the form's tolerance; trees are asked for all issues at once."""
    return [form.deviation(issue) for issue in issues]


@deviations.register
def _of_forest(form: ForestForm, issues: Sequence[IssueFeatures]) -> list[float]:
    return list(map(float, forest_of(form).totals(_matrix(form.names, issues))))


@deviations.register
def _of_stack(form: StackForm, issues: Sequence[IssueFeatures]) -> list[float]:
    numbers = _matrix(form.forest.names, issues)
    numbers[:, form.forest.names.index(TEXT)] = deviations(form.text, issues)
    return list(map(float, forest_of(form.forest).totals(numbers)))


@deviations.register
def _of_mean(form: MeanForm, issues: Sequence[IssueFeatures]) -> list[float]:
    parts = [deviations(part, issues) for part in form.parts]
    return [sum(found) / len(parts) for found in zip(*parts, strict=True)]


@deviations.register
def _of_ladder(form: LadderForm, issues: Sequence[IssueFeatures]) -> list[float]:
    pairs = zip(issues, deviations(form.part, issues), strict=True)
    return [value_at(issue.ladder, place) for issue, place in pairs]


def _matrix(names: tuple[str, ...], issues: Sequence[IssueFeatures]) -> Floats:
    """The numbers of these names, shape (issues, names); NaN for those that an issue does not have."""
    matrix = np.full((len(issues), len(names)), math.nan)
    by_names: dict[tuple[str, ...], list[int]] = {}
    own: tuple[str, ...] | None = None
    for row, issue in enumerate(issues):
        if issue.names is not own:  # issues share their names, and comparing them takes longer than all else here
            own = issue.names
            rows = by_names.setdefault(own, [])
        rows.append(row)
    for having, rows in by_names.items():
        numbers = np.frombuffer(b"".join(issues[row].numbers for row in rows)).reshape(len(rows), len(having))
        places = {name: place for place, name in enumerate(having)}
        known = [column for column, name in enumerate(names) if name in places]
        matrix[np.ix_(rows, known)] = numbers[:, [places[names[column]] for column in known]]
    return matrix


def forest_of(form: ForestForm) -> Forest:
    """The form's trees taken apart, which is done once and kept as long as the form is."""
    found = _FORESTS.get(id(form))
    if found is None:
        found = _FORESTS[id(form)] = Forest.of(form)
        weakref.finalize(form, _FORESTS.pop, id(form), None)
    return found


_FORESTS: dict[int, Forest] = {}
