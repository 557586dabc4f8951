"""Walking forward through the earlier rows of a training: what every method would have answered, fold by fold.

The first fold tries settings and chooses nothing else; the later ones choose among methods and calibrate.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from forecastle.monitoring.choosing import choose_methods
from forecastle.monitoring.skill import SkillTable
from forecastle.registry.baselines import baseline, baselines_for
from forecastle.registry.declaration import Estimator, ModelType, Scorer, Settings, Settled, Trainer
from forecastle.registry.examples import Example, Examples
from forecastle.registry.search import TRIALS, Trial, fit_all, search

Floats = NDArray[np.float64]
Progress = Callable[[str], None]

FOLD_STARTS = (0.4, 0.55, 0.7, 0.85)  # shares of the rows before the held-back block
FEWEST_KNOWN = 20  # rows whose cluster knew fewer outcomes say little about which method has skill there
UNPROVEN = 0.03  # a candidate is taken to be this much worse than the best baseline until rows show its skill


@dataclass(frozen=True)
class Budget:
    """How much a training may try."""

    trials: int = TRIALS


@dataclass(frozen=True)
class Parts:
    """The parts of a model type that a training works with."""

    model_type: ModelType
    scorer: Scorer
    trainer: Trainer

    @property
    def candidates(self) -> list[str]:
        return [*self.trainer.candidates, *self.trainer.blends]

    def settle_all(self, rows: Sequence[Example], estimators: Mapping[str, Estimator]) -> dict[str, list[Settled]]:
        """What every baseline, and every estimator, would have answered to each row."""
        features = self.trainer.prepare([row.features for row in rows])
        predicted = {name: estimator.predict(features) for name, estimator in estimators.items()}
        return self.settle(rows, self.model_type.baselines, predicted)

    def settle(
        self, rows: Sequence[Example], baselines: Iterable[str], predicted: Mapping[str, Floats]
    ) -> dict[str, list[Settled]]:
        """What these baselines say of each row, and what becomes of these estimates (each of shape: rows)."""
        settled: dict[str, list[Settled]] = {name: [] for name in (*baselines, *predicted)}
        for number, row in enumerate(rows):
            known = row.known
            settle = self.scorer.settler(row.features, known)
            for method, answers in settled.items():
                estimate = predicted[method][number] if method in predicted else baseline(method, row.features, known)
                answers.append(settle(method, float(estimate)))
        return settled


@dataclass
class Walk:
    """Rows of all folds that knew enough, and what every method would have answered to each."""

    baselines: Mapping[str, float]
    """Those that may answer in this view, with their priors."""
    settings: Mapping[str, Settings]
    trials: Sequence[Trial] = ()
    rows: list[Example] = field(default_factory=list)
    settled: dict[str, list[Settled]] = field(default_factory=dict)

    def add(self, parts: Parts, asked: Sequence[Example], estimators: Mapping[str, Estimator]) -> None:
        self.rows += asked
        for method, answers in parts.settle_all(asked, estimators).items():
            self.settled.setdefault(method, []).extend(answers)

    @property
    def losses(self) -> dict[str, Floats]:
        return {method: errors(self.rows, settled) for method, settled in self.settled.items()}

    def skill(self, *candidates: str) -> SkillTable:
        """Who answers where, among the baselines and these candidates."""
        priors = {**self.baselines, **dict.fromkeys(candidates, min(self.baselines.values()) + UNPROVEN)}
        clusters = np.array([row.cluster for row in self.rows], dtype=str)
        losses, none = self.losses, np.array([], dtype=float)
        return choose_methods({method: losses.get(method, none) for method in priors}, clusters, priors)

    def best_candidate(self, parts: Parts) -> str:
        """The candidate with the least loss, projects counting alike; the first one where no row was asked."""
        expected = self.skill(*parts.candidates).general
        return min(parts.candidates, key=expected.__getitem__)

    def scores(self, method: str) -> dict[str, list[float]]:
        """How far each interval would have had to reach, by cluster, in order of time."""
        scores: dict[str, list[float]] = {}
        for row, settled in zip(self.rows, self.settled.get(method, ()), strict=True):
            scores.setdefault(row.cluster, []).append(settled.score(row.target))
        return scores


def walk_forward(parts: Parts, view: str, earlier: Examples, on_progress: Progress, budget: Budget) -> Walk:
    """Walk forward through the earlier rows: the first fold chooses settings, the others methods."""
    baselines = baselines_for(parts.model_type.baselines, parts.model_type.views[view])
    walk = Walk(baselines, {name: choices[0] for name, choices in parts.trainer.candidates.items()})
    for number, (known, asked) in enumerate(_folds(parts.model_type, earlier)):
        rows = [example for example in asked if example.known.project.count >= FEWEST_KNOWN]
        on_progress(f"{view}: walking forward, {len(known):,} rows learned, {len(asked):,} asked")
        if number == 0 and budget.trials > 1 and rows:
            walk = Walk(baselines, *_searched(parts, known, rows, budget))
        elif rows:
            walk.add(parts, rows, fit_all(parts.trainer, walk.settings, known))
    return walk


def _searched(
    parts: Parts, known: Examples, asked: Sequence[Example], budget: Budget
) -> tuple[Mapping[str, Settings], Sequence[Trial]]:
    name = next(iter(parts.model_type.baselines))
    reference = errors(asked, parts.settle(asked, [name], {})[name])
    features = parts.trainer.prepare([row.features for row in asked])

    def losses_of(candidate: str, estimator: Estimator) -> tuple[Floats, Floats]:
        settled = parts.settle(asked, (), {candidate: estimator.predict(features)})
        return errors(asked, settled[candidate]), reference

    return search(parts.trainer, known, [row.cluster for row in asked], losses_of, budget.trials)


def _folds(model_type: ModelType, earlier: Examples) -> Iterator[tuple[Examples, Examples]]:
    """What was known at each start, and what was asked from there to the next."""
    for start, end in pairwise((*FOLD_STARTS, 1.0)):
        first, last = earlier.cut_at(start), earlier.cut_at(end)
        known, asked = earlier.known_by(first), earlier.asked_between(first, last)
        if len(known) >= model_type.least_rows and len(asked):
            yield known, asked


def errors(rows: Examples | Sequence[Example], settled: Sequence[Settled]) -> Floats:
    return np.array([abs(s.value - row.target) for s, row in zip(settled, rows, strict=True)], dtype=float)
