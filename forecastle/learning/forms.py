"""What a fitted candidate is for the façade: plain numbers and plain Python, nothing to unpickle.

A form says by how many spreads an issue's outcome lies from the level that its features are taken relative to.
"""

from __future__ import annotations

import math
import struct
from array import array
from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, Protocol

from forecastle.features.issues import IssueFeatures
from forecastle.features.text import TfidfDictionary
from forecastle.learning.compiled import CompiledTrees

NUMBER_WEIGHT = 0.2  # standard deviation of a number beside text vectors of length 1
LABEL_WEIGHT = 0.5


EXACT = 1e-9  # both forms of a candidate add the same numbers, in another order
SINGLE = 1e-5  # the one for people adds in single precision
MANY = 32
"""For fewer issues than this, walking through the trees with each one is as fast."""


class Form(Protocol):
    kind: ClassVar[str]

    @property
    def tolerance(self) -> float:
        """By how much, relative, the candidate for people may answer otherwise."""
        ...

    def deviation(self, issue: IssueFeatures) -> float: ...

    def as_json(self) -> dict[str, Any]: ...


@dataclass(frozen=True)
class UnitForm:
    """A form that answers in the target's unit."""

    form: Form

    @property
    def tolerance(self) -> float:
        return self.form.tolerance

    def estimate(self, issue: IssueFeatures) -> float:
        """A positive number; it need not stand on any scale."""
        return issue.to_units(self.form.deviation(issue))

    def estimates(self, issues: Sequence[IssueFeatures]) -> list[float]:
        """What `estimate` says of each issue, within the tolerance; of many issues at once where there are many."""
        if len(issues) < MANY:
            return [self.estimate(issue) for issue in issues]
        from forecastle.learning.forests import deviations  # NumPy, which only batches need

        pairs = zip(issues, deviations(self.form, issues), strict=True)
        return [issue.to_units(deviation) for issue, deviation in pairs]

    def as_json(self) -> dict[str, Any]:
        return _tagged(self.form)


def load_form(content: Mapping[str, Any]) -> UnitForm:
    """The form that `as_json` wrote down. Raises KeyError, TypeError or ValueError for anything else."""
    return UnitForm(_load(content))


def _tagged(form: Form) -> dict[str, Any]:
    return {"kind": form.kind, **form.as_json()}


def _load(content: Mapping[str, Any]) -> Form:
    form: Form = _KINDS[content["kind"]].from_json(content)
    return form


@dataclass(frozen=True)
class NamedNumbers:
    """Turns an issue into named numbers: standardised ones, words and labels, and the latter two once more.

    The second set, its project's own, lets a project give a word a meaning of its own. Training and answering both read
    this. A number that is not known counts as its mean.
    """

    title: TfidfDictionary
    description: TfidfDictionary
    scaling: Mapping[str, tuple[float, float]]
    """Mean and standard deviation of each number."""

    def shared(self, issue: IssueFeatures) -> list[tuple[str, float]]:
        """What all projects share."""
        return self.scaled(issue) + self.words(issue)

    def scaled(self, issue: IssueFeatures) -> list[tuple[str, float]]:
        """The numbers that are known."""
        scaling, pairs = self.scaling, zip(issue.names, issue.numbers, strict=True)
        return [
            (name, (value - scaling[name][0]) / scaling[name][1] * NUMBER_WEIGHT)
            for name, value in pairs
            if value == value and name in scaling
        ]

    def words(self, issue: IssueFeatures) -> list[tuple[str, float]]:
        """Words and labels, of which a project has its own, too."""
        return [
            *[(f"t:{word}", weight) for word, weight in self.title.weigh(issue.title).items()],
            *[(f"d:{word}", weight) for word, weight in self.description.weigh(issue.description).items()],
            *[(f"l:{label}", LABEL_WEIGHT) for label in issue.labels],
        ]

    def names(self, issues: Iterable[IssueFeatures]) -> list[str]:
        """The names of everything that all projects share."""
        labels = sorted({label for issue in issues for label in issue.labels})
        words = [*(f"t:{word}" for word in self.title.idf), *(f"d:{word}" for word in self.description.idf)]
        return [*self.scaling, *words, *(f"l:{label}" for label in labels)]


def is_own(name: str) -> bool:
    """Whether a project has one of its own beside the one that all share: words and labels, not numbers."""
    return name[1:2] == ":"


