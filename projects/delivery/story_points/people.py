"""The model for people: a scikit-learn estimator over a table of issues, and where the fast form comes from."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd
from scipy.sparse import csr_matrix
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.linear_model import Ridge

from forecastle.records.outcomes import RECENT, Outcomes
from forecastle.registry.examples import Example
from projects.delivery.story_points.model import (
    CANDIDATE,
    IssueNumbers,
    LinearPoints,
    NamedNumbers,
    extract,
    from_points,
    to_points,
)

ALPHA = 10.0
COLUMNS = ("project", "title", "description", "known_count", "known_mean", "known_median", "recent_points")


class LinearTextRegressor(RegressorMixin, BaseEstimator):
    """Ridge regression on named numbers; learns from issues, predicts points for issues or a table of COLUMNS."""

    def __init__(self, alpha: float = ALPHA) -> None:
        self.alpha = alpha

    def fit(self, issues: Sequence[IssueNumbers], targets: Sequence[float]) -> LinearTextRegressor:
        self.numbers_ = NamedNumbers.learn(issues)
        self.columns_: dict[str, int] = {}
        matrix = self._matrix(issues, growing=True)
        deviations = [from_points(target, issue.levels) for target, issue in zip(targets, issues, strict=True)]
        # sparse_cg starts from zero and draws no random numbers: the same rows give the same weights.
        self.ridge_ = Ridge(alpha=self.alpha, solver="sparse_cg", tol=1e-4).fit(matrix, deviations)
        return self

    def predict(self, issues: Sequence[IssueNumbers] | pd.DataFrame) -> Any:
        """Points, shape (rows,)."""
        rows = list(_issues_of(issues)) if isinstance(issues, pd.DataFrame) else issues
        deviations = self.ridge_.predict(self._matrix(rows))
        return np.array([to_points(d, issue.levels) for d, issue in zip(deviations, rows, strict=True)])

    def fast_form(self) -> LinearPoints:
        weights = self.ridge_.coef_
        by_name = {name: float(weights[column]) for name, column in self.columns_.items()}
        return LinearPoints(self.numbers_, by_name, float(self.ridge_.intercept_))

    def _matrix(self, issues: Iterable[IssueNumbers], growing: bool = False) -> csr_matrix:
        columns, starts, indices, values = self.columns_, [0], [], []
        for issue in issues:
            for name, value in self.numbers_.of(issue):
                column = columns.setdefault(name, len(columns)) if growing else columns.get(name)
                if column is not None:
                    indices.append(column)
                    values.append(value)
            starts.append(len(indices))
        return csr_matrix((values, indices, starts), shape=(len(starts) - 1, len(columns)))


def _issues_of(table: pd.DataFrame) -> Iterable[IssueNumbers]:
    """Rows of COLUMNS: `recent_points` holds the project's last known points, oldest first; the others are over all."""
    for project, title, description, count, mean, median, recent in table[list(COLUMNS)].itertuples(index=False):
        points = tuple(float(value) for value in recent)
        outcomes = Outcomes(int(count), float(mean), float(median), points[-RECENT:])
        yield extract({"title": title, "description": description}, project, outcomes)


class StoryPointsTrainer:
    """Fits the candidate, and tells MLflow what it needs to know of the estimator."""

    candidates = (CANDIDATE,)
    trusted_types = (
        "forecastle.features.text.TfidfDictionary",
        "projects.delivery.story_points.model.NamedNumbers",
        "projects.delivery.story_points.people.LinearTextRegressor",
    )

    def fit(self, candidate: str, features: Sequence[IssueNumbers], targets: Sequence[float]) -> LinearTextRegressor:
        return LinearTextRegressor(alpha=ALPHA).fit(features, targets)

    def example_table(self, examples: Sequence[Example]) -> pd.DataFrame:
        rows = [
            (
                e.cluster,
                e.request.get("title", ""),
                e.request.get("description", ""),
                float(e.outcomes.count),
                e.outcomes.mean,
                e.outcomes.median,
                list(e.outcomes.recent),
            )
            for e in examples
        ]
        return pd.DataFrame(rows, columns=list(COLUMNS))


TRAINER = StoryPointsTrainer()
