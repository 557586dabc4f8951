"""A small search: which settings of each candidate are best on the first rows that a training is asked about."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from forecastle.monitoring.choosing import macro_relative_loss
from forecastle.registry.declaration import Estimator, Settings, Trainer
from forecastle.registry.examples import Examples

Floats = NDArray[np.float64]

TRIALS = 6
"""How many settings are tried for each candidate, unless somebody asks for more or fewer."""


@dataclass(frozen=True)
class Trial:
    """One candidate with one choice of settings; `loss` is relative to the reference's, the mean over clusters."""

    candidate: str
    settings: Settings
    loss: float


def search(
    trainer: Trainer,
    known: Examples,
    clusters: Sequence[str],
    losses_of: Callable[[str, Estimator], tuple[Floats, Floats]],
    most_trials: int,
) -> tuple[dict[str, Settings], list[Trial]]:
    """The best settings of each candidate, and every trial; the default settings win a tie.

    `losses_of` gives the losses of a fitted candidate and of the reference baseline on the rows asked, whose clusters
    are given (each of shape: rows). A candidate with one choice of settings needs no trial.
    """
    trials = []
    prepared, targets = _prepared(trainer, known)
    for candidate, choices in trainer.candidates.items():
        for settings in choices[: max(1, most_trials)] if len(choices) > 1 else ():
            losses, reference = losses_of(candidate, _fitted(trainer, candidate, settings, prepared, targets))
            loss = macro_relative_loss(losses, reference, np.array(clusters, dtype=str))
            trials.append(Trial(candidate, settings, loss))
    return {name: _best(name, choices, trials) for name, choices in trainer.candidates.items()}, trials


def fitted(trainer: Trainer, candidate: str, settings: Settings, known: Examples) -> Estimator:
    """One candidate that has learned from what was known."""
    return _fitted(trainer, candidate, settings, *_prepared(trainer, known))


def _prepared(trainer: Trainer, known: Examples) -> tuple[Any, list[float]]:
    return trainer.prepare([example.features for example in known]), [example.target for example in known]


def _fitted(trainer: Trainer, candidate: str, settings: Settings, prepared: Any, targets: list[float]) -> Estimator:
    found: Estimator = trainer.make(candidate, settings).fit(prepared, targets)
    return found


def _best(candidate: str, choices: Sequence[Settings], trials: Sequence[Trial]) -> Settings:
    own: list[Trial] = [trial for trial in trials if trial.candidate == candidate]
    return min(own, key=lambda trial: trial.loss).settings if own else choices[0]


def fit_all(trainer: Trainer, chosen: Mapping[str, Settings], known: Examples) -> dict[str, Estimator]:
    """Every candidate fitted with its settings, and the blends of them."""
    prepared, targets = _prepared(trainer, known)
    found = {name: _fitted(trainer, name, settings, prepared, targets) for name, settings in chosen.items()}
    return found | {name: trainer.blend([found[part] for part in parts]) for name, parts in trainer.blends.items()}
