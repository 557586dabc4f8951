"""The trainer of model types that learn from issues: which candidates there are, and how they are made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from forecastle.features.issues import IssueFeatures
from forecastle.learning.design import Design
from forecastle.learning.forms import MeanForm, UnitForm
from forecastle.learning.importance import Importance, importance_of
from forecastle.learning.regressors import (
    BlendRegressor,
    BoostedTreesRegressor,
    HistogramTreesRegressor,
    IssueRegressor,
    LadderRegressor,
    LinearTextRegressor,
    ShrinkageRegressor,
    StackedTreesRegressor,
)
from forecastle.learning.table import table_of

Settings = Mapping[str, Any]

_KINDS: Mapping[str, type[IssueRegressor]] = {
    "linear_text": LinearTextRegressor,
    "ordinal": LadderRegressor,
    "boosted_trees": BoostedTreesRegressor,
    "stacked_trees": StackedTreesRegressor,
    "gradient_boosting": HistogramTreesRegressor,
    "shrinkage": ShrinkageRegressor,
}


@dataclass(frozen=True)
class IssueTrainer:
    """Candidates with the settings to try, the default first, and blends of them."""

    candidates: Mapping[str, Sequence[Settings]]
    blends: Mapping[str, Sequence[str]]

    @property
    def trusted_types(self) -> Sequence[str]:
        return TRUSTED_TYPES

    def prepare(self, features: Sequence[IssueFeatures]) -> Design:
        return Design(features)

    def make(self, candidate: str, settings: Settings) -> IssueRegressor:
        return _KINDS[candidate](**settings)

    def blend(self, parts: Sequence[IssueRegressor]) -> BlendRegressor:
        return BlendRegressor(tuple(parts))

    def table(self, features: Sequence[IssueFeatures]) -> pd.DataFrame:
        return table_of(features)

    def importances(self, candidate: str, form: UnitForm) -> list[Importance]:
        parts = form.form.parts if isinstance(form.form, MeanForm) else (form.form,)
        names = self.blends.get(candidate, (candidate,))
        return [importance_of(name, part) for name, part in zip(names, parts, strict=True)]


_REGRESSORS: tuple[type[IssueRegressor], ...] = (*_KINDS.values(), BlendRegressor)

TRUSTED_TYPES = (
    "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor",
    "forecastle.features.text.TfidfDictionary",
    "forecastle.learning.design.Space",
    "forecastle.learning.forms.NamedNumbers",
    *(f"{kind.__module__}.{kind.__qualname__}" for kind in _REGRESSORS),
    "xgboost.core.Booster",
    "xgboost.sklearn.XGBRegressor",
)
