"""Training without MLflow: `fit` turns examples into a bundle and says how good it is.

    |---------------------- fit ----------------------|-- held back --|
    | learn | choose 1 | choose 2 | choose 3 ..........| score, gate   |

Methods are chosen and intervals calibrated on rows that the model of that fold had not seen; the last block chose
nothing and taught nothing, and is what the version is scored on.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from forecastle.errors import NotEnoughDataError, TrainingError
from forecastle.monitoring.conformal import Thresholds, calibrate
from forecastle.monitoring.coverage import Coverage, coverage
from forecastle.monitoring.skill import SkillTable, choose_methods
from forecastle.registry.baselines import BASELINES
from forecastle.registry.bundle import Bundle, Manifest, digest_of_features, load_bundle
from forecastle.registry.declaration import Estimator, FastForm, ModelType, Scorer, Settled, Trainer, resolve
from forecastle.registry.examples import Example, Examples
from forecastle.registry.predictor import Prediction, Predictor

Floats = NDArray[np.float64]
Progress = Callable[[str], None]

HELD_BACK_SHARE = 0.15
FOLD_STARTS = (0.4, 0.55, 0.7, 0.85)  # shares of the rows before the held-back block
FEWEST_KNOWN = 20  # rows whose cluster knew fewer outcomes say little about which method has skill there
SERVED = "served"
UNPROVEN = 0.03  # a candidate is taken to be this much worse than the reference until rows show its skill
PARITY_TOLERANCE = 1e-9  # relative; both forms add the same numbers, in another order


@dataclass(frozen=True)
class DatasetInfo:
    """Where the examples come from; a training that is not recorded leaves it as it is."""

    digest: str = "unrecorded"
    time_basis: str = "ordinal"


@dataclass(frozen=True)
class Score:
    """Held-back rows of one cluster, or of all: mean absolute error of what is served and of each method."""

    rows: int
    served: float
    methods: Mapping[str, float]
    coverage: Coverage
    by_model: float
    """The share of rows that the model answered."""


@dataclass(frozen=True)
class Fitted:
    bundle: Bundle
    estimator: Estimator
    overall: Score
    by_cluster: Mapping[str, Score]
    held_back: Sequence[Example]
    answers: Sequence[Prediction]


def fit(
    model_type: ModelType,
    examples: Examples,
    dataset: DatasetInfo | None = None,
    on_progress: Progress = lambda message: None,
) -> Fitted:
    """Choose, calibrate and fit on the earlier rows, score on the last block.

    Raises NotEnoughDataError below the declared least rows, TrainingError where the fast form and the model for
    people answer differently.
    """
    if len(examples) < model_type.least_rows:
        raise NotEnoughDataError(model_type.name, len(examples), model_type.least_rows)
    dataset = dataset or DatasetInfo()
    parts = _Parts.of(model_type)
    cut = examples.cut_at(1 - HELD_BACK_SHARE)
    earlier, held_back = examples.known_by(cut), examples.asked_between(cut, math.inf)
    if len(earlier) < FEWEST_KNOWN:
        raise NotEnoughDataError(f"{model_type.name}, known before the held-back rows", len(earlier), FEWEST_KNOWN)
    skill, thresholds = _choose(parts, earlier, on_progress)
    on_progress(f"fitting {parts.candidate} on {len(earlier):,} rows")
    estimator = parts.fit(earlier)
    manifest = Manifest(
        model_type.name, parts.candidate, digest_of_features(model_type), dataset.digest, dataset.time_basis, cut,
        len(earlier), model_type.coverage_target,
    )  # fmt: skip
    made = Bundle(manifest, estimator.fast_form(), skill, thresholds)
    bundle = load_bundle(model_type, made.files())  # what is scored is what the façade will load
    _check_parity(parts.trainer, estimator, bundle.model, held_back)
    on_progress(f"scoring {len(held_back):,} held-back rows")
    predictor = Predictor.of(model_type, bundle)
    rows = [e for e in held_back if e.outcomes.count]  # where nothing is known there is no baseline to compare with
    if not rows:
        raise NotEnoughDataError(f"{model_type.name}, held back with a known history", 0, 1)
    answers = [predictor.predict_extracted(e.cluster, e.features, e.outcomes) for e in rows]
    losses = _losses(parts, bundle.model, rows, answers)
    clusters = np.array([e.cluster for e in rows], dtype=str)
    everything = np.ones(len(rows), dtype=bool)
    return Fitted(
        bundle=bundle,
        estimator=estimator,
        overall=_score(rows, answers, losses, everything),
        by_cluster={name: _score(rows, answers, losses, clusters == name) for name in sorted(set(clusters.tolist()))},
        held_back=rows,
        answers=answers,
    )


@dataclass(frozen=True)
class _Parts:
    """The parts of a model type that a training works with."""

    model_type: ModelType
    scorer: Scorer
    trainer: Trainer
    candidate: str

    @classmethod
    def of(cls, model_type: ModelType) -> _Parts:
        trainer: Trainer = resolve(model_type.trainer)
        return cls(model_type, resolve(model_type.scorer), trainer, trainer.candidates[0])

    @property
    def methods(self) -> list[str]:
        return [*self.model_type.baselines, self.candidate]

    def fit(self, examples: Examples) -> Estimator:
        return self.trainer.fit(self.candidate, [e.features for e in examples], [e.target for e in examples])

    def settle(self, method: str, form: FastForm, example: Example) -> Settled:
        estimate = BASELINES[method](example.outcomes) if method in BASELINES else form.estimate(example.features)
        return self.scorer.settle(method, estimate, example.features, example.outcomes)


def _choose(parts: _Parts, earlier: Examples, on_progress: Progress) -> tuple[SkillTable, dict[str, Thresholds]]:
    """Walk forward through the earlier rows; choose on what the folds' models had not seen."""
    rows: list[Example] = []
    settled: dict[str, list[Settled]] = {method: [] for method in parts.methods}
    for known, asked in _folds(parts.model_type, earlier):
        on_progress(f"walking forward: {len(known):,} rows learned, {len(asked):,} asked")
        form = parts.fit(known).fast_form()
        for example in asked:
            if example.outcomes.count >= FEWEST_KNOWN:
                rows.append(example)
                for method in parts.methods:
                    settled[method].append(parts.settle(method, form, example))
    targets = np.array([example.target for example in rows])
    clusters = np.array([example.cluster for example in rows], dtype=str)
    losses = {m: np.abs(np.array([s.value for s in settled[m]], dtype=float) - targets) for m in parts.methods}
    skill = choose_methods(losses, clusters, {**parts.model_type.baselines, parts.candidate: UNPROVEN})
    thresholds = {
        method: calibrate(_scores(rows, settled[method]), parts.model_type.coverage_target)
        for method in {skill.default, parts.candidate, *skill.by_cluster.values()}
    }
    return skill, thresholds


