"""The naive rules that every model has to beat, by the names that declarations use."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from forecastle.records.outcomes import Outcomes

BASELINES: Mapping[str, Callable[[Outcomes], float]] = {
    "rolling_median": lambda outcomes: outcomes.rolling_median,
    "median": lambda outcomes: outcomes.median,
    "mean": lambda outcomes: outcomes.mean,
}
