"""Candidates as scikit-learn estimators: what people load from MLflow, and where the façade's form comes from.

Each learns deviations from issues (see `IssueFeatures`) with the weights that the issues bring, and predicts values in
the target's unit for issues or for their table.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import xgboost
from numpy.typing import NDArray
from scipy.sparse import csr_matrix
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.linear_model import Ridge
from threadpoolctl import threadpool_limits

from forecastle.features.issues import IssueFeatures
from forecastle.features.levels import RUNGS
from forecastle.learning.design import Design
from forecastle.learning.forms import (
    TEXT,
    ForestForm,
    Form,
    LadderForm,
    LinearForm,
    MeanForm,
    ShrinkageForm,
    StackForm,
    Tree,
    UnitForm,
    place_on,
    value_at,
)
from forecastle.learning.table import issues_of

Floats = NDArray[np.float64]
Issues = Sequence[IssueFeatures]

SEED = 20_260_101
SEEN = (0.002, 0.998)  # a straight line says nothing beyond these quantiles of what it was taught
BINS = 63  # of the histograms; with weights, finding 255 of them costs more than all else
BLOCKS = 4  # of which each is told what a linear model taught on the others makes of its words


class IssueRegressor(RegressorMixin, BaseEstimator, ABC):  # type: ignore[misc]  # scikit-learn has no types
    """What all candidates share; a candidate says how it learns, how it predicts, and what its form is."""

    def fit(self, issues: Issues | Design, targets: Sequence[float]) -> IssueRegressor:
        design = _design(issues)
        pairs = zip(design.issues, targets, strict=True)
        deviations = np.array([issue.to_deviation(target) for issue, target in pairs], dtype=float)
        with threadpool_limits(1):  # threads that wait for each other cost more than they give at this size
            return self.fit_deviations(design, deviations)

    def predict(self, issues: Issues | Design | pd.DataFrame) -> Floats:
        """Values in the target's unit, shape (rows,)."""
        design = _design(issues_of(issues) if isinstance(issues, pd.DataFrame) else issues)
        pairs = zip(design.issues, self.deviations(design), strict=True)
        return np.array([issue.to_units(deviation) for issue, deviation in pairs], dtype=float)

    def fast_form(self) -> UnitForm:
        return UnitForm(self.form())

    @abstractmethod
    def fit_deviations(self, design: Design, deviations: Floats) -> IssueRegressor: ...

    @abstractmethod
    def deviations(self, design: Design) -> Floats: ...

    @abstractmethod
    def form(self) -> Form: ...


class LinearTextRegressor(IssueRegressor):
    """Ridge regression on numbers, words and labels, and on the latter two for each project once more."""

    def __init__(self, alpha: float = 10.0) -> None:
        self.alpha = alpha

    def fit_deviations(self, design: Design, deviations: Floats) -> LinearTextRegressor:
        return self.fit_rows(design, np.arange(len(design)), deviations)

    def fit_rows(self, design: Design, rows: NDArray[np.int64], targets: Floats) -> LinearTextRegressor:
        """Learn the targets (shape: rows) of some rows of a design, in the space that the whole design spans."""
        self.space_ = design.space
        # sparse_cg starts from zero and draws no random numbers: the same rows give the same weights.
        self.ridge_ = Ridge(alpha=self.alpha, solver="sparse_cg", tol=1e-4)
        self.ridge_.fit(design.matrix(self.space_)[rows], targets, sample_weight=design.weights[rows])
        self.lowest_, self.highest_ = (float(np.quantile(targets, share)) for share in SEEN)
        return self

    def deviations(self, design: Design) -> Floats:
        return self.predict_matrix(design.matrix(self.space_))

    def predict_matrix(self, matrix: csr_matrix) -> Floats:
        return np.asarray(np.clip(self.ridge_.predict(matrix), self.lowest_, self.highest_))

    def form(self) -> LinearForm:
        pairs = zip(self.space_.used.tolist(), self.ridge_.coef_.tolist(), strict=True)
        weights = {self.space_.name_of(column): weight for column, weight in pairs}
        intercept = float(self.ridge_.intercept_)
        return LinearForm(self.space_.numbers, weights, intercept, self.lowest_, self.highest_)


