"""What a model type asks of its gate and of retraining."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from forecastle.errors import ConfigurationError

FEWEST_OUTCOMES = 10
"""As many as blocks of time: see `monitoring/comparison.py`, which the façade does not load."""


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
    """When a new training is due. Any one signal is enough; `docs/retraining.md` tells how each is measured."""

    oldest_days: int
    """What serves is old once its data were read longer ago."""
    new_rows: int
    """New outcomes that are many, whatever it learned from."""
    new_share: float = 0.20
    """New outcomes that are many beside the rows that it learned from."""
    new_rows_rule: Literal["either", "both"] = "either"
    """Whether one of the two is enough, or both have to be reached."""
    worse_by: float = 0.05
    """How much more error than at its promotion, relative to that, counts."""
    least_psi: float = 0.20
    least_distance: float = 0.40
    """The least change of a distribution that counts, as a Wasserstein distance in standard deviations of the
    reference. A shift of normal numbers by .45 of them has a PSI of .20."""
    least_outcomes: int = 50
    """On fewer rows neither error nor coverage nor drift is claimed."""
    window_days: int = 30
    """How far the latest answers reach back, and the first ones from the promotion on."""
    cool_down_hours: float = 12.0
    """No training follows another one sooner."""
    auto_promote: bool = False
    """Whether a version that a decision had trained, and the gate calls PROMOTE, goes to production by itself."""

    def __post_init__(self) -> None:
        least = (self.oldest_days, self.new_rows, self.window_days)
        if min(least) < 1 or min(self.new_share, self.worse_by, self.least_psi, self.least_distance) <= 0:
            raise ConfigurationError("thresholds of retraining are above 0: one that is 0 would train at every look")
        if self.least_outcomes < FEWEST_OUTCOMES:
            raise ConfigurationError(
                f"chance is judged over {FEWEST_OUTCOMES} blocks of rows: there must be as many rows"
            )
        if self.cool_down_hours < 0:
            raise ConfigurationError(f"a cool-down lasts 0 hours or more, not {self.cool_down_hours}")

    def many_rows(self, taught: int) -> int:
        """How many new rows are many for a version that learned from `taught` rows."""
        share = math.ceil(self.new_share * taught)
        return max(1, min(self.new_rows, share) if self.new_rows_rule == "either" else max(self.new_rows, share))
