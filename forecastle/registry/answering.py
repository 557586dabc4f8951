"""What a model type's `answer_many` is handed, and what it hands back."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import AfterValidator
from pydantic_core import PydanticCustomError

from forecastle.records.outcomes import Known
from forecastle.registry.declaration import HistoryReader
from forecastle.registry.predictor import Prediction, Predictor


def _without_nul(text: str) -> str:
    if "\x00" in text:
        raise PydanticCustomError("nul_character", "Text holds no NUL character")
    return text


Text = Annotated[str, AfterValidator(_without_nul)]
"""Text of a request: whatever can be written down, and PostgreSQL takes no NUL."""


@dataclass(frozen=True)
class Context:
    """Who predicts for a cluster, who reads what was known, and the moment (on the history's axis of time)."""

    predictor_for: Callable[[str], Predictor]
    history: HistoryReader
    moment: Any


@dataclass(frozen=True)
class Answered:
    """One answer before it is stored: the cluster, what was known of it, the prediction, and the answer's fields.

    The caller adds `model_version` and `prediction_id`.
    """

    cluster: str
    known: Known
    prediction: Prediction
    fields: Mapping[str, Any]