@dataclass(frozen=True)
class LinearForm:
    """One weight per named number. Names that were not seen in training count nothing.

    What it says is kept within `lowest` and `highest`: a straight line goes on where nothing was ever seen.
    """

    kind: ClassVar[str] = "linear"
    numbers: NamedNumbers
    weights: Mapping[str, float]
    intercept: float
    lowest: float
    highest: float

    @property
    def tolerance(self) -> float:
        return EXACT

    def deviation(self, issue: IssueFeatures) -> float:
        weight_of, own = self.weights.get, f"{issue.cluster}|"
        terms = [weight_of(name, 0.0) * value for name, value in self.numbers.scaled(issue)]
        for name, value in self.numbers.words(issue):
            terms += (weight_of(name, 0.0) * value, weight_of(own + name, 0.0) * value)
        total = sum(terms)
        return min(max(self.intercept + total, self.lowest), self.highest)

    def as_json(self) -> dict[str, Any]:
        return {
            "title": dict(self.numbers.title.idf),
            "description": dict(self.numbers.description.idf),
            "scaling": {name: list(pair) for name, pair in self.numbers.scaling.items()},
            "weights": {name: weight for name, weight in self.weights.items() if weight},
            **{name: getattr(self, name) for name in ("intercept", "lowest", "highest")},
        }

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> LinearForm:
        scaling = {name: (float(pair[0]), float(pair[1])) for name, pair in content["scaling"].items()}
        numbers = NamedNumbers(TfidfDictionary(content["title"]), TfidfDictionary(content["description"]), scaling)
        bounds = (float(content[name]) for name in ("intercept", "lowest", "highest"))
        return cls(numbers, content["weights"], *bounds)


NODE_BYTES = 29
"""What a node takes in a packed tree: two numbers of 8 bytes, three of 4, and a byte for yes or no."""


def _part(start: int, kind: str) -> Any:
    """A sequence of a packed tree: so many bytes a node stand before it, and its numbers are of this kind."""
    end = start + struct.calcsize(kind)

    def read(tree: Tree) -> Any:
        nodes, packed = len(tree.packed) // NODE_BYTES, memoryview(tree.packed)
        return packed[start * nodes : end * nodes].cast(kind)  # type: ignore[call-overload]  # of one of its letters

    return property(read)


@dataclass(frozen=True, slots=True, init=False)
class Tree:
    """A decision tree as parallel sequences; node 0 is the root, and a leaf has the feature -1.

    A number below the node's threshold goes left, one that is not known goes where `missing_left` says. The sequences
    lie in one piece of memory: a worker holds hundreds of trees of each of its models, most of a few nodes.
    """

    packed: bytes

    threshold, value = _part(0, "d"), _part(8, "d")
    feature, left, right = _part(16, "i"), _part(20, "i"), _part(24, "i")
    missing_left = _part(28, "?")

    def __init__(
        self,
        feature: Sequence[int],
        threshold: Sequence[float],
        left: Sequence[int],
        right: Sequence[int],
        missing_left: Sequence[bool],
        value: Sequence[float],
    ) -> None:
        """Raises ValueError where the sequences differ in length, TypeError for what is no number."""
        reals, wholes = (threshold, value), (feature, left, right)
        if {len(part) for part in (*reals, *wholes)} != {len(missing_left)}:
            raise ValueError("every node of a tree has a feature, a threshold, two children and a value")
        packed = [array("d", part).tobytes() for part in reals] + [array("i", part).tobytes() for part in wholes]
        object.__setattr__(self, "packed", b"".join([*packed, bytes(map(bool, missing_left))]))


_SEQUENCES = ("feature", "threshold", "left", "right", "missing_left", "value")


@dataclass(frozen=True)
class ForestForm:
    """The sum of many trees over an issue's numbers; `single` where they were grown on single-precision numbers."""

    kind: ClassVar[str] = "forest"
    names: tuple[str, ...]
    trees: tuple[Tree, ...]
    intercept: float
    single: bool

    @property
    def tolerance(self) -> float:
        return SINGLE if self.single else EXACT

    def deviation(self, issue: IssueFeatures) -> float:
        return self.total(issue.names, issue.numbers)

    def total(self, names: tuple[str, ...], numbers: Sequence[float]) -> float:
        """The sum for numbers of these names; those that the trees look at and that are not there are not known."""
        if names != self.names:
            by_name = dict(zip(names, numbers, strict=True))
            numbers = [by_name.get(name, math.nan) for name in self.names]
        if self.single:
            numbers = struct.unpack(f"{len(numbers)}f", struct.pack(f"{len(numbers)}f", *numbers))
        return self.intercept + self._compiled.total(numbers)

    @cached_property
    def _compiled(self) -> CompiledTrees:
        return CompiledTrees(self.trees)

    def as_json(self) -> dict[str, Any]:
        return {
            "names": list(self.names),
            "trees": [{name: list(getattr(tree, name)) for name in _SEQUENCES} for tree in self.trees],
            "intercept": self.intercept,
            "single": self.single,
        }

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> ForestForm:
        trees = tuple(Tree(**tree) for tree in content["trees"])
        return cls(tuple(content["names"]), trees, float(content["intercept"]), bool(content["single"]))


