"""Is one method worse than another on the same rows?"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtr, stdtrit

Floats = NDArray[np.float64]

BLOCKS = 10
LEAST_BLOCKS = 5
CONFIDENCE = 0.95

ROUNDING = 1e-9
"""Losses that differ by less than this share of the mean loss are alike: the last bits of a sum are no evidence."""


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


@dataclass(frozen=True, eq=False)
class PairedSums:
    """What was lost in each unit of variance (a cluster, or a block of time; shape of both arrays: units).

    `differences` are candidate minus reference. A relative difference of `than` leaves sums of
    `differences - than * references` around zero, which a t test over units refuses or does not. It holds its level
    where units have very different variances (Bakirov and Székely 2006), as long as they are independent. The bounds
    are all relative differences that it does not refuse (Fieller 1954).
    """

    rows: int
    differences: Floats
    references: Floats

    @classmethod
    def over_time(cls, candidate: Floats, reference: Floats, blocks: int = BLOCKS) -> PairedSums:
        """Sums over contiguous blocks of rows in order of time; fewer rows than blocks: one row a block."""
        rows = len(candidate)
        count = min(blocks, rows)
        size, longer = divmod(rows, count) if count else (0, 0)
        starts = np.array([block * size + min(block, longer) for block in range(count)], dtype=np.intp)
        return cls(rows, _sums(_differences(candidate, reference), starts), _sums(reference, starts))

    @classmethod
    def over_clusters(cls, candidate: Floats, reference: Floats, codes: NDArray[np.intp]) -> PairedSums:
        """Sums by cluster; `codes` (shape: rows) counts the clusters from 0 on."""
        return cls(len(candidate), sum_by(codes, _differences(candidate, reference)), sum_by(codes, reference))

    @property
    def difference(self) -> float:
        """Relative to the reference's loss; infinite where the reference makes no error at all."""
        difference, total = float(self.differences.sum()), float(self.references.sum())
        if total:
            return difference / total
        return math.copysign(math.inf, difference) if difference else 0.0

    def p_worse(self, than: float = 0.0) -> float:
        """How likely are sums at least this bad were the relative difference at most `than`?

        Fewer than LEAST_BLOCKS units say nothing. Where all units differ alike, a t test has no spread to go by,
        and a sign test says how likely that is.
        """
        sums = self.differences - than * self.references
        count, total = len(sums), float(sums.sum())
        if count < LEAST_BLOCKS:
            return 1.0
        error = math.sqrt(count / (count - 1) * float(np.sum((sums - total / count) ** 2)))
        if error == 0:
            return 0.5**count if total > 0 else 1.0
        return float(stdtr(count - 1, -total / error))

    def bounds(self, confidence: float = CONFIDENCE) -> tuple[float, float]:
        """One-sided lower and upper bound of the relative difference.

        Identical losses differ by nothing, however few they are; otherwise fewer than LEAST_BLOCKS units bound
        nothing.
        """
        count = len(self.differences)
        if not self.differences.any():
            return 0.0, 0.0
        if count < LEAST_BLOCKS:
            return -math.inf, math.inf
        if not self.references.any():
            return (math.inf if self.p_worse() < 1 - confidence else -math.inf), math.inf
        return self._fieller(confidence)

    def _fieller(self, confidence: float) -> tuple[float, float]:
        """The roots of a parabola around the difference found, which is never refused itself."""
        count, found = len(self.differences), self.difference
        reach = float(stdtrit(count - 1, confidence)) ** 2 / count / (count - 1)
        residuals = self.differences - found * self.references  # their mean is zero
        variance = reach * float(residuals @ residuals)
        covariance = reach * float(residuals @ self.references)
        mean = float(self.references.sum()) / count
        curve = mean**2 - reach * float(np.sum((self.references - mean) ** 2)) or -math.ulp(0.0)
        root = math.sqrt(max(0.0, covariance**2 + curve * variance))
        low, high = sorted(found + (side * root - covariance) / curve for side in (-1, 1))
        if curve > 0:
            return low, high
        # The reference's loss hangs on so few units that it is hardly told from none: one side at most is bounded.
        if self.p_worse() < 1 - confidence:
            return high, math.inf
        return -math.inf, (low if self.p_worse() > confidence else math.inf)

    def compare(self) -> Comparison:
        low, high = self.bounds()
        return Comparison(self.rows, self.difference, low, high, self.p_worse())


def compare_over_time(candidate: Floats, reference: Floats, blocks: int = BLOCKS) -> Comparison:
    """Compare paired losses (rows in order of time) by a t interval over contiguous blocks of time.

    Neighbouring rows resemble each other, so that blocks and not rows are the unit of variance.
    """
    return PairedSums.over_time(candidate, reference, blocks).compare()


def sum_by(codes: NDArray[np.intp], values: Floats) -> Floats:
    """Sums of the values (shape: rows) of each code, from 0 on."""
    return np.asarray(np.bincount(codes, weights=values), dtype=np.float64)


def _differences(candidate: Floats, reference: Floats) -> Floats:
    differences = candidate - reference
    least = ROUNDING * float(np.sum(candidate + reference)) / max(1, len(candidate))
    return np.where(np.abs(differences) > least, differences, 0.0)


def _sums(values: Floats, starts: NDArray[np.intp]) -> Floats:
    return np.add.reduceat(values, starts) if len(starts) else np.zeros(0)


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
