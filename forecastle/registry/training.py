"""Training without MLflow: `fit` turns rows into a bundle and says how good it is.

    |----------------------- fit ------------------------|-- held back --|
    | learn | search | choose 1 | choose 2 | choose 3 ...| score, gate   |

Settings are searched, methods chosen and intervals calibrated on rows that the model of that fold had not seen; the
last block chose nothing and taught nothing, and is what the version is scored on. Every view is trained apart.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from forecastle.errors import NotEnoughDataError, TrainingError
from forecastle.monitoring.conformal import calibrate
from forecastle.monitoring.coverage import Coverage, coverage
from forecastle.registry.bundle import Bundle, Manifest, View, digest_of_features, load_bundle
from forecastle.registry.declaration import Estimator, FastForm, ModelType, Settings, Trainer, resolve
from forecastle.registry.examples import Example, Examples, Extracted
from forecastle.registry.learning_curve import CurvePoint, learning_curve
from forecastle.registry.predictor import Prediction, Predictor
from forecastle.registry.search import Trial, fit_all
from forecastle.registry.walking import FEWEST_KNOWN, Budget, Parts, Progress, errors, walk_forward

Floats = NDArray[np.float64]

HELD_BACK_SHARE = 0.15
SERVED = "served"


@dataclass(frozen=True)
class DatasetInfo:
    """Where the rows come from; a training that is not recorded leaves it as it is."""

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
class FittedView:
    """What one view learned: its estimator for people, the trials of its search, losses on the rows that chose."""

    candidate: str
    estimator: Estimator
    settings: Mapping[str, Settings]
    trials: Sequence[Trial]
    walked: Mapping[str, float]
    """Mean absolute error of every method on the rows of the folds, identical for all."""
    walked_rows: int
    held_back: Sequence[Example]
    values: Mapping[str, Floats] = field(repr=False)
    """What every candidate and baseline alone would have answered to the held-back rows."""
    learning_curve: Sequence[CurvePoint] = ()
    """The chosen candidate on the held-back rows, after fewer rows to learn from and at last after all of them."""


@dataclass(frozen=True)
class Fitted:
    """A version before it is registered; `held_back` and `answers` are as each row would have been answered."""

    bundle: Bundle
    views: Mapping[str, FittedView]
    overall: Score
    by_cluster: Mapping[str, Score]
    held_back: Sequence[Example]
    answers: Sequence[Prediction]
    values: Mapping[str, Floats] = field(repr=False)
    """Answers to the held-back rows, what is served first, then each method's."""
    losses: Mapping[str, Floats] = field(repr=False)
    """Absolute errors on the held-back rows, in the order of `values`."""

    @property
    def main_view(self) -> FittedView:
        """The first view that was trained."""
        return next(iter(self.views.values()))


def fit(
    model_type: ModelType,
    extracted: Extracted,
    dataset: DatasetInfo | None = None,
    on_progress: Progress = lambda message: None,
    budget: Budget | None = None,
) -> Fitted:
    """Search, choose, calibrate and fit on the earlier rows, score on the last block.

    Raises NotEnoughDataError below the declared least rows, TrainingError where the fast form and the model for
    people answer differently.
    """
    rows = extracted.rows
    if len(rows) < model_type.least_rows:
        raise NotEnoughDataError(model_type.name, len(rows), model_type.least_rows)
    dataset, budget = dataset or DatasetInfo(), budget or Budget()
    cut = rows[int((1 - HELD_BACK_SHARE) * len(rows))].asked_at
    parts = Parts(model_type, resolve(model_type.scorer), resolve(model_type.trainer))
    views: dict[str, tuple[View, FittedView]] = {}
    short: NotEnoughDataError | None = None
    for name in model_type.views:
        try:
            views[name] = _fit_view(parts, name, extracted.views[name], cut, on_progress, budget)
        except NotEnoughDataError as error:  # a view that few rows have is left to the next one
            short = error
    if not views:
        assert short is not None
        raise short
    manifest = Manifest(
        model_type.name, {name: view.candidate for name, (view, _) in views.items()}, digest_of_features(model_type),
        dataset.digest, dataset.time_basis, cut, sum(row.asked_at < cut and row.known_at <= cut for row in rows),
        model_type.coverage_target,
    )  # fmt: skip
    made = Bundle(manifest, {name: view for name, (view, _) in views.items()})
    bundle = load_bundle(model_type, made.files())  # what is scored is what the façade will load
    for name, (_, found) in views.items():
        on_progress(f"{name}: checking that both forms of {found.candidate} answer alike")
        _check_parity(parts.trainer, found.estimator, bundle.views[name].model, found.held_back)
    return _scored(parts, bundle, {name: found for name, (_, found) in views.items()}, extracted, cut)


