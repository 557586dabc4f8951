"""Candidates as scikit-learn estimators: what people load from MLflow, and where the façade's form comes from.

Each learns deviations from issues (see `IssueFeatures`) with the weights that the issues bring, and predicts values in
the target's unit for issues or for their table.
"""

from __future__ import annotations

import json
from array import array
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
from forecastle.features.text import TfidfDictionary
from forecastle.learning.forms import (
    Form,
    ForestForm,
    LadderForm,
    LinearForm,
    MeanForm,
    NamedNumbers,
    ShrinkageForm,
    Tree,
    UnitForm,
    is_own,
    place_on,
    value_at,
)
from forecastle.learning.table import issues_of

Floats = NDArray[np.float64]
Issues = Sequence[IssueFeatures]

SEED = 20_260_101
LEAST_DOCUMENTS = 3
MOST_WORDS = 5_000


class IssueRegressor(RegressorMixin, BaseEstimator):  # type: ignore[misc]  # scikit-learn has no types
    """What all candidates share; a candidate says how it learns, how it predicts, and what its form is."""

    def fit(self, issues: Issues, targets: Sequence[float]) -> IssueRegressor:
        deviations = np.array([i.to_deviation(t) for i, t in zip(issues, targets, strict=True)], dtype=float)
        return self.fit_deviations(issues, deviations)

    def predict(self, issues: Issues | pd.DataFrame) -> Floats:
        """Values in the target's unit, shape (rows,)."""
        rows = issues_of(issues) if isinstance(issues, pd.DataFrame) else issues
        return np.array([i.to_units(d) for i, d in zip(rows, self.deviations(rows), strict=True)], dtype=float)

    def fast_form(self) -> UnitForm:
        return UnitForm(self.form())

    def fit_deviations(self, issues: Issues, deviations: Floats) -> IssueRegressor:
        raise NotImplementedError

    def deviations(self, issues: Issues) -> Floats:
        raise NotImplementedError

    def form(self) -> Form:
        raise NotImplementedError


class LinearTextRegressor(IssueRegressor):
    """Ridge regression on numbers, words and labels, and on the latter two for each project once more."""

    def __init__(self, alpha: float = 10.0) -> None:
        self.alpha = alpha

    def fit_deviations(self, issues: Issues, deviations: Floats) -> LinearTextRegressor:
        self.numbers_ = learn_numbers(issues)
        self.clusters_ = sorted({issue.cluster for issue in issues})
        self.names_ = self.numbers_.names(issues)
        self.used_ = np.unique(self._columns(issues)[1])
        matrix = self._matrix(issues)
        # sparse_cg starts from zero and draws no random numbers: the same rows give the same weights.
        self.ridge_ = Ridge(alpha=self.alpha, solver="sparse_cg", tol=1e-4)
        self.ridge_.fit(matrix, deviations, sample_weight=_weights(issues))
        return self

    def deviations(self, issues: Issues) -> Floats:
        found: Floats = self.ridge_.predict(self._matrix(issues))
        return found

    def form(self) -> LinearForm:
        shared = len(self.names_)
        weights = {}
        for column, weight in zip(self.used_.tolist(), self.ridge_.coef_.tolist(), strict=True):
            own, place = divmod(column, shared)
            prefix = f"{self.clusters_[own - 1]}|" if own else ""
            weights[prefix + self.names_[place]] = weight
        return LinearForm(self.numbers_, weights, float(self.ridge_.intercept_))

    def _columns(self, issues: Issues) -> tuple[NDArray[np.int64], NDArray[np.int64], Floats]:
        """Row, column and value of every named number; what a project has of its own lies behind what all share."""
        places = {name: place for place, name in enumerate(self.names_)}
        clusters = {cluster: number for number, cluster in enumerate(self.clusters_)}
        rows, columns, own, values = array("q"), array("q"), array("q"), array("d")
        for row, issue in enumerate(issues):
            shift = len(places) * (clusters[issue.cluster] + 1) if issue.cluster in clusters else 0
            for name, value in self.numbers_.shared(issue):
                if (place := places.get(name)) is not None:
                    rows.append(row)
                    columns.append(place)
                    own.append(place + shift if shift and is_own(name) else -1)
                    values.append(value)
        found = np.frombuffer(rows, dtype=np.int64), np.frombuffer(own, dtype=np.int64)
        mine = found[1] >= 0
        numbers = np.frombuffer(values)
        return (
            np.concatenate([found[0], found[0][mine]]),
            np.concatenate([np.frombuffer(columns, dtype=np.int64), found[1][mine]]),
            np.concatenate([numbers, numbers[mine]]),
        )

    def _matrix(self, issues: Issues) -> csr_matrix:
        rows, columns, values = self._columns(issues)
        places = np.searchsorted(self.used_, columns)
        known = self.used_[np.minimum(places, len(self.used_) - 1)] == columns
        return csr_matrix((values[known], (rows[known], places[known])), shape=(len(issues), len(self.used_)))


