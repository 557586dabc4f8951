"""How often intervals held the outcome, with an interval of its own."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import betaincinv

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Coverage:
    """The share of `rows` intervals that held the outcome; `low` to `high` is its exact 95 % interval."""

    rows: int
    share: float
    low: float
    high: float
    median_width: float
    """The mean would be that of the few ranges which nothing bounds yet."""


def coverage(outcomes: Floats, lows: Floats, highs: Floats) -> Coverage:
    """Coverage of intervals [lows, highs] (shape: rows) with a Clopper-Pearson interval."""
    rows = len(outcomes)
    if rows == 0:
        return Coverage(0, float("nan"), 0.0, 1.0, float("nan"))
    held = int(np.sum((lows <= outcomes) & (outcomes <= highs)))
    return Coverage(rows, held / rows, *share_bounds(held, rows), float(np.median(highs - lows)))


def share_bounds(hits: int, rows: int) -> tuple[float, float]:
    """The exact 95 % interval of a share.

    Clopper and Pearson (1934): the bounds are quantiles of beta distributions.
    """
    low = 0.0 if hits == 0 else float(betaincinv(hits, rows - hits + 1, 0.025))
    high = 1.0 if hits == rows else float(betaincinv(hits + 1, rows - hits, 0.975))
    return low, high
