"""What a model type declares about itself, and the shapes of its parts.

A folder below `projects/` holds one `MODEL_TYPE`; `projects.discover()` finds them all. Parts that are heavy to
import stand as dotted names `package.module:attribute` and are resolved where they are needed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib import import_module
from itertools import chain
from typing import Any, Literal, Protocol

from pydantic import BaseModel

from forecastle.monitoring.policies import GatePolicy, RetrainingPolicy
from forecastle.records.outcomes import Known

Family = Literal["delivery", "reliability"]
Task = Literal["regression"]

ESTIMATE = "estimate_hours"
"""The field of a request that holds a person's estimate, where a model type has one."""


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
    groups: Mapping[str, tuple[str, ...]]
    """Issues of a project that are looked at together: those that share these fields of the request.

    An issue with a known outcome counts as it looks at the moment of asking, its edits up to then included: who
    completed it is known after its completion, although nobody knew at its creation. Its estimate and its title count
    in the same way. An edit of an issue without dates has no place in time, and is known once the outcome is.
    """
    looks_at_cases: bool
    """Whether the project's latest completed issues are looked at one by one."""
    views: Mapping[str, str | None]
    """What is learned apart: each view answers requests that have its field, the last one (None) all others."""
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

    def group_keys(self, request: Mapping[str, Any]) -> dict[str, tuple[Any, ...]]:
        """What an issue must share with this request to be in each group that the request says something of."""
        keys = {name: tuple([request.get(field) for field in fields]) for name, fields in self.groups.items()}
        return {name: key for name, key in keys.items() if None not in key and "" not in key}

    @property
    def looked_at_later(self) -> frozenset[str]:
        """The fields of a completed issue that later ones may be held against."""
        return frozenset(chain(*self.groups.values(), (ESTIMATE, "title")))

    @property
    def has_estimates(self) -> bool:
        """Whether a request may carry what a person estimates of the target."""
        return ESTIMATE in self.request_type().model_fields

    def masked(self, view: str, request: Mapping[str, Any]) -> Mapping[str, Any]:
        """The request as this view sees it: without the fields that have a view before it."""
        masked = self._masked_fields[view]
        return {name: value for name, value in request.items() if name not in masked} if masked else request

    @cached_property
    def _masked_fields(self) -> Mapping[str, frozenset[str]]:
        """By view, the fields that have a view before it."""
        fields = list(self.views.values())
        return {view: frozenset(filter(None, fields[:place])) for place, view in enumerate(self.views)}

    @cached_property
    def answering(self) -> Callable[..., Any]:
        """What answers many requests in a context."""
        found: Callable[..., Any] = resolve(self.answer_many)
        return found

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

    def confidence(self, share_within: Callable[[float], float]) -> float:
        """The probability of what the model type calls a hit.

        `share_within` is the share of earlier rows that had at most a score.
        """
        ...

    def is_hit(self, truth: float) -> bool:
        """Whether what `confidence` is the probability of came true."""
        ...


class FastForm(Protocol):
    """A fitted candidate in plain Python."""

    @property
    def tolerance(self) -> float:
        """By how much, relative, the candidate for people may answer otherwise."""
        ...

    def estimate(self, issue: Any) -> float: ...

    def estimates(self, issues: Sequence[Any]) -> list[float]:
        """What `estimate` says of each, within the tolerance."""
        ...

    def as_json(self) -> dict[str, Any]: ...


class Estimator(Protocol):
    """A candidate for people, in an MLflow flavour; predicts for features or for their table."""

    def fit(self, issues: Any, targets: Any) -> Any: ...

    def predict(self, issues: Any) -> Any: ...

    def fast_form(self) -> FastForm: ...


Settler = Callable[[str, float], Settled]
"""What becomes of a method's estimate."""


class Scorer(Protocol):
    """The part of a model type that turns what was asked into a number on the question's scale."""

    def extract(self, request: Mapping[str, Any], cluster: str, known: Known) -> Any:
        """Numbers from a request and from what was known then; nothing else is ever looked at."""
        ...

    def pack(self, features: Any) -> bytes:
        """The numbers of features; text is none of them."""
        ...

    def unpack(self, content: bytes, request: Mapping[str, Any], cluster: str) -> Any:
        """The features that `pack` made these bytes of, with the text of the same request.

        Raises ValueError where they are of other features.
        """
        ...

    def load(self, form: Mapping[str, Any]) -> FastForm: ...

    def settler(self, features: Any, known: Known) -> Settler:
        """Settles the estimates of one issue; what all its methods need is found out once."""
        ...


Settings = Mapping[str, Any]


class Importance(Protocol):
    """What one part of a candidate looks at: numbers by name, the largest first, and what these are."""

    @property
    def part(self) -> str: ...

    @property
    def measure(self) -> str: ...

    @property
    def explanation(self) -> str: ...

    @property
    def values(self) -> Mapping[str, float]: ...


class Trainer(Protocol):
    """The part of a model type that learns from examples."""

    @property
    def candidates(self) -> Mapping[str, Sequence[Settings]]:
        """The candidates, and the settings that a search tries for each, the default first."""
        ...

    @property
    def blends(self) -> Mapping[str, Sequence[str]]:
        """Candidates that are the mean of others."""
        ...

    @property
    def trusted_types(self) -> Sequence[str]:
        """Classes of ours that the file of an estimator holds."""
        ...

    def prepare(self, features: Sequence[Any]) -> Any:
        """What estimators fit and predict: work that they share is done once."""
        ...

    def make(self, candidate: str, settings: Settings) -> Estimator:
        """The candidate, not yet fitted."""
        ...

    def blend(self, parts: Sequence[Estimator]) -> Estimator:
        """The mean of fitted candidates."""
        ...

    def table(self, features: Sequence[Any]) -> Any:
        """A table for the estimator's `predict`."""
        ...

    def importances(self, candidate: str, form: FastForm) -> Sequence[Importance]:
        """What the candidate looks at most, by the parts of a blend."""
        ...


class HistoryReader(Protocol):
    """Reads what was known at a moment, for many requests in one round trip."""

    def known(self, requests: Sequence[Mapping[str, Any]], moment: Any) -> Sequence[tuple[str, Known] | None]:
        """The id of each request's project (`project_id`: id or key) and what was known; None for unknown projects."""
        ...
