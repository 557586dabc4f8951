"""How good a fitted version is: every method on identical held-back rows, with intervals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from forecastle.monitoring.coverage import Coverage, coverage
from forecastle.monitoring.metrics import METRICS, Estimate, absolute_errors, difference_over_time, mean_over_time
from forecastle.registry.declaration import ModelType
from forecastle.registry.examples import Example
from forecastle.registry.predictor import Prediction, Predictor
from forecastle.registry.training import SERVED, Fitted, FittedView

Floats = NDArray[np.float64]
Role = Literal["served", "candidate", "baseline"]


@dataclass(frozen=True)
class MethodResult:
    """One method on the rows; `relative` is its difference to the reference baseline's error, over that error."""

    name: str
    role: Role
    metrics: Mapping[str, Estimate]
    relative: Estimate
    by_project: Mapping[str, Estimate]
    """The mean absolute error in each project."""

    @property
    def mae(self) -> Estimate:
        return self.metrics["mae"]


@dataclass(frozen=True)
class Results:
    """Held-back rows in order of time with what was answered, and every method on them, what is served first."""

    rows: Sequence[Example]
    answers: Sequence[Prediction]
    methods: Sequence[MethodResult]
    coverage: Coverage
    against_best: Estimate
    """The relative difference of what is served to the best baseline, which the same rows chose."""
    rows_by_project: Mapping[str, int]
    losses: Mapping[str, Floats] = field(repr=False)

    @property
    def served(self) -> MethodResult:
        return self.methods[0]

    @property
    def reference(self) -> MethodResult:
        return next(method for method in self.methods if method.role == "baseline")

    @property
    def best_baseline(self) -> MethodResult:
        return min((m for m in self.methods if m.role == "baseline"), key=lambda method: method.mae.value)

    @property
    def by_model(self) -> float:
        return float(np.mean([answer.method == "ml_model" for answer in self.answers]))

    @property
    def outcomes(self) -> Floats:
        return np.array([row.target for row in self.rows], dtype=float)

    @property
    def served_values(self) -> Floats:
        return np.array([answer.settled.value for answer in self.answers], dtype=float)


def overall_results(model_type: ModelType, fitted: Fitted) -> Results:
    """Every held-back row as it would have been answered."""
    methods = {name: values for name, values in fitted.values.items() if name != SERVED}
    return _results(model_type, fitted.held_back, fitted.answers, methods)


def view_results(model_type: ModelType, fitted: Fitted) -> dict[str, Results]:
    """By view, every held-back row that has what the view needs, asked without what the view does not see."""
    predictor = Predictor.of(model_type, fitted.bundle)
    return {name: _view_results(model_type, predictor, name, view) for name, view in fitted.views.items()}


def _view_results(model_type: ModelType, predictor: Predictor, name: str, view: FittedView) -> Results:
    answers = [predictor.predict_extracted(name, row.cluster, row.features, row.known) for row in view.held_back]
    return _results(model_type, view.held_back, answers, view.values)


def _results(
    model_type: ModelType, rows: Sequence[Example], answers: Sequence[Prediction], methods: Mapping[str, Floats]
) -> Results:
    outcomes = np.array([row.target for row in rows], dtype=float)
    served = np.array([answer.settled.value for answer in answers], dtype=float)
    values = {SERVED: served} | dict(sorted(methods.items(), key=lambda item: _role(model_type, item[0]) == "baseline"))
    losses = {name: absolute_errors(found, outcomes) for name, found in values.items()}
    reference = losses[next(iter(model_type.baselines))]
    clusters = np.array([row.cluster for row in rows], dtype=str)
    projects = {name: clusters == name for name in sorted(set(clusters.tolist()))}
    found = [
        MethodResult(
            name=name,
            role=_role(model_type, name),
            metrics={m: METRICS[m].measure(values[name], outcomes) for m in model_type.metrics},
            relative=difference_over_time(losses[name], reference),
            by_project={project: mean_over_time(losses[name][chosen]) for project, chosen in projects.items()},
        )
        for name in values
    ]
    best = min((method for method in found if method.role == "baseline"), key=lambda method: method.mae.value)
    lows, highs = (np.array([getattr(answer, end) for answer in answers], dtype=float) for end in ("low", "high"))
    return Results(
        rows=rows,
        answers=answers,
        methods=found,
        coverage=coverage(outcomes, lows, highs),
        against_best=difference_over_time(losses[SERVED], losses[best.name]),
        rows_by_project={project: int(chosen.sum()) for project, chosen in projects.items()},
        losses=losses,
    )


def _role(model_type: ModelType, method: str) -> Role:
    if method == SERVED:
        return "served"
    return "baseline" if method in model_type.baselines else "candidate"
