"""What a gate looks at: losses of the contenders on identical rows, and what was checked about the candidate."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from forecastle.errors import InputError
from forecastle.monitoring.comparison import Floats
from forecastle.monitoring.guards import Validity

Clusters = NDArray[np.str_] | NDArray[np.int_]


@dataclass(frozen=True, eq=False)
class Contender:
    """A version or a baseline by name, and its loss on each row (shape: rows)."""

    name: str
    losses: Floats


@dataclass(frozen=True, eq=False)
class Evidence:
    """Losses on a later block of rows that taught and chose nothing, and that no gate has looked at before.

    Every array has one value a row, and rows stand in order of time (`asked_at`, moments or positions on one axis),
    whatever their cluster: blocks are cut from this order. `trained_until` is the later of both versions' on the same
    axis. `baseline` is the best one on *earlier* rows. `production` is None where nothing is in production yet;
    `first_approved` where no version has ever been approved, or the first one can no longer answer.

    Raises InputError where shapes or the order of time are wrong, a row lies before `trained_until`, or a loss is
    negative or no finite number.
    """

    asked_at: Floats
    trained_until: float
    clusters: Clusters
    candidate: Contender
    production: Contender | None
    baseline: Contender
    first_approved: Contender | None
    validity: Validity

    def __post_init__(self) -> None:
        rows = len(self.asked_at)
        for name, values in (("clusters", self.clusters), *((c.name, c.losses) for c in self.contenders)):
            if values.shape != (rows,):
                raise InputError(f"{name}: {values.shape} values for {rows} rows; hand one value a row to the gate")
        for contender in self.contenders:
            _refuse_bad(contender)
        if not np.all(np.isfinite(self.asked_at)) or np.any(np.diff(self.asked_at) < 0):
            raise InputError("rows must stand in order of time, with a moment each: sort them by asked_at")
        if rows and self.asked_at[0] < self.trained_until:
            early = int(np.sum(self.asked_at < self.trained_until))
            raise InputError(
                f"{early} of {rows} rows lie before both versions were trained ({self.trained_until}): they may have "
                "taught one of them; leave them out"
            )

    @property
    def contenders(self) -> tuple[Contender, ...]:
        return tuple(c for c in (self.candidate, self.production, self.baseline, self.first_approved) if c)


def _refuse_bad(contender: Contender) -> None:
    bad = ~np.isfinite(contender.losses) | (contender.losses < 0)
    if bad.any():
        raise InputError(
            f"{contender.name}: {int(bad.sum())} losses are negative or no finite number, the first one in row "
            f"{int(np.argmax(bad))}; mend the metric or leave out the rows for all versions alike"
        )
