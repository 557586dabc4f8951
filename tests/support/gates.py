"""Evidence for a gate: a small later block with everything in order, to be changed by the test."""

from __future__ import annotations

from typing import Any

import numpy as np

from forecastle.monitoring.coverage import Coverage
from forecastle.monitoring.evidence import Contender, Evidence
from forecastle.monitoring.guards import Validity
from forecastle.monitoring.policies import GatePolicy

POLICY = GatePolicy(metric="mae", margin=0.02, least_rows=100)

VALID = Validity(
    coverage=Coverage(rows=400, share=0.8, low=0.757, high=0.838, median_width=3.0),
    coverage_target=0.8,
    parity_failures=0,
    feature_digest="3f786850e387550f",
    known_feature_digests=frozenset({"3f786850e387550f"}),
    validation_failures=0,
)


def losses(seed: int, rows: int = 400) -> np.ndarray:
    """Heavy-tailed, as errors are."""
    return np.exp(np.random.default_rng(seed).normal(size=rows))


def evidence(candidate: np.ndarray, production: np.ndarray | None, **changed: Any) -> Evidence:
    """One cluster and a baseline that nobody is worse than, where nothing else is asked for."""
    rows = len(candidate)
    parts: dict[str, Any] = {
        "asked_at": np.arange(rows, dtype=float),
        "trained_until": 0.0,
        "clusters": np.array(["one"] * rows, dtype=str),
        "baseline": Contender("rolling_median", 2 * np.maximum(candidate, 0) + 1e-9),
        "first_approved": None,
        "validity": VALID,
    }
    return Evidence(
        candidate=Contender("version 7", candidate),
        production=None if production is None else Contender("version 5", production),
        **{**parts, **changed},
    )