def _folds(model_type: ModelType, earlier: Examples) -> Iterator[tuple[Examples, Examples]]:
    """What was known at each start, and what was asked from there to the next."""
    for start, end in pairwise((*FOLD_STARTS, 1.0)):
        first, last = earlier.cut_at(start), earlier.cut_at(end)
        known, asked = earlier.known_by(first), earlier.asked_between(first, last)
        if len(known) >= model_type.least_rows and len(asked):
            yield known, asked


def _scores(rows: Sequence[Example], settled: Sequence[Settled]) -> dict[str, list[float]]:
    scores: dict[str, list[float]] = {}
    for example, answer in zip(rows, settled, strict=True):
        scores.setdefault(example.cluster, []).append(answer.score(example.target))
    return scores


def _check_parity(trainer: Trainer, estimator: Estimator, form: FastForm, held_back: Examples) -> None:
    """Both forms must say the same of every held-back row; people ask with a table, the façade with the fast form."""
    for_people = estimator.predict(trainer.example_table(held_back))
    for example, expected in zip(held_back, for_people, strict=True):
        found = form.estimate(example.features)
        if not math.isclose(found, float(expected), rel_tol=PARITY_TOLERANCE):
            raise TrainingError(
                f"{example.key}: the fast form answers {found}, the model for people {float(expected)}; "
                "nothing is registered, the export of the fast form has to be mended"
            )


def _losses(parts: _Parts, form: FastForm, rows: Sequence[Example], answers: Sequence[Prediction]) -> dict[str, Floats]:
    """Absolute errors on identical rows: what is served, each baseline as it stands, the candidate alone."""
    targets = np.array([e.target for e in rows], dtype=float)
    values: dict[str, list[float]] = {
        SERVED: [answer.settled.value for answer in answers],
        **{name: [BASELINES[name](e.outcomes) for e in rows] for name in parts.model_type.baselines},
        parts.candidate: [parts.settle(parts.candidate, form, e).value for e in rows],
    }
    return {name: np.abs(np.array(found, dtype=float) - targets) for name, found in values.items()}


def _score(
    rows: Sequence[Example],
    answers: Sequence[Prediction],
    losses: Mapping[str, Floats],
    chosen: NDArray[np.bool_],
) -> Score:
    means = {name: float(np.mean(loss[chosen])) if chosen.any() else math.nan for name, loss in losses.items()}
    by_model = np.array([answer.method == "ml_model" for answer in answers], dtype=float)[chosen]
    return Score(
        rows=int(chosen.sum()),
        served=means.pop(SERVED),
        methods=means,
        coverage=coverage(
            np.array([e.target for e in rows], dtype=float)[chosen],
            np.array([a.low for a in answers], dtype=float)[chosen],
            np.array([a.high for a in answers], dtype=float)[chosen],
        ),
        by_model=float(by_model.mean()) if len(by_model) else math.nan,
    )