def _fit_view(
    parts: Parts, name: str, examples: Examples, cut: float, on_progress: Progress, budget: Budget
) -> tuple[View, FittedView]:
    """Choose, calibrate and fit one view on what was known before the cut."""
    model_type = parts.model_type
    if len(examples) < model_type.least_rows:
        raise NotEnoughDataError(f"{model_type.name}, {name}", len(examples), model_type.least_rows)
    earlier, held_back = examples.known_by(cut), examples.asked_between(cut, math.inf)
    if len(earlier) < FEWEST_KNOWN:
        raise NotEnoughDataError(f"{model_type.name}, known before the held-back rows", len(earlier), FEWEST_KNOWN)
    # Where nothing is known there is no baseline to compare with.
    rows = [example for example in held_back if example.known.project.count]
    if not rows:
        raise NotEnoughDataError(f"{model_type.name}, held back with a known history", 0, 1)
    walk = walk_forward(parts, name, earlier, on_progress, budget)
    candidate = walk.best_candidate(parts)
    on_progress(f"{name}: fitting every candidate on {len(earlier):,} rows, {candidate} answers")
    estimators = fit_all(parts.trainer, walk.settings, earlier)
    skill = walk.skill(candidate)
    answering = {candidate, skill.default, *skill.by_cluster.values()}
    thresholds = {method: calibrate(walk.scores(method), model_type.coverage_target) for method in answering}
    on_progress(f"{name}: scoring {len(rows):,} held-back rows")
    settled = parts.settle_all(rows, estimators)
    everything = CurvePoint(len(earlier), errors(rows, settled[candidate]))
    view = View(candidate, estimators[candidate].fast_form(), skill, thresholds)
    found = FittedView(
        candidate=candidate,
        estimator=estimators[candidate],
        settings=walk.settings,
        trials=walk.trials,
        walked={m: float(np.mean(loss)) if len(loss) else math.nan for m, loss in walk.losses.items()},
        walked_rows=len(walk.rows),
        held_back=rows,
        values={m: np.array([s.value for s in found]) for m, found in settled.items()},
        learning_curve=[*_learning_curve(parts, candidate, walk.settings, earlier, rows), everything],
    )
    return view, found


def _learning_curve(
    parts: Parts, candidate: str, settings: Mapping[str, Settings], earlier: Examples, asked: Sequence[Example]
) -> list[CurvePoint]:
    def losses_of(estimators: Mapping[str, Estimator]) -> dict[str, Floats]:
        settled = parts.settle_all(asked, estimators)
        return {name: errors(asked, settled[name]) for name in estimators}

    return learning_curve(parts.trainer, candidate, settings, earlier, parts.model_type.least_rows, losses_of)


def _check_parity(trainer: Trainer, estimator: Estimator, form: FastForm, held_back: Sequence[Example]) -> None:
    """Both forms must say the same of every held-back row; people ask with a table, the façade with the fast form."""
    for_people = estimator.predict(trainer.table([example.features for example in held_back]))
    for example, expected in zip(held_back, for_people, strict=True):
        found = form.estimate(example.features)
        if not math.isclose(found, float(expected), rel_tol=form.tolerance):
            raise TrainingError(
                f"{example.key}: the fast form answers {found}, the model for people {float(expected)}; "
                "nothing is registered, the export of the fast form has to be mended"
            )


def _scored(parts: Parts, bundle: Bundle, views: Mapping[str, FittedView], extracted: Extracted, cut: float) -> Fitted:
    """Answer every held-back row as the façade would, and hold every method against it on the same rows."""
    predictor = Predictor.of(parts.model_type, bundle)
    places = {(view, e.cluster, e.key): n for view, found in views.items() for n, e in enumerate(found.held_back)}
    asked: list[tuple[str, int]] = []
    for row in (row for row in extracted.rows if row.asked_at >= cut):
        view = predictor.view_for(row.request)
        if (place := places.get((view, row.cluster, row.key))) is not None:
            asked.append((view, place))
    held_back = [views[view].held_back[place] for view, place in asked]
    answers = [
        predictor.predict_extracted(view, example.cluster, example.features, example.known)
        for (view, _), example in zip(asked, held_back, strict=True)
    ]
    targets = np.array([example.target for example in held_back], dtype=float)
    methods = next(iter(views.values())).values
    values = {SERVED: np.array([answer.settled.value for answer in answers], dtype=float)} | {
        name: np.array([views[view].values[name][place] for view, place in asked], dtype=float) for name in methods
    }
    losses = {name: np.abs(found - targets) for name, found in values.items()}
    clusters = np.array([example.cluster for example in held_back], dtype=str)
    return Fitted(
        bundle=bundle,
        views=views,
        overall=_score(held_back, answers, losses, np.ones(len(held_back), dtype=bool)),
        by_cluster={
            name: _score(held_back, answers, losses, clusters == name) for name in sorted(set(clusters.tolist()))
        },
        held_back=held_back,
        answers=answers,
        values=values,
        losses=losses,
    )


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
