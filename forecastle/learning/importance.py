"""What a fitted form looks at most, for people who review it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from forecastle.learning.forms import (
    LABEL_WEIGHT,
    NUMBER_WEIGHT,
    ForestForm,
    Form,
    LadderForm,
    LinearForm,
    is_own,
)


@dataclass(frozen=True)
class Importance:
    """What one part of a candidate looks at: `values` by name, the largest first, and what these are."""

    part: str
    measure: str
    explanation: str
    values: Mapping[str, float]


def importance_of(part: str, form: Form) -> Importance:
    """Empty for a form that weighs nothing.

    Words are shown as they are: the vocabulary holds none that stands in fewer than LEAST_DOCUMENTS issues. Labels may
    be people's names: only their fields are shown. What a project has of its own is left out.
    """
    if isinstance(form, LadderForm):
        return importance_of(part, form.part)
    if isinstance(form, LinearForm):
        return Importance(part, "weight", WEIGHTS, _ordered(_coefficients(form)))
    if isinstance(form, ForestForm):
        return Importance(part, "splits", SPLITS, _ordered(_splits(form)))
    return Importance(part, "", "It weighs neither numbers nor words.", {})


WEIGHTS = (
    "The largest coefficients that all projects share: how far the answer's logarithm moves, in spreads, where a "
    "number is one standard deviation higher, or a text is nothing but this word. Of labels, which may be people's "
    "names, only the largest of each field is shown."
)
SPLITS = "How often the trees ask for each number; numbers that say the same share their splits."


def _coefficients(form: LinearForm) -> dict[str, float]:
    """By a number that is one standard deviation higher, by a text that is nothing but the word."""
    numbers = {name: form.weights.get(name, 0.0) * NUMBER_WEIGHT for name in form.numbers.scaling}
    words = {
        f"{where}: {word}": form.weights.get(f"{where[0]}:{word}", 0.0)
        for where, dictionary in (("title", form.numbers.title), ("description", form.numbers.description))
        for word in dictionary.idf
    }
    return {**numbers, **words, **_label_fields(form)}


def _label_fields(form: LinearForm) -> dict[str, float]:
    """The largest weight among the labels of each field."""
    largest: dict[str, float] = {}
    for name, weight in form.weights.items():
        if name.startswith("l:") and is_own(name):
            field = f"label: {name[2:].partition('=')[0]} (largest)"
            largest[field] = max(largest.get(field, 0.0), weight * LABEL_WEIGHT, key=abs)
    return largest


def _splits(form: ForestForm) -> dict[str, float]:
    """How often the trees ask for each number."""
    asked = Counter(form.names[feature] for tree in form.trees for feature in tree.feature if feature >= 0)
    return {name: float(count) for name, count in asked.items()}


def _ordered(values: Mapping[str, float]) -> dict[str, float]:
    return dict(sorted(((n, v) for n, v in values.items() if v), key=lambda item: (-abs(item[1]), item[0])))
