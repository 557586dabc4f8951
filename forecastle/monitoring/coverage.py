"""How often intervals held the outcome, with an interval of its own."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import beta

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Coverage:
    """The share of `rows` intervals that held the outcome; `low` to `high` is its exact 95 % interval."""

    rows: int
    share: float
    low: float
    high: float
    mean_width: float


def coverage(outcomes: Floats, lows: Floats, highs: Floats) -> Coverage:
    """Coverage of intervals [lows, highs] (shape: rows) with a Clopper-Pearson interval.

    Clopper and Pearson (1934): the bounds are quantiles of beta distributions.
    """
    rows = len(outcomes)
    if rows == 0:
        return Coverage(0, float("nan"), 0.0, 1.0, float("nan"))
    held = int(np.sum((lows <= outcomes) & (outcomes <= highs)))
    low = 0.0 if held == 0 else float(beta.ppf(0.025, held, rows - held + 1))
    high = 1.0 if held == rows else float(beta.ppf(0.975, held + 1, rows - held))
    return Coverage(rows, held / rows, low, high, float(np.mean(highs - lows)))