class BoostedTreesRegressor(IssueRegressor):
    """XGBoost on the numbers, for the least absolute deviation."""

    def __init__(self, depth: int = 4, trees: int = 200, learning_rate: float = 0.06) -> None:
        self.depth = depth
        self.trees = trees
        self.learning_rate = learning_rate

    def fit_deviations(self, issues: Issues, deviations: Floats) -> BoostedTreesRegressor:
        self.names_ = issues[0].names
        self.booster_ = xgboost.XGBRegressor(
            objective="reg:absoluteerror", n_estimators=self.trees, max_depth=self.depth,
            learning_rate=self.learning_rate, subsample=0.8, colsample_bytree=0.4, min_child_weight=20,
            tree_method="hist", base_score=0.0, random_state=SEED, n_jobs=1,
        )  # fmt: skip
        self.booster_.fit(_numbers(issues, self.names_), deviations, sample_weight=_weights(issues))
        return self

    def deviations(self, issues: Issues) -> Floats:
        return np.asarray(self.booster_.predict(_numbers(issues, self.names_)), dtype=float)

    def form(self) -> ForestForm:
        raw = json.loads(self.booster_.get_booster().save_raw("json"))
        trees = raw["learner"]["gradient_booster"]["model"]["trees"]
        return ForestForm(tuple(self.names_), tuple(_xgboost_tree(tree) for tree in trees), 0.0, single=True)


class HistogramTreesRegressor(IssueRegressor):
    """scikit-learn's gradient boosting on histograms of the numbers, for the least absolute deviation."""

    def __init__(self, leaves: int = 15, trees: int = 120, learning_rate: float = 0.08) -> None:
        self.leaves = leaves
        self.trees = trees
        self.learning_rate = learning_rate

    def fit_deviations(self, issues: Issues, deviations: Floats) -> HistogramTreesRegressor:
        self.names_ = issues[0].names
        self.boosting_ = HistGradientBoostingRegressor(
            loss="absolute_error", max_leaf_nodes=self.leaves, max_iter=self.trees, learning_rate=self.learning_rate,
            min_samples_leaf=20, max_features=0.4, early_stopping=False, random_state=SEED,
        )  # fmt: skip
        numbers = _numbers(issues, self.names_)
        numbers[:, np.isnan(numbers).all(axis=0)] = 0.0  # its binning fails on a column of which nothing is known
        with threadpool_limits(1, user_api="openmp"):  # threads that spin for each other cost more than they give
            self.boosting_.fit(numbers, deviations, sample_weight=_weights(issues))
        return self

    def deviations(self, issues: Issues) -> Floats:
        found: Floats = self.boosting_.predict(_numbers(issues, self.names_))
        return found

    def form(self) -> ForestForm:
        # Its trees have no public form; the parity check of every training notices a change.
        trees = [_histogram_tree(rows[0].nodes) for rows in self.boosting_._predictors]  # noqa: SLF001
        intercept = float(np.ravel(self.boosting_._baseline_prediction)[0])  # noqa: SLF001
        return ForestForm(tuple(self.names_), tuple(trees), intercept, single=False)


