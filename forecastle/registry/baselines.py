"""The naive rules that every model has to beat, by the names that declarations use."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from forecastle.records.outcomes import Known

LEAST_OF_TYPE = 5  # known outcomes of a type before its own median counts


def _of_type(features: Any, known: Known) -> float:
    group = known.group("issue_type")
    return group.median if group.count >= LEAST_OF_TYPE else math.nan


def _similar(features: Any, known: Known) -> float:
    return math.exp(features.similar)


_RULES: Mapping[str, Callable[[Any, Known], float]] = {
    "rolling_median": lambda features, known: known.project.rolling_median,
    "median": lambda features, known: known.project.median,
    "mean": lambda features, known: known.project.mean,
    "type_median": _of_type,
    "similarity": _similar,
    "estimate": lambda features, known: float(features.estimate),
}

BASELINES = frozenset(_RULES)

_READS = {"estimate": "estimate_hours"}
"""The field of the request without which a rule has nothing of its own to say."""


def baselines_for(priors: Mapping[str, float], field: str | None) -> dict[str, float]:
    """The baselines that may answer requests which have this field for certain, with their priors."""
    return {name: prior for name, prior in priors.items() if _READS.get(name) in (None, field)}


def baseline(name: str, features: Any, known: Known) -> float:
    """What a rule says; the rolling median where it has nothing to go by, NaN where nothing is known at all."""
    value = own_baseline(name, features, known)
    return known.project.rolling_median if math.isnan(value) else value


def own_baseline(name: str, features: Any, known: Known) -> float:
    """What a rule says of itself; NaN where it has nothing to go by."""
    return _RULES[name](features, known)
