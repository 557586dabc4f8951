"""Is one method worse than another on the same rows?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import t as student

Floats = NDArray[np.float64]

BLOCKS = 10


@dataclass(frozen=True)
class Comparison:
    """The relative difference of paired losses, candidate minus reference over reference.

    `low` and `high` are its one-sided 95 % bounds; `p_worse` is the probability of a difference at least this
    large were the candidate not worse.
    """

    rows: int
    difference: float
    low: float
    high: float
    p_worse: float


def compare_over_time(candidate: Floats, reference: Floats, blocks: int = BLOCKS) -> Comparison:
    """Compare paired losses (rows in order of time) by a t interval over contiguous blocks of time.

    Neighbouring rows resemble each other, so that blocks and not rows are the unit of variance. Fewer rows than
    two a block: one row a block, at least two.
    """
    rows = len(candidate)
    total = float(np.sum(reference))
    if rows < 2 or total == 0:
        return Comparison(rows, 0.0, -np.inf, np.inf, 1.0)
    parts = np.array_split(candidate - reference, min(blocks, rows))
    sums = np.array([part.sum() for part in parts])
    count = len(sums)
    scale = count / total
    difference, error = float(sums.mean() * scale), float(sums.std(ddof=1) / np.sqrt(count) * scale)
    if error == 0:
        return Comparison(rows, difference, difference, difference, 1.0 if difference <= 0 else 0.0)
    reach = float(student.ppf(0.95, count - 1)) * error
    p_worse = float(student.sf(difference / error, count - 1))
    return Comparison(rows, difference, difference - reach, difference + reach, p_worse)


def holm(p_values: Sequence[float]) -> list[float]:
    """p values corrected for the number of looks (Holm 1979), in the order given."""
    count = len(p_values)
    corrected = [0.0] * count
    running = 0.0
    for rank, index in enumerate(sorted(range(count), key=p_values.__getitem__)):
        running = max(running, min(1.0, (count - rank) * p_values[index]))
        corrected[index] = running
    return corrected
