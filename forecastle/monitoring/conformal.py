"""How wide an interval must be to hold its promise: split conformal prediction."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

LEAST_OWN_ROWS = 100
"""A cluster with fewer scores than this shares the pooled threshold."""

LATEST_ROWS = 400
"""Older scores of a cluster do not count: what was wide enough then need not be now."""


GRID = 200
"""How many scores of each cluster are kept, evenly over their order, to say how likely a score is."""


@dataclass(frozen=True)
class Thresholds:
    """The score up to which an interval reaches, by cluster; `pooled` for clusters not listed.

    `scores` and `scores_by_cluster` hold scores of earlier rows, ascending.
    """

    pooled: float
    by_cluster: Mapping[str, float]
    scores: tuple[float, ...] = ()
    scores_by_cluster: Mapping[str, tuple[float, ...]] = field(default_factory=dict)

    def of(self, cluster: str) -> float:
        return self.by_cluster.get(cluster, self.pooled)

    def share_within(self, cluster: str, score: float) -> float:
        """The share of earlier rows that had at most this score; NaN where none was scored."""
        scores = self.scores_by_cluster.get(cluster, self.scores)
        return (bisect_right(scores, score) + 0.5) / (len(scores) + 1) if scores else math.nan


def threshold(scores: Sequence[float], target: float) -> float:
    """The k-th smallest score with k = ceil((rows + 1) · target); infinite where there are too few.

    Vovk, Gammerman, Shafer (2005): an interval that holds every outcome of at most this score holds the next one
    with probability of at least `target`, as long as the scores are exchangeable.
    """
    rank = math.ceil((len(scores) + 1) * target)
    return sorted(scores)[rank - 1] if rank <= len(scores) else math.inf


def calibrate(scores: Mapping[str, Sequence[float]], target: float) -> Thresholds:
    """Thresholds from the scores of each cluster in order of time."""
    latest = {cluster: list(values[-LATEST_ROWS:]) for cluster, values in scores.items()}
    own = {cluster: values for cluster, values in latest.items() if len(values) >= LEAST_OWN_ROWS}
    pooled = [score for values in latest.values() for score in values]
    return Thresholds(
        pooled=threshold(pooled, target),
        by_cluster={cluster: threshold(values, target) for cluster, values in own.items()},
        scores=_thinned(pooled),
        scores_by_cluster={cluster: _thinned(values) for cluster, values in own.items()},
    )


def _thinned(scores: Sequence[float]) -> tuple[float, ...]:
    ordered = sorted(scores)
    if len(ordered) <= GRID:
        return tuple(ordered)
    return tuple(ordered[(2 * place + 1) * len(ordered) // (2 * GRID)] for place in range(GRID))
