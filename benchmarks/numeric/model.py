"""How ten numbers become an answer: the product's own forest, without text and without groups."""

from __future__ import annotations

import math
from array import array
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from forecastle.learning.forms import ForestForm
from forecastle.records.outcomes import Known

NAMES = tuple(f"x{place}" for place in range(10))


@dataclass(frozen=True, slots=True)
class NumericFeatures:
    names: tuple[str, ...]
    numbers: array[float]


@dataclass(frozen=True)
class NumericForm:
    """A forest that answers in the target's unit."""

    forest: ForestForm

    @property
    def tolerance(self) -> float:
        return self.forest.tolerance

    def estimate(self, features: NumericFeatures) -> float:
        return self.forest.total(features.names, features.numbers)

    def estimates(self, features: Sequence[NumericFeatures]) -> list[float]:
        return [self.estimate(each) for each in features]

    def as_json(self) -> dict[str, Any]:
        return self.forest.as_json()


@dataclass(frozen=True)
class Amount:
    """A number whose intervals reach as far to both sides."""

    value: float

    def interval(self, threshold: float) -> tuple[float, float]:
        return self.value - threshold, self.value + threshold

    def score(self, truth: float) -> float:
        return abs(truth - self.value)

    def confidence(self, share_within: Callable[[float], float]) -> float:
        return share_within(1.0)

    def is_hit(self, truth: float) -> bool:
        return self.score(truth) <= 1.0


class NumericScorer:
    def extract(self, request: Mapping[str, Any], cluster: str, known: Known) -> NumericFeatures:
        return NumericFeatures(NAMES, array("d", [request[name] for name in NAMES]))

    def pack(self, features: NumericFeatures) -> bytes:
        return features.numbers.tobytes()

    def unpack(self, content: bytes, request: Mapping[str, Any], cluster: str) -> NumericFeatures:
        return NumericFeatures(NAMES, array("d", content))

    def load(self, form: Mapping[str, Any]) -> NumericForm:
        return NumericForm(ForestForm.from_json(form))

    def settler(self, features: NumericFeatures, known: Known) -> Callable[[str, float], Amount]:
        return lambda method, estimate: Amount(0.0 if math.isnan(estimate) else estimate)


SCORER = NumericScorer()
