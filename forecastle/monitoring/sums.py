"""Sums of losses as the store hands them over: light to import, as the façade looks at them seldom."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class RealisedSums:
    """Sums over rows whose outcome is known: a block of time, or a project.

    `compared` rows have a baseline beside them; `loss` and `baseline_loss` are sums of absolute errors over these,
    in the target's unit. `promised` rows have an interval, of which `held` held the outcome.
    """

    rows: int
    compared: int
    loss: float
    baseline_loss: float
    promised: int
    held: int

    @classmethod
    def of_all(cls, parts: Sequence[RealisedSums]) -> RealisedSums:
        names = ("rows", "compared", "loss", "baseline_loss", "promised", "held")
        return cls(*(sum(getattr(part, name) for part in parts) for name in names))
