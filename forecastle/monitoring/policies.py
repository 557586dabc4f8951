"""What a model type asks of its gate and of retraining."""

from __future__ import annotations

from dataclasses import dataclass

from forecastle.errors import ConfigurationError


@dataclass(frozen=True)
class GatePolicy:
    """`margin` is the relative loss that counts as nothing; fewer rows than `least_rows` decide nothing."""

    metric: str
    margin: float
    least_rows: int

    def __post_init__(self) -> None:
        if not 0 < self.margin < 1:
            raise ConfigurationError(f"a gate's margin is a share between 0 and 1, not {self.margin}: 0.02 is 2 %")
        if self.least_rows < 1:
            raise ConfigurationError(f"a gate needs at least one row, not {self.least_rows}")


@dataclass(frozen=True)
class RetrainingPolicy:
    """When a new training is due: age of the version in days, or the number of new outcomes."""

    oldest_days: int
    new_rows: int
