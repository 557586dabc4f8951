"""The model of all contenders: 200 boosted trees on ten numbers, in every form that one of them serves."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import joblib
import mlflow
import numpy as np
import pandas as pd
import xgboost
from mlflow.models import infer_signature
from numpy.typing import NDArray

from benchmarks.numeric.model import NAMES, NumericForm
from forecastle.learning.regressors import BoostedTreesRegressor

Floats = NDArray[np.float64]

SEED = 20_260_101
ROWS, DEPTH, TREES = 5_000, 4, 200
ASKED = 64
"""How many different requests are sent in turn."""


@dataclass(frozen=True)
class Numeric:
    """The fitted trees, the rows that taught them, and rows to ask about, of shape (ASKED, NAMES)."""

    booster: xgboost.XGBRegressor
    form: NumericForm
    asked: Floats
    errors: Floats

    @property
    def expected(self) -> list[float]:
        """What the booster itself says of the rows to ask about."""
        return [float(value) for value in self.booster.predict(self.asked)]


def fit() -> Numeric:
    """Fit on made-up rows; the same rows every time."""
    random = np.random.default_rng(SEED)
    numbers = random.normal(size=(ROWS, len(NAMES)))
    targets = np.exp(0.5 * numbers[:, 0] + np.sin(numbers[:, 1]) + 0.3 * numbers[:, 2] * numbers[:, 3] + 1)
    targets *= np.exp(0.3 * random.normal(size=ROWS))
    trees = BoostedTreesRegressor(DEPTH, TREES).fit_numbers(NAMES, numbers, targets, np.ones(ROWS))
    errors = np.abs(targets - trees.predict_numbers(numbers))
    return Numeric(trees.booster_, NumericForm(trees.form()), random.normal(size=(ASKED, len(NAMES))), errors)


def save_for_mlflow(numeric: Numeric, folder: Path) -> None:
    """A model in MLflow's XGBoost flavour, with its signature, as its documentation advises."""
    asked: Any = pd.DataFrame(numeric.asked, columns=list(NAMES))
    signature = infer_signature(asked, numeric.booster.predict(asked))
    mlflow.xgboost.save_model(numeric.booster, str(folder), signature=signature, pip_requirements=["xgboost"])


def save_for_sklearn(numeric: Numeric, file: Path) -> None:
    joblib.dump(numeric.booster, file)
