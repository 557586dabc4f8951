"""Which method is to answer where, decided from losses on earlier rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from forecastle.monitoring.skill import SkillTable

Floats = NDArray[np.float64]

SHRINKAGE_ROWS = 200
"""A cluster's own evidence counts as much as everybody's once it has this many rows."""

FEW_ROWS = 50
"""A cluster with this many rows counts half as much in a mean over clusters as one with very many."""

PERFECT_REFERENCE = 1.0
"""Relative loss of a method that errs where the reference does not."""


def choose_methods(losses: Mapping[str, Floats], clusters: NDArray[np.str_], priors: Mapping[str, float]) -> SkillTable:
    """Choose from losses on identical rows (each of shape: rows); the first method is the reference.

    A method's relative loss in a cluster is shrunk towards that over all clusters, and that towards `priors`
    (relative loss expected before any evidence), by SHRINKAGE_ROWS rows each. Clusters count nearly alike,
    not by rows, so that one large project does not speak for all. A tie goes to the earlier method.
    """
    methods = list(losses)
    relative = {
        cluster: (int(np.sum(clusters == cluster)), _relative(losses, clusters == cluster))
        for cluster in sorted(set(clusters.tolist()))
    }
    rows = len(clusters)
    general = {
        method: _shrink(_mean([(count, found[method]) for count, found in relative.values()]), rows, priors[method])
        for method in methods
    }
    expected = {
        cluster: {method: _shrink(found[method], count, general[method]) for method in methods}
        for cluster, (count, found) in relative.items()
    }
    return SkillTable(
        default=_best(general, methods),
        by_cluster={cluster: _best(values, methods) for cluster, values in expected.items()},
        rows={cluster: count for cluster, (count, _) in relative.items()},
        measured={cluster: found for cluster, (_, found) in relative.items()},
        expected=expected,
        general=general,
    )


def macro_relative_loss(losses: Floats, reference: Floats, clusters: NDArray[np.str_]) -> float:
    """Loss over the reference's, minus 1; the mean over clusters. Losses have the shape: rows."""
    pair = {"reference": reference, "method": losses}
    names = sorted(set(clusters.tolist()))
    return _mean([(int(np.sum(clusters == name)), _relative(pair, clusters == name)["method"]) for name in names])


def _relative(losses: Mapping[str, Floats], rows: NDArray[np.bool_]) -> dict[str, float]:
    sums = {method: float(np.sum(values[rows])) for method, values in losses.items()}
    reference = next(iter(sums.values()))
    if not reference:  # nothing beats a reference that makes no error; a finite figure keeps the means finite
        return {method: PERFECT_REFERENCE if value else 0.0 for method, value in sums.items()}
    return {method: (value - reference) / reference for method, value in sums.items()}


def _shrink(own: float, rows: int, towards: float) -> float:
    return (rows * own + SHRINKAGE_ROWS * towards) / (rows + SHRINKAGE_ROWS)


def _mean(found: Sequence[tuple[int, float]]) -> float:
    """The mean over clusters, each given with its rows; one with few rows counts less, as its figure is noise."""
    weights = [count / (count + FEW_ROWS) for count, _ in found]
    return sum(w * value for w, (_, value) in zip(weights, found, strict=True)) / sum(weights) if found else 0.0


def _best(values: Mapping[str, float], methods: list[str]) -> str:
    return min(methods, key=values.__getitem__)
