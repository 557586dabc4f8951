"""Would more data help? One candidate, fitted on fewer rows, on the same rows that it has not seen."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from forecastle.registry.declaration import Estimator, Settings, Trainer
from forecastle.registry.examples import Examples
from forecastle.registry.search import fitted

Floats = NDArray[np.float64]

SHARES = (0.1, 0.25, 0.5)


@dataclass(frozen=True)
class CurvePoint:
    """How many rows taught, and the losses on the rows asked (shape: rows asked)."""

    rows: int
    losses: Floats = field(repr=False)


def learning_curve(
    trainer: Trainer,
    candidate: str,
    settings: Mapping[str, Settings],
    known: Examples,
    least_rows: int,
    losses_of: Callable[[Mapping[str, Estimator]], Mapping[str, Floats]],
) -> list[CurvePoint]:
    """Points for SHARES of the known rows, evenly over time, as far as these are at least `least_rows`.

    All rows together are no point: that candidate was fitted already. `losses_of` gives the losses of each estimator.
    """
    parts = trainer.blends.get(candidate, (candidate,))
    fewer = [_share_of(known, share) for share in SHARES if int(share * len(known)) >= least_rows]
    chosen = {name: settings[name] for name in settings if name in parts}
    estimators = {str(len(rows)): _fitted(trainer, candidate, chosen, rows) for rows in fewer}
    return [CurvePoint(int(rows), losses) for rows, losses in losses_of(estimators).items()] if estimators else []


def _share_of(known: Examples, share: float) -> Examples:
    count = int(share * len(known))
    return Examples(known[place * len(known) // count] for place in range(count))


def _fitted(trainer: Trainer, candidate: str, settings: Mapping[str, Settings], known: Examples) -> Estimator:
    """The candidate, or the blend of the parts that have settings."""
    found = {name: fitted(trainer, name, chosen, known) for name, chosen in settings.items()}
    parts = trainer.blends.get(candidate)
    return found[candidate] if parts is None else trainer.blend([found[part] for part in parts])