@dataclass(frozen=True)
class StackForm:
    """Trees that look at what a linear form makes of the words, beside an issue's numbers."""

    kind: ClassVar[str] = "stack"
    text: LinearForm
    forest: ForestForm

    @property
    def tolerance(self) -> float:
        return max(self.text.tolerance, self.forest.tolerance)

    def deviation(self, issue: IssueFeatures) -> float:
        return self.forest.total((*issue.names, TEXT), (*issue.numbers, self.text.deviation(issue)))

    def as_json(self) -> dict[str, Any]:
        return {"text": self.text.as_json(), "forest": self.forest.as_json()}

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> StackForm:
        return cls(LinearForm.from_json(content["text"]), ForestForm.from_json(content["forest"]))


TEXT = "text"
"""The number that holds what a linear form said."""


@dataclass(frozen=True)
class MeanForm:
    """The mean of several forms."""

    kind: ClassVar[str] = "mean"
    parts: tuple[Form, ...]

    @property
    def tolerance(self) -> float:
        return max(part.tolerance for part in self.parts)

    def deviation(self, issue: IssueFeatures) -> float:
        return sum(part.deviation(issue) for part in self.parts) / len(self.parts)

    def as_json(self) -> dict[str, Any]:
        return {"parts": [_tagged(part) for part in self.parts]}

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> MeanForm:
        return cls(tuple(_load(part) for part in content["parts"]))


@dataclass(frozen=True)
class LadderForm:
    """Another form's prediction read as a place on the ladder of the project's own recent outcomes.

    The place is from 0 (below the lowest rung) to the number of rungs; where a project has no ladder yet, the level of
    everybody's outcomes answers, which is a deviation of 0.
    """

    kind: ClassVar[str] = "ladder"
    part: Form

    @property
    def tolerance(self) -> float:
        return self.part.tolerance

    def deviation(self, issue: IssueFeatures) -> float:
        return value_at(issue.ladder, self.part.deviation(issue))

    def as_json(self) -> dict[str, Any]:
        return {"part": _tagged(self.part)}

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> LadderForm:
        return cls(_load(content["part"]))


def place_on(ladder: Sequence[float], deviation: float) -> float:
    """Where a deviation stands: the number of rungs below it, those at its height counting half."""
    below = bisect_left(ladder, deviation)
    return below + (sum(rung == deviation for rung in ladder[below:]) / 2)


def value_at(ladder: Sequence[float], place: float) -> float:
    """The deviation at a place, straight lines between rungs; 0 without a ladder."""
    if not ladder:
        return 0.0
    position = min(max(place - 0.5, 0.0), len(ladder) - 1.0)
    lower = math.floor(position)
    upper = min(lower + 1, len(ladder) - 1)
    return ladder[lower] + (position - lower) * (ladder[upper] - ladder[lower])


@dataclass(frozen=True)
class ShrinkageForm:
    """A project's level shrunk towards everybody's, and the level of the issue's groups shrunk towards the project's.

    With n known outcomes a level counts n / (n + rows) itself: the estimate of a normal mean with a normal prior.
    """

    kind: ClassVar[str] = "shrinkage"
    centre: float
    """The mean logarithm of everybody's outcomes."""
    rows: float
    groups: tuple[str, ...]

    @property
    def tolerance(self) -> float:
        return EXACT

    def deviation(self, issue: IssueFeatures) -> float:
        numbers = dict(zip(issue.names, issue.numbers, strict=True))
        level, known = issue.levels.centre, math.expm1(numbers["count"])
        level += (self.centre - level) * self.rows / (known + self.rows)
        for group in self.groups:
            count = math.expm1(numbers.get(f"{group}.count", 0.0))
            if count:
                level += (numbers[f"{group}.mean"] + issue.centre - level) * count / (count + self.rows)
        return (level - issue.centre) / issue.spread

    def as_json(self) -> dict[str, Any]:
        return {"centre": self.centre, "rows": self.rows, "groups": list(self.groups)}

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> ShrinkageForm:
        return cls(float(content["centre"]), float(content["rows"]), tuple(content["groups"]))


_KINDS: dict[str, Any] = {
    form.kind: form for form in (LinearForm, ForestForm, StackForm, MeanForm, LadderForm, ShrinkageForm)
}
