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
from forecastle.features.recency import History
from forecastle.monitoring.comparison import Comparison, compare_over_time, holm
from forecastle.monitoring.coverage import Coverage, coverage
from forecastle.records.outcomes import Known
from forecastle.registry.answering import Context
from forecastle.registry.baselines import baseline
from forecastle.registry.declaration import ModelType
from forecastle.registry.examples import Row, extract_all, histories_of
from forecastle.registry.predictor import Prediction, Predictor
from forecastle.registry.training import fit

Floats = NDArray[np.float64]

ALL = "all"
BINS = 10

FIRST_ROWS = 50
"""The first rows of each cluster are answered but not scored."""

REFITS = (0.01, 0.025, 0.05, 0.1, 0.2, 0.35, 0.5, 0.65, 0.8, 0.9)
"""Shares of all rows after which a new version is trained."""


@dataclass(frozen=True)
class WalkedHistory:
    """The history reader of a walk: what was known of each cluster at a moment of the past."""

    model_type: ModelType
    histories: Mapping[str, History]

    def known(self, requests: Sequence[Mapping[str, Any]], moment: Any) -> Sequence[tuple[str, Known] | None]:
        return [self._known(request, moment) for request in requests]

    def _known(self, request: Mapping[str, Any], moment: float) -> tuple[str, Known] | None:
        project = request["project_id"]
        if project not in self.histories:
            return None
        return project, self.histories[project].at(moment, self.model_type.group_keys(request))


@dataclass(frozen=True)
class ScoredRow:
    """One scored row: the truth, what was served, and what each baseline would have said."""

    cluster: str
    truth: float
    value: float
    estimate: float
    """What was estimated before it was settled; the value where nothing was."""
    low: float
    high: float
    confidence: float
    hit: bool
    """Whether what `confidence` is the probability of came true."""
    method: str
    baselines: Mapping[str, float]
    known: int
    """How many outcomes of the cluster were known."""


@dataclass(frozen=True)
class ClusterResult:
    """Mean absolute error of what was served and of each baseline on the same rows, beside the best of them.

    `p_worse` is corrected for the number of clusters (Holm); `served_by` holds the share of rows by method. `hits` is
    the share of rows where that came true which `confidence`, here its mean, is the probability of.
    """

    cluster: str
    rows: int
    served: float
    baselines: Mapping[str, float]
    within_2: float
    """The share of rows that were answered within a factor of two of the truth."""
    baselines_within_2: Mapping[str, float]
    hits: float
    confidence: float
    best_baseline: str
    against_best: Comparison
    p_worse: float
    coverage: Coverage
    rank_correlation: float
    estimate_rank_correlation: float
    """That of the estimates behind the answers, which tell issues apart that got the same answer."""
    served_by: Mapping[str, float]

    @property
    def clearly_worse(self) -> bool:
        return self.p_worse < 0.05


@dataclass(frozen=True)
class Bin:
    """Rows of similar confidence: how sure the answers were, and how often they were right."""

    rows: int
    confidence: float
    hits: float


@dataclass(frozen=True)
class Evaluation:
    """`without_baseline` rows were answered and are not scored: nothing was known of their cluster yet."""

    model_type: str
    refits: int
    without_baseline: int
    overall: ClusterResult | None
    """All rows together, None where none was scored."""
    clusters: tuple[ClusterResult, ...]
    reliability: tuple[Bin, ...]

    def macro(self, of: Callable[[ClusterResult], float]) -> float:
        """The mean over clusters."""
        return float(np.mean([of(result) for result in self.clusters])) if self.clusters else math.nan


def evaluate(
    model_type: ModelType,
    rows: Sequence[Row],
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> Evaluation:
    """Walk through `rows`; every row after a cluster's first FIRST_ROWS is scored."""
    extracted = extract_all(model_type, rows)
    examples = extracted.views[list(extracted.views)[-1]]  # the last view sees every row
    history = WalkedHistory(model_type, histories_of(model_type, rows))
    predictor = Predictor.of(model_type, None)
    refits = unknown = 0
    seen: dict[str, int] = {}
    answered: list[ScoredRow] = []
    cuts = [-math.inf, *sorted({examples.cut_at(share) for share in REFITS}), math.inf] if rows else []
    for start, end in pairwise(cuts):
        known = extracted.known_by(start)
        if len(known) >= model_type.least_rows:
            with suppress(NotEnoughDataError):  # as in the product: what serves goes on serving
                predictor = Predictor.of(model_type, fit(model_type, known).bundle)
                refits += 1
        for row in (row for row in extracted.rows if start <= row.asked_at < end):
            seen[row.cluster] = seen.get(row.cluster, 0) + 1
            if seen[row.cluster] > FIRST_ROWS:
                scored = _answer(model_type, predictor, history, row)
                unknown += not scored.known
                answered.append(scored)
        on_progress(sum(seen.values()), len(rows))
    comparable = [row for row in answered if row.known]
    names = list(model_type.baselines)
    overall = _result(ALL, comparable, names) if comparable else None
    clusters = tuple(_results(comparable, names))
    return Evaluation(model_type.name, refits, unknown, overall, clusters, _reliability(comparable))


def _answer(model_type: ModelType, predictor: Predictor, history: WalkedHistory, row: Row) -> ScoredRow:
    request = model_type.request_type().model_validate({**row.request, "project_id": row.cluster})
    context = Context(lambda cluster: predictor, history, row.asked_at)
    (answer,) = model_type.answering([request], context)
    if isinstance(answer, ForecastleError):
        raise answer
    found: Prediction = answer.prediction
    return ScoredRow(
        cluster=row.cluster,
        truth=row.target,
        value=found.settled.value,
        estimate=found.settled.value if math.isnan(found.estimate) else found.estimate,
        low=found.low,
        high=found.high,
        confidence=found.confidence,
        hit=found.settled.is_hit(row.target),
        method=found.rule,
        baselines={name: baseline(name, found.features, answer.known) for name in model_type.baselines},
        known=answer.known.project.count,
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
        within_2=_within_2(served, truths),
        baselines_within_2={
            name: _within_2(np.array([row.baselines[name] for row in rows]), truths) for name in baselines
        },
        hits=float(np.mean([row.hit for row in rows])),
        confidence=_mean([row.confidence for row in rows if _is_sure(row)]),
        best_baseline=best,
        against_best=against_best,
        p_worse=against_best.p_worse,
        coverage=coverage(truths, np.array([row.low for row in rows]), np.array([row.high for row in rows])),
        rank_correlation=_rank_correlation(served, truths),
        estimate_rank_correlation=_rank_correlation(np.array([row.estimate for row in rows]), truths),
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


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values) if values else math.nan


def _is_sure(row: ScoredRow) -> bool:
    """Whether an answer says how sure it is: the first ones of a walk come before anything was measured."""
    return not math.isnan(row.confidence)


def _within_2(answers: Floats, truths: Floats) -> float:
    return float(np.mean((answers <= 2 * truths) & (truths <= 2 * answers)))


def _reliability(answered: Sequence[ScoredRow]) -> tuple[Bin, ...]:
    """Rows by confidence in BINS bins of equally many rows."""
    sure = sorted((row for row in answered if _is_sure(row)), key=lambda row: row.confidence)
    return tuple(
        Bin(len(rows), sum(row.confidence for row in rows) / len(rows), sum(row.hit for row in rows) / len(rows))
        for number in range(BINS)
        if (rows := sure[number * len(sure) // BINS : (number + 1) * len(sure) // BINS])
    )
