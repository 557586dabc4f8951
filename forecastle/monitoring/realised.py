"""How answers that were served turned out: loss, skill and coverage on known outcomes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from forecastle.monitoring.comparison import PairedSums
from forecastle.monitoring.coverage import share_bounds
from forecastle.monitoring.gate import carry_an_interval
from forecastle.monitoring.sums import RealisedSums

LEAST_ROWS = 30
"""With fewer known outcomes there are no figures: they would say more of chance than of the model."""


@dataclass(frozen=True)
class RealisedSkill:
    """By how much less was lost than by the baseline on the same rows, relative: 0.1 is a tenth less, below 0 is worse.

    `low` and `high` are one-sided 95 % bounds; None where nothing bounds it.
    """

    value: float | None
    low: float | None
    high: float | None


@dataclass(frozen=True)
class RealisedCoverage:
    """The share of intervals that held the outcome, its exact 95 % interval, and the share that was promised."""

    share: float
    low: float
    high: float
    target: float


@dataclass(frozen=True)
class Realised:
    """Figures of what was served; None, with a sentence in `note`, where there are too few rows for them.

    `mean_absolute_error` and that of the baseline are over the same `compared` rows.
    """

    rows: int
    compared: int
    mean_absolute_error: float | None = None
    baseline_mean_absolute_error: float | None = None
    skill: RealisedSkill | None = None
    coverage: RealisedCoverage | None = None
    note: str | None = None


def realised(blocks: Sequence[RealisedSums], coverage_target: float, projects: Sequence[RealisedSums] = ()) -> Realised:
    """Figures from sums over blocks of time, in their order; `projects` are the same rows by project.

    The unit of variance is the project where there are enough of them, as at the gate, else the block of time.
    """
    total = RealisedSums.of_all(blocks)
    if total.rows < LEAST_ROWS:
        note = f"{total.rows} known outcomes are too few for figures; there are some from {LEAST_ROWS} on"
        return Realised(total.rows, total.compared, note=note)
    coverage = _coverage(total, coverage_target) if total.promised else None
    if total.compared < LEAST_ROWS:
        note = f"{total.compared} rows with a baseline are too few for a loss; there is one from {LEAST_ROWS} on"
        return Realised(total.rows, total.compared, coverage=coverage, note=note)
    over_projects = carry_an_interval(np.array([project.baseline_loss for project in projects], dtype=np.float64))
    return Realised(
        rows=total.rows,
        compared=total.compared,
        mean_absolute_error=total.loss / total.compared,
        baseline_mean_absolute_error=total.baseline_loss / total.compared,
        skill=_skill([part for part in (projects if over_projects else blocks) if part.compared]),
        coverage=coverage,
    )


def _coverage(total: RealisedSums, target: float) -> RealisedCoverage:
    return RealisedCoverage(total.held / total.promised, *share_bounds(total.held, total.promised), target)


def _skill(parts: Sequence[RealisedSums]) -> RealisedSkill:
    losses = np.array([part.loss for part in parts], dtype=np.float64)
    references = np.array([part.baseline_loss for part in parts], dtype=np.float64)
    found = PairedSums(sum(part.compared for part in parts), losses - references, references).compare()
    # The comparison says how much worse; skill is how much better.
    value, low, high = (None if math.isinf(each) else 0.0 - each for each in (found.difference, found.high, found.low))
    return RealisedSkill(value, low, high)