class BoostedTreesRegressor(IssueRegressor):
    """XGBoost on the numbers, for the least absolute deviation."""

    def __init__(self, depth: int = 4, trees: int = 200, learning_rate: float = 0.06) -> None:
        self.depth = depth
        self.trees = trees
        self.learning_rate = learning_rate

    def fit_deviations(self, design: Design, deviations: Floats) -> BoostedTreesRegressor:
        return self.fit_numbers(design.names, design.numbers, deviations, design.weights)

    def fit_numbers(
        self, names: tuple[str, ...], numbers: Floats, deviations: Floats, weights: Floats
    ) -> BoostedTreesRegressor:
        """Learn from a matrix of shape (rows, names)."""
        self.names_ = names
        self.booster_ = xgboost.XGBRegressor(
            objective="reg:absoluteerror", n_estimators=self.trees, max_depth=self.depth,
            learning_rate=self.learning_rate, subsample=0.8, colsample_bytree=0.4, min_child_weight=20,
            tree_method="hist", base_score=0.0, random_state=SEED, n_jobs=1,
        )  # fmt: skip
        self.booster_.fit(numbers, deviations, sample_weight=weights)
        return self

    def deviations(self, design: Design) -> Floats:
        return self.predict_numbers(design.numbers)

    def predict_numbers(self, numbers: Floats) -> Floats:
        return np.asarray(self.booster_.predict(numbers), dtype=float)

    def form(self) -> ForestForm:
        raw = json.loads(self.booster_.get_booster().save_raw("json"))
        trees = raw["learner"]["gradient_booster"]["model"]["trees"]
        return ForestForm(tuple(self.names_), tuple(_xgboost_tree(tree) for tree in trees), 0.0, single=True)


class StackedTreesRegressor(IssueRegressor):
    """XGBoost on the numbers and on what a linear model makes of the words.

    The trees learn from words that the linear model had not seen: each of BLOCKS contiguous blocks is told what a model
    taught on the others says (Wolpert, *Stacked generalization*, 1992).
    """

    def __init__(self, depth: int = 4, alpha: float = 3.0) -> None:
        self.depth = depth
        self.alpha = alpha

    def fit_deviations(self, design: Design, deviations: Floats) -> StackedTreesRegressor:
        rows, told, matrix = np.arange(len(design)), np.zeros(len(design)), design.matrix(design.space)
        for block in np.array_split(rows, BLOCKS):
            others = np.setdiff1d(rows, block)
            part = LinearTextRegressor(self.alpha).fit_rows(design, others, deviations[others])
            told[block] = part.predict_matrix(matrix[block])
        self.text_ = LinearTextRegressor(self.alpha).fit_deviations(design, deviations)
        numbers, names = np.column_stack([design.numbers, told]), (*design.names, TEXT)
        self.trees_ = BoostedTreesRegressor(self.depth).fit_numbers(names, numbers, deviations, design.weights)
        return self

    def deviations(self, design: Design) -> Floats:
        return self.trees_.predict_numbers(np.column_stack([design.numbers, self.text_.deviations(design)]))

    def form(self) -> StackForm:
        return StackForm(self.text_.form(), self.trees_.form())


class HistogramTreesRegressor(IssueRegressor):
    """scikit-learn's gradient boosting on histograms of the numbers, for the least absolute deviation."""

    def __init__(self, leaves: int = 15, trees: int = 60, learning_rate: float = 0.12) -> None:
        self.leaves = leaves
        self.trees = trees
        self.learning_rate = learning_rate

    def fit_deviations(self, design: Design, deviations: Floats) -> HistogramTreesRegressor:
        self.names_ = design.names
        self.boosting_ = HistGradientBoostingRegressor(
            loss="absolute_error", max_leaf_nodes=self.leaves, max_iter=self.trees, learning_rate=self.learning_rate,
            min_samples_leaf=20, max_features=0.4, max_bins=BINS, early_stopping=False, random_state=SEED,
        )  # fmt: skip
        numbers = design.numbers.copy()
        numbers[:, np.isnan(numbers).all(axis=0)] = 0.0  # its binning fails on a column of which nothing is known
        self.boosting_.fit(numbers, deviations, sample_weight=design.weights)
        return self

    def deviations(self, design: Design) -> Floats:
        return np.asarray(self.boosting_.predict(design.numbers))

    def form(self) -> ForestForm:
        # Its trees have no public form; the parity check of every training notices a change.
        trees = [_histogram_tree(rows[0].nodes) for rows in self.boosting_._predictors]
        intercept = float(np.ravel(self.boosting_._baseline_prediction)[0])
        return ForestForm(tuple(self.names_), tuple(trees), intercept, single=False)


