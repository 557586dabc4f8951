"""Did a distribution change? A reference sample beside a current one: how far apart, and how far by chance alone.

Both measures come with `noise`: what two samples of one distribution stay below in 95 % of draws, all `looks` together.
A change is claimed only where a measure reaches both its least effect and its noise.

- PSI, the population stability index: Σ (q − p) ln(q / p) over cells, a symmetrised Kullback-Leibler divergence
  (Jeffreys 1946; Siddiqi 2006 for the name and the customary .10 and .25). For samples of one distribution it is about
  (1/n + 1/m) · χ² with one degree of freedom fewer than cells (Yurdakul and Naranjo 2020).
- The Wasserstein distance of order 1, the area between both distribution functions, over the reference's standard
  deviation. Of one distribution, √(nm/(n+m)) times it goes to ∫ |B(F(x))| dx for a Brownian bridge B (del Barrio, Giné
  and Matrán 1999), which stays below z · ∫ √(F (1 − F)) dx, as if all of it lay at its quantile at once.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import chdtri, ndtri

from forecastle.errors import InputError
from forecastle.monitoring.comparison import CONFIDENCE, Floats

MOST_BINS = 10
ROWS_A_BIN = 10
"""A bin that fewer rows are expected in is joined with others: the χ² of the noise needs counts."""
SMOOTHING = 0.5
"""Added to every count, so that an empty cell does not make the PSI infinite (Jeffreys' prior)."""

Counts = NDArray[np.int_]


@dataclass(frozen=True)
class Measure:
    """What was found, and what chance alone stays below."""

    value: float
    noise: float

    def threshold(self, least: float) -> float:
        """What the value must reach: the least effect that counts, or the noise where that is more."""
        return max(least, self.noise)


@dataclass(frozen=True)
class Drift:
    """One number or one word of the rows, in both samples; words have no distance."""

    name: str
    reference_rows: int
    current_rows: int
    psi: Measure
    distance: Measure | None


def drift_of_numbers(name: str, reference: Floats, current: Floats, looks: int = 1) -> Drift:
    """Of two samples (shape: rows) that may hold NaN, which is a cell of its own and no part of the distance.

    Raises InputError where a sample is empty or holds an infinite number.
    """
    _refuse(name, len(reference), len(current))
    if np.isinf(reference).any() or np.isinf(current).any():
        raise InputError(f"{name}: an infinite number has no place in a distribution; leave it out or make it NaN")
    psi = _psi(*_binned(reference, current), looks)
    known = reference[~np.isnan(reference)], current[~np.isnan(current)]
    return Drift(name, len(reference), len(current), psi, _distance(*known, looks) if all(map(len, known)) else None)


def drift_of_words(name: str, reference: Sequence[str | None], current: Sequence[str | None], looks: int = 1) -> Drift:
    """Of two samples of words: the reference's most frequent ones are a cell each, all others one together, None one.

    Raises InputError where a sample is empty.
    """
    _refuse(name, len(reference), len(current))
    said, says = Counter(reference), Counter(current)
    bins = _bins(min(len(reference), len(current)))
    cells = [*[word for word, _ in said.most_common() if word is not None][: bins - 1], None]

    def counts(of: Counter[str | None], rows: int) -> Counts:
        own = [of[cell] for cell in cells]
        return np.array([*own, rows - sum(own)])

    return Drift(
        name,
        len(reference),
        len(current),
        _psi(counts(said, len(reference)), counts(says, len(current)), looks),
        None,
    )


def strongest(drifts: Sequence[Drift], least_psi: float) -> Drift:
    """The one whose PSI is the most of its threshold."""
    return max(drifts, key=lambda drift: drift.psi.value / drift.psi.threshold(least_psi))


def farthest(drifts: Sequence[Drift], least_distance: float) -> Drift | None:
    """The one whose distance is the most of its threshold; None where no one has any."""
    return max(
        (drift for drift in drifts if drift.distance),
        key=lambda drift: drift.distance.value / drift.distance.threshold(least_distance) if drift.distance else 0.0,
        default=None,
    )


def _refuse(name: str, *rows: int) -> None:
    if not all(rows):
        raise InputError(f"{name}: there is nothing to compare in an empty sample")


def _bins(rows: int) -> int:
    return min(MOST_BINS, max(2, rows // ROWS_A_BIN))


def _binned(reference: Floats, current: Floats) -> tuple[Counts, Counts]:
    """Counts of both samples between quantiles of the reference, NaN last."""
    edges = _edges(reference[~np.isnan(reference)], _bins(min(len(reference), len(current))))

    def counts(sample: Floats) -> Counts:
        missing = np.isnan(sample)
        cells = np.searchsorted(edges, sample[~missing], side="left")
        return np.append(np.bincount(cells, minlength=len(edges) + 1), missing.sum())

    return counts(reference), counts(current)


def _edges(known: Floats, bins: int) -> Floats:
    """Upper ends of cells; a value that is several quantiles at once is a cell apart from what lies below it."""
    if not len(known):
        return np.zeros(0)
    quantiles = np.quantile(known, np.linspace(0, 1, bins + 1), method="inverted_cdf")
    values, times = np.unique(quantiles, return_counts=True)
    return np.unique(np.concatenate([quantiles[1:-1], np.nextafter(values[times > 1], -np.inf)]))


def _psi(reference: Counts, current: Counts, looks: int) -> Measure:
    """Over the cells that are not empty in both."""
    used = (reference + current) > 0
    reference, current = reference[used], current[used]
    if len(reference) < 2:
        return Measure(0.0, 0.0)
    p, q = (_shares(counts) for counts in (reference, current))
    value = float(np.sum((q - p) * np.log(q / p)))
    chance = float(chdtri(len(reference) - 1, (1 - CONFIDENCE) / looks))
    return Measure(value, chance * float(1 / reference.sum() + 1 / current.sum()))


def _shares(counts: Counts) -> Floats:
    return np.asarray((counts + SMOOTHING) / (counts.sum() + SMOOTHING * len(counts)), dtype=np.float64)


def _distance(reference: Floats, current: Floats, looks: int) -> Measure:
    """Of numbers that are all known; infinite where the reference has no spread and something differs."""
    pooled = np.sort(np.concatenate([reference, current]))
    steps = np.diff(pooled)
    below = [
        np.searchsorted(np.sort(sample), pooled[:-1], side="right") / len(sample) for sample in (reference, current)
    ]
    area = float(np.sum(np.abs(below[0] - below[1]) * steps))
    spread = float(reference.std())
    if spread == 0:
        return Measure(math.inf if area else 0.0, 0.0)
    share = np.arange(1, len(pooled)) / len(pooled)
    reach = float(np.sum(np.sqrt(share * (1 - share)) * steps))
    quantile = -float(ndtri((1 - CONFIDENCE) / looks / 2))
    return Measure(area / spread, quantile * math.sqrt(1 / len(reference) + 1 / len(current)) * reach / spread)
