"""What a model type declares about itself, and the shapes of its parts.

A folder below `projects/` holds one `MODEL_TYPE`; `projects.discover()` finds them all. Parts that are heavy to
import stand as dotted names `package.module:attribute` and are resolved where they are needed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Literal, Protocol

from pydantic import BaseModel

from forecastle.monitoring.policies import GatePolicy, RetrainingPolicy
from forecastle.records.outcomes import Outcomes

Family = Literal["delivery", "reliability"]
Task = Literal["regression"]


@dataclass(frozen=True)
class ModelType:
    """One question that Forecastle answers, in the order in which a reader asks about it."""

    name: str
    """`family.folder`; also the registered model and the experiment."""
    family: Family
    summary: str
    task: Task
    dataset: str
    """Which records it learns from; `expectations/<dataset>.json` is their suite."""
    target: str
    """The record's field that holds the outcome, with its unit in the name where it has one."""
    split_unit: str
    """What may not straddle a cut in time."""
    cluster: str
    """What variance is computed over."""
    known_at: str
    """When a row's outcome was known."""
    known_field: str
    """The record's field that holds that moment, for rows with dates."""
    route: str
    """Its public address below the façade."""
    request: str
    answer: str
    answer_many: str
    scorer: str
    """What answers: light to import."""
    trainer: str
    """What learns: heavy to import, and never loaded by the façade."""
    feature_modules: tuple[str, ...]
    """Modules beside `forecastle.features` whose code turns records into numbers."""
    baselines: Mapping[str, float]
    """The baselines, the reference first, and how much worse than it each is taken to be before any evidence."""
    metrics: tuple[str, ...]
    coverage_target: float
    least_rows: int
    """Fewer usable rows than this are not trained on."""
    gate: GatePolicy
    retraining: RetrainingPolicy
    requires: tuple[str, ...] = ()
    """Model types whose answers it combines."""

    def request_type(self) -> type[BaseModel]:
        found: type[BaseModel] = resolve(self.request)
        return found

    def answer_type(self) -> type[BaseModel]:
        found: type[BaseModel] = resolve(self.answer)
        return found


def resolve(dotted: str) -> Any:
    """The object behind `package.module:attribute`."""
    module, _, attribute = dotted.partition(":")
    return getattr(import_module(module), attribute)


class Settled(Protocol):
    """An answer's number, on the scale of the question, and the intervals around it."""

    @property
    def value(self) -> float: ...

    def interval(self, threshold: float) -> tuple[float, float]:
        """The interval that holds every outcome of at most this score."""
        ...

    def score(self, truth: float) -> float:
        """The least threshold whose interval holds `truth`; infinite where none does."""
        ...


class FastForm(Protocol):
    """A fitted candidate in plain Python."""

    def estimate(self, features: Any) -> float: ...

    def as_json(self) -> dict[str, Any]: ...


class Estimator(Protocol):
    """A fitted candidate for people, in an MLflow flavour."""

    def predict(self, features: Any) -> Any: ...

    def fast_form(self) -> FastForm: ...


class Scorer(Protocol):
    """The part of a model type that turns what was asked into a number on the question's scale."""

    def extract(self, request: Mapping[str, Any], cluster: str, outcomes: Outcomes) -> Any:
        """Numbers from a request and from what was known of its cluster; nothing else is ever looked at."""
        ...

    def load(self, form: Mapping[str, Any]) -> FastForm: ...

    def settle(self, method: str, estimate: float, features: Any, outcomes: Outcomes) -> Settled: ...


class Trainer(Protocol):
    """The part of a model type that learns from examples."""

    candidates: tuple[str, ...]

    trusted_types: tuple[str, ...]
    """Classes of ours that the file of an estimator holds."""

    def fit(self, candidate: str, features: Sequence[Any], targets: Sequence[float]) -> Estimator: ...

    def example_table(self, examples: Sequence[Any]) -> Any:
        """A table for the estimator's `predict`, with the rows of these examples."""
        ...


class HistoryReader(Protocol):
    """Reads what was known at a moment, for many projects in one round trip."""

    def outcomes(self, projects: Sequence[str], moment: Any) -> Mapping[str, tuple[str, Outcomes]]:
        """The project's own id and its known outcomes, by the id or key asked for; unknown projects are absent."""
        ...