class LadderRegressor(IssueRegressor):
    """An ordinal view: ridge regression for the place that an outcome takes among its project's recent ones."""

    def __init__(self, alpha: float = 10.0) -> None:
        self.alpha = alpha

    def fit_deviations(self, design: Design, deviations: Floats) -> LadderRegressor:
        rows = [row for row, issue in enumerate(design.issues) if issue.ladder]
        places = [place_on(design.issues[row].ladder, float(deviations[row])) for row in rows]
        if not rows:  # no project has a ladder yet: everybody's middle
            rows, places = list(range(len(design))), [RUNGS / 2] * len(design)
        targets = np.array(places, dtype=float)
        self.part_ = LinearTextRegressor(self.alpha).fit_rows(design, np.array(rows, dtype=np.int64), targets)
        return self

    def deviations(self, design: Design) -> Floats:
        pairs = zip(design.issues, self.part_.deviations(design), strict=True)
        return np.array([value_at(issue.ladder, float(place)) for issue, place in pairs], dtype=float)

    def form(self) -> LadderForm:
        return LadderForm(self.part_.form())


class ShrinkageRegressor(IssueRegressor):
    """Levels of groups shrunk towards their project's, and that towards everybody's; learns everybody's level."""

    def __init__(self, rows: float = 10.0, groups: tuple[str, ...] = ()) -> None:
        self.rows = rows
        self.groups = groups

    def fit_deviations(self, design: Design, deviations: Floats) -> ShrinkageRegressor:
        levels = [d * i.spread + i.centre for i, d in zip(design.issues, deviations, strict=True)]
        self.centre_ = float(np.mean(levels))
        return self

    def deviations(self, design: Design) -> Floats:
        form = self.form()
        return np.array([form.deviation(issue) for issue in design.issues], dtype=float)

    def form(self) -> ShrinkageForm:
        return ShrinkageForm(self.centre_, float(self.rows), tuple(self.groups))


class BlendRegressor(IssueRegressor):
    """The mean of other candidates."""

    def __init__(self, parts: tuple[IssueRegressor, ...] = ()) -> None:
        self.parts = parts

    def fit_deviations(self, design: Design, deviations: Floats) -> BlendRegressor:
        for part in self.parts:
            part.fit_deviations(design, deviations)
        return self

    def deviations(self, design: Design) -> Floats:
        return np.asarray(np.mean([part.deviations(design) for part in self.parts], axis=0))

    def form(self) -> MeanForm:
        return MeanForm(tuple(part.form() for part in self.parts))


def _design(issues: Issues | Design) -> Design:
    return issues if isinstance(issues, Design) else Design(issues)


def _xgboost_tree(tree: Mapping[str, Any]) -> Tree:
    """A tree of XGBoost's JSON model: leaves keep their value among the split conditions."""
    left = tree["left_children"]
    # Written with as few digits as tell one single-precision number from the next.
    conditions = np.array(tree["split_conditions"], dtype=np.float32).astype(float).tolist()
    leaf = [child == -1 for child in left]
    return Tree(
        feature=tuple(-1 if is_leaf else index for is_leaf, index in zip(leaf, tree["split_indices"], strict=True)),
        threshold=tuple(conditions),
        left=tuple(left),
        right=tuple(tree["right_children"]),
        missing_left=tuple(bool(value) for value in tree["default_left"]),
        value=tuple(conditions),
    )


def _histogram_tree(nodes: Any) -> Tree:
    """A tree of scikit-learn's histogram boosting, which goes left where a number is *at most* the threshold."""
    leaf = nodes["is_leaf"].astype(bool)
    # A split of what is known from what is not has an infinite threshold, which JSON does not know.
    thresholds = np.minimum(np.nextafter(nodes["num_threshold"], np.inf), np.finfo(float).max)
    return Tree(
        feature=tuple(np.where(leaf, -1, nodes["feature_idx"].astype(int)).tolist()),
        threshold=tuple(np.where(leaf, 0.0, thresholds).tolist()),
        left=tuple(nodes["left"].astype(int).tolist()),
        right=tuple(nodes["right"].astype(int).tolist()),
        missing_left=tuple(nodes["missing_go_to_left"].astype(bool).tolist()),
        value=tuple(nodes["value"].astype(float).tolist()),
    )
