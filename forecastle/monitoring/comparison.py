"""Is one method worse than another on the same rows?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import t as student

Floats = NDArray[np.float64]

BLOCKS = 10
LEAST_BLOCKS = 5


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
    blocks: one row a block. Fewer than LEAST_BLOCKS decide nothing. Where all blocks differ alike, a t interval has
    no width, and a sign test says how likely that is.
    """
    rows, total = len(candidate), float(np.sum(reference))
    if min(rows, blocks) < LEAST_BLOCKS:
        return Comparison(rows, _share(float(np.sum(candidate - reference)), total), -np.inf, np.inf, 1.0)
    parts = np.array_split(candidate - reference, min(blocks, rows))
    sums = np.array([part.sum() for part in parts])
    count, sum_of_all, error = len(sums), float(sums.sum()), float(sums.std(ddof=1) * np.sqrt(len(sums)))
    if error == 0:
        p_worse, reach = (0.5**count if sum_of_all > 0 else 1.0), 0.0
    else:
        p_worse = float(student.sf(sum_of_all / error, count - 1))
        reach = float(student.ppf(0.95, count - 1)) * error
    return Comparison(
        rows=rows,
        difference=_share(sum_of_all, total),
        low=_share(sum_of_all - reach, total),
        high=_share(sum_of_all + reach, total),
        p_worse=p_worse,
    )


def _share(difference: float, total: float) -> float:
    """A difference over the reference's loss; infinite where the reference makes no error at all."""
    if total:
        return difference / total
    return float(np.sign(difference) * np.inf) if difference else 0.0


def holm(p_values: Sequence[float]) -> list[float]:
    """p values corrected for the number of looks (Holm 1979), in the order given. Raises ValueError for a NaN."""
    if any(value != value for value in p_values):
        raise ValueError("a p value is not a number")
    count = len(p_values)
    corrected = [0.0] * count
    running = 0.0
    for rank, index in enumerate(sorted(range(count), key=p_values.__getitem__)):
        running = max(running, min(1.0, (count - rank) * p_values[index]))
        corrected[index] = running
    return corrected
