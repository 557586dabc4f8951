"""How wide an interval must be to hold its promise: split conformal prediction."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

LEAST_OWN_ROWS = 100
"""A cluster with fewer scores than this shares the pooled threshold."""

LATEST_ROWS = 400
"""Older scores of a cluster do not count: what was wide enough then need not be now."""


@dataclass(frozen=True)
class Thresholds:
    """The score up to which an interval reaches, by cluster; `pooled` for clusters not listed."""

    pooled: float
    by_cluster: Mapping[str, float]

    def of(self, cluster: str) -> float:
        return self.by_cluster.get(cluster, self.pooled)


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
    return Thresholds(
        pooled=threshold([score for values in latest.values() for score in values], target),
        by_cluster={
            cluster: threshold(values, target) for cluster, values in latest.items() if len(values) >= LEAST_OWN_ROWS
        },
    )
