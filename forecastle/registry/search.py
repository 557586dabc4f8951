"""A small search: which settings of each candidate are best on the first rows that a training is asked about."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from forecastle.monitoring.skill import macro_relative_loss
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
    for candidate, choices in trainer.candidates.items():
        for settings in choices[: max(1, most_trials)] if len(choices) > 1 else ():
            losses, reference = losses_of(candidate, fitted(trainer, candidate, settings, known))
            loss = macro_relative_loss(losses, reference, np.array(clusters, dtype=str))
            trials.append(Trial(candidate, settings, loss))
    return {name: _best(name, choices, trials) for name, choices in trainer.candidates.items()}, trials


def fitted(trainer: Trainer, candidate: str, settings: Settings, known: Examples) -> Estimator:
    found: Estimator = trainer.make(candidate, settings).fit([e.features for e in known], [e.target for e in known])
    return found


def _best(candidate: str, choices: Sequence[Settings], trials: Sequence[Trial]) -> Settings:
    own: list[Trial] = [trial for trial in trials if trial.candidate == candidate]
    return min(own, key=lambda trial: trial.loss).settings if own else choices[0]


def fit_all(trainer: Trainer, chosen: Mapping[str, Settings], known: Examples) -> dict[str, Estimator]:
    """Every candidate fitted with its settings, and the blends of them."""
    found = {candidate: fitted(trainer, candidate, settings, known) for candidate, settings in chosen.items()}
    return found | {name: trainer.blend([found[part] for part in parts]) for name, parts in trainer.blends.items()}