class LadderRegressor(IssueRegressor):
    """An ordinal view: ridge regression for the place that an outcome takes among its project's recent ones."""

    def __init__(self, alpha: float = 10.0) -> None:
        self.alpha = alpha

    def fit_deviations(self, issues: Issues, deviations: Floats) -> LadderRegressor:
        rows = [number for number, issue in enumerate(issues) if issue.ladder]
        places = np.array([place_on(issues[row].ladder, float(deviations[row])) for row in rows], dtype=float)
        if not rows:  # no project has a ladder yet: everybody's middle
            rows, places = list(range(len(issues))), np.full(len(issues), RUNGS / 2)
        self.part_ = LinearTextRegressor(self.alpha).fit_deviations([issues[row] for row in rows], places)
        return self

    def deviations(self, issues: Issues) -> Floats:
        places = self.part_.deviations(issues)
        return np.array([value_at(i.ladder, place) for i, place in zip(issues, places, strict=True)], dtype=float)

    def form(self) -> LadderForm:
        return LadderForm(self.part_.form())


class ShrinkageRegressor(IssueRegressor):
    """Levels of groups shrunk towards their project's, and that towards everybody's; learns everybody's level."""

    def __init__(self, rows: float = 10.0, groups: tuple[str, ...] = ()) -> None:
        self.rows = rows
        self.groups = groups

    def fit_deviations(self, issues: Issues, deviations: Floats) -> ShrinkageRegressor:
        levels = [d * i.spread + i.centre for i, d in zip(issues, deviations, strict=True)]
        self.centre_ = float(np.mean(levels))
        return self

    def deviations(self, issues: Issues) -> Floats:
        form = self.form()
        return np.array([form.deviation(issue) for issue in issues], dtype=float)

    def form(self) -> ShrinkageForm:
        return ShrinkageForm(self.centre_, float(self.rows), tuple(self.groups))


class BlendRegressor(IssueRegressor):
    """The mean of other candidates."""

    def __init__(self, parts: tuple[IssueRegressor, ...] = ()) -> None:
        self.parts = parts

    def fit_deviations(self, issues: Issues, deviations: Floats) -> BlendRegressor:
        for part in self.parts:
            part.fit_deviations(issues, deviations)
        return self

    def deviations(self, issues: Issues) -> Floats:
        found: Floats = np.mean([part.deviations(issues) for part in self.parts], axis=0)
        return found

    def form(self) -> MeanForm:
        return MeanForm(tuple(part.form() for part in self.parts))


def learn_numbers(issues: Issues) -> NamedNumbers:
    """Vocabularies, and mean and deviation of every number as far as it is known."""
    names = issues[0].names
    matrix = _numbers(issues, names)
    scaling = {}
    for name, column in zip(names, matrix.T, strict=True):
        known = column[~np.isnan(column)]
        if len(known):
            deviation = float(known.std())
            scaling[name] = (float(known.mean()), deviation if deviation > 1e-9 else 1.0)
    return NamedNumbers(
        TfidfDictionary.learn((issue.title for issue in issues), LEAST_DOCUMENTS, MOST_WORDS),
        TfidfDictionary.learn((issue.description for issue in issues), LEAST_DOCUMENTS, MOST_WORDS),
        scaling,
    )


def _numbers(issues: Issues, names: Sequence[str]) -> Floats:
    """Shape (rows, names); all issues of a training have the same names."""
    matrix = np.empty((len(issues), len(names)))
    for row, issue in enumerate(issues):
        matrix[row] = issue.numbers
    return matrix


def _weights(issues: Issues) -> Floats:
    weights = np.array([issue.weight for issue in issues], dtype=float)
    found: Floats = weights / weights.mean()
    return found


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
    return Tree(
        feature=tuple(np.where(leaf, -1, nodes["feature_idx"].astype(int)).tolist()),
        threshold=tuple(np.where(leaf, 0.0, np.nextafter(nodes["num_threshold"], np.inf)).tolist()),
        left=tuple(nodes["left"].astype(int).tolist()),
        right=tuple(nodes["right"].astype(int).tolist()),
        missing_left=tuple(nodes["missing_go_to_left"].astype(bool).tolist()),
        value=tuple(nodes["value"].astype(float).tolist()),
    )
