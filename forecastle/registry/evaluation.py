"""How good is a model type on data that nobody has seen? Walk through time as the product would have.

At every refit the training that the product runs makes a version from what was known by then; until the next
refit that version answers every row, through the model type's own `answer_many`, knowing only what was known.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from forecastle.errors import ForecastleError, NotEnoughDataError
from forecastle.features.recency import KnownOutcomes
from forecastle.monitoring.comparison import Comparison, compare_over_time, holm
from forecastle.monitoring.coverage import Coverage, coverage
from forecastle.records.outcomes import Outcomes
from forecastle.registry.answering import Context
from forecastle.registry.baselines import BASELINES
from forecastle.registry.declaration import ModelType, resolve
from forecastle.registry.examples import Example, Row, history_of, make_examples
from forecastle.registry.predictor import Predictor
from forecastle.registry.training import fit

Floats = NDArray[np.float64]

FIRST_ROWS = 50
"""The first rows of each cluster are answered but not scored."""

REFITS = (0.01, 0.025, *(step / 20 for step in range(1, 20)))
"""Shares of all rows after which a new version is trained."""


@dataclass(frozen=True)
class WalkedHistory:
    """The history reader of a walk: what was known of each cluster at a moment of the past."""

    known: Mapping[str, KnownOutcomes]

    def outcomes(self, projects: Sequence[str], moment: Any) -> Mapping[str, tuple[str, Outcomes]]:
        return {name: (name, self.known[name].at(moment)) for name in projects if name in self.known}


@dataclass(frozen=True)
class ScoredRow:
    """One scored row: the truth, what was served, and what each baseline would have said."""

    cluster: str
    truth: float
    value: float
    low: float
    high: float
    method: str
    baselines: Mapping[str, float]
    known: int
    """How many outcomes of the cluster were known."""


@dataclass(frozen=True)
class ClusterResult:
    """Mean absolute error of what was served and of each baseline on the same rows, beside the best of them.

    `p_worse` is corrected for the number of clusters (Holm); `served_by` holds the share of rows by method.
    """

    cluster: str
    rows: int
    served: float
    baselines: Mapping[str, float]
    best_baseline: str
    against_best: Comparison
    p_worse: float
    coverage: Coverage
    rank_correlation: float
    served_by: Mapping[str, float]

    @property
    def clearly_worse(self) -> bool:
        return self.p_worse < 0.05


@dataclass(frozen=True)
class Evaluation:
    """`without_baseline` rows were answered and are not scored: nothing was known of their cluster yet."""

    model_type: str
    refits: int
    without_baseline: int
    clusters: tuple[ClusterResult, ...]

    def macro(self, of: Callable[[ClusterResult], float]) -> float:
        """The mean over clusters."""
        return float(np.mean([of(result) for result in self.clusters])) if self.clusters else math.nan


def evaluate(
    model_type: ModelType,
    rows: Sequence[Row],
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> Evaluation:
    """Walk through `rows`; every row after a cluster's first FIRST_ROWS is scored."""
    examples = make_examples(rows, resolve(model_type.scorer))
    history = WalkedHistory(history_of(rows))
    predictor = Predictor.of(model_type, None)
    refits = unknown = 0
    seen: dict[str, int] = {}
    answered: list[ScoredRow] = []
    cuts = [-math.inf, *sorted({examples.cut_at(share) for share in REFITS}), math.inf] if rows else []
    for start, end in pairwise(cuts):
        known = examples.known_by(start)
        if len(known) >= model_type.least_rows:
            with suppress(NotEnoughDataError):  # as in the product: what serves goes on serving
                predictor = Predictor.of(model_type, fit(model_type, known).bundle)
                refits += 1
        for example in examples.asked_between(start, end):
            seen[example.cluster] = seen.get(example.cluster, 0) + 1
            if seen[example.cluster] > FIRST_ROWS:
                unknown += not example.outcomes.count
                answered.append(_answer(model_type, predictor, history, example))
        on_progress(sum(seen.values()), len(rows))
    comparable = [row for row in answered if row.known]
    return Evaluation(model_type.name, refits, unknown, tuple(_results(comparable, list(model_type.baselines))))


def _answer(model_type: ModelType, predictor: Predictor, history: WalkedHistory, example: Example) -> ScoredRow:
    request = model_type.request_type().model_validate({**example.request, "project_id": example.cluster})
    context = Context(lambda cluster: predictor, history, example.asked_at)
    (answer,) = resolve(model_type.answer_many)([request], context)
    if isinstance(answer, ForecastleError):
        raise answer
    return ScoredRow(
        cluster=example.cluster,
        truth=example.target,
        value=answer.prediction.settled.value,
        low=answer.prediction.low,
        high=answer.prediction.high,
        method=answer.prediction.rule,
        baselines={name: BASELINES[name](example.outcomes) for name in model_type.baselines},
        known=example.outcomes.count,
    )


def _results(answered: Sequence[ScoredRow], baselines: Sequence[str]) -> list[ClusterResult]:
    by_cluster: dict[str, list[ScoredRow]] = {}
    for row in answered:
        by_cluster.setdefault(row.cluster, []).append(row)
    results = [_result(cluster, rows, baselines) for cluster, rows in sorted(by_cluster.items())]
    corrected = holm([result.p_worse for result in results])
    return [
        ClusterResult(**{**result.__dict__, "p_worse": p_worse})
        for result, p_worse in zip(results, corrected, strict=True)
    ]


def _result(cluster: str, rows: Sequence[ScoredRow], baselines: Sequence[str]) -> ClusterResult:
    truths = np.array([row.truth for row in rows])
    served = np.array([row.value for row in rows])
    losses = {name: np.abs(np.array([row.baselines[name] for row in rows]) - truths) for name in baselines}
    best = min(losses, key=lambda name: float(losses[name].mean()))
    against_best = compare_over_time(np.abs(served - truths), losses[best])
    return ClusterResult(
        cluster=cluster,
        rows=len(rows),
        served=float(np.mean(np.abs(served - truths))),
        baselines={name: float(loss.mean()) for name, loss in losses.items()},
        best_baseline=best,
        against_best=against_best,
        p_worse=against_best.p_worse,
        coverage=coverage(truths, np.array([row.low for row in rows]), np.array([row.high for row in rows])),
        rank_correlation=_rank_correlation(served, truths),
        served_by={
            method: sum(row.method == method for row in rows) / len(rows)
            for method in sorted({row.method for row in rows})
        },
    )


def _rank_correlation(served: Floats, truths: Floats) -> float:
    from scipy.stats import spearmanr

    if len(served) < 3 or np.ptp(served) == 0 or np.ptp(truths) == 0:
        return math.nan
    return float(spearmanr(served, truths).statistic)
