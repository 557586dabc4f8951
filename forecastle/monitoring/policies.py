"""What a model type asks of its gate and of retraining."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class GatePolicy:
    """`margin` is the relative loss that counts as nothing; fewer rows than `least_rows` decide nothing."""

    metric: str
    margin: float
    least_rows: int


@dataclass(frozen=True)
class RetrainingPolicy:
    """When a new training is due: age of the version in days, or the number of new outcomes."""

    oldest_days: int
    new_rows: int
