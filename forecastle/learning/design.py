"""What all candidates of a training look at, computed once: numbers as a matrix, words and labels as a sparse one."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from forecastle.features.issues import IssueFeatures
from forecastle.features.text import TfidfDictionary
from forecastle.learning.forms import NamedNumbers, is_own

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

LEAST_DOCUMENTS = 3
MOST_WORDS = 5_000


@dataclass(frozen=True, eq=False)
class Space:
    """The columns that a linear model has: every name that all projects share, then each project's own.

    Column p stands for `names[p]`, column (c + 1) · len(names) + p for the same in project `clusters[c]`. Only columns
    that were `used` in training are kept.
    """

    numbers: NamedNumbers
    names: Sequence[str]
    clusters: Sequence[str]
    used: Integers

    @classmethod
    def learn(cls, issues: Sequence[IssueFeatures]) -> Space:
        numbers = _learn_numbers(issues)
        names, clusters = numbers.names(issues), sorted({issue.cluster for issue in issues})
        everything = cls(numbers, names, clusters, np.array([], dtype=np.int64))
        return cls(numbers, names, clusters, np.unique(everything.cells(issues)[1]))

    def name_of(self, column: int) -> str:
        """The name that a form knows this column by."""
        own, place = divmod(column, len(self.names))
        return f"{self.clusters[own - 1]}|{self.names[place]}" if own else self.names[place]

    def matrix(self, issues: Sequence[IssueFeatures]) -> csr_matrix:
        """Shape (rows, used columns)."""
        rows, columns, values = self.cells(issues)
        places = np.searchsorted(self.used, columns)
        known = self.used[np.minimum(places, len(self.used) - 1)] == columns
        return csr_matrix((values[known], (rows[known], places[known])), shape=(len(issues), len(self.used)))

    def cells(self, issues: Sequence[IssueFeatures]) -> tuple[Integers, Integers, Floats]:
        """Row, column and value of everything that is not 0."""
        places = {name: place for place, name in enumerate(self.names)}
        clusters = {cluster: number for number, cluster in enumerate(self.clusters)}
        rows, columns, own, values = array("q"), array("q"), array("q"), array("d")
        for row, issue in enumerate(issues):
            shift = len(places) * (clusters[issue.cluster] + 1) if issue.cluster in clusters else 0
            for name, value in self.numbers.shared(issue):
                if (place := places.get(name)) is not None:
                    rows.append(row)
                    columns.append(place)
                    own.append(place + shift if shift and is_own(name) else -1)
                    values.append(value)
        found = [np.frombuffer(part, dtype=np.int64) for part in (rows, columns, own)]
        numbers, mine = np.frombuffer(values), found[2] >= 0
        return (
            np.concatenate([found[0], found[0][mine]]),
            np.concatenate([found[1], found[2][mine]]),
            np.concatenate([numbers, numbers[mine]]),
        )


@dataclass(eq=False)
class Design:
    """The issues that are learned from or asked about."""

    issues: Sequence[IssueFeatures]
    _matrices: dict[int, tuple[Space, csr_matrix]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.issues)

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the numbers; all issues of a training have the same ones."""
        return self.issues[0].names

    @cached_property
    def numbers(self) -> Floats:
        """Shape (rows, names)."""
        return numbers_of(self.issues)

    @cached_property
    def weights(self) -> Floats:
        """How much each row counts, 1 on the average."""
        weights = np.array([issue.weight for issue in self.issues], dtype=float)
        return np.asarray(weights / weights.mean())

    @cached_property
    def space(self) -> Space:
        """The columns that these issues span."""
        return Space.learn(self.issues)

    def matrix(self, space: Space) -> csr_matrix:
        """The issues in a space, computed once a space."""
        if id(space) not in self._matrices:
            self._matrices[id(space)] = (space, space.matrix(self.issues))
        return self._matrices[id(space)][1]


def numbers_of(issues: Sequence[IssueFeatures]) -> Floats:
    matrix = np.empty((len(issues), len(issues[0].numbers)))
    for row, issue in enumerate(issues):
        matrix[row] = issue.numbers
    return matrix


def _learn_numbers(issues: Sequence[IssueFeatures]) -> NamedNumbers:
    """Vocabularies, and mean and deviation of every number as far as it is known."""
    scaling = {}
    for name, column in zip(issues[0].names, numbers_of(issues).T, strict=True):
        known = column[~np.isnan(column)]
        if len(known):
            deviation = float(known.std())
            scaling[name] = (float(known.mean()), deviation if deviation > 1e-9 else 1.0)
    return NamedNumbers(
        TfidfDictionary.learn((issue.title for issue in issues), LEAST_DOCUMENTS, MOST_WORDS),
        TfidfDictionary.learn((issue.description for issue in issues), LEAST_DOCUMENTS, MOST_WORDS),
        scaling,
    )
