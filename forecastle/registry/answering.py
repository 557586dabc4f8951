"""What a model type's `answer_many` is handed, and what it hands back."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, Field
from pydantic_core import PydanticCustomError

from forecastle.errors import ForecastleError, NotFoundError
from forecastle.records.outcomes import Known
from forecastle.registry.declaration import HistoryReader
from forecastle.registry.predictor import Prediction, Predictor


def _without_nul(text: str) -> str:
    if "\x00" in text:
        raise PydanticCustomError("nul_character", "Text holds no NUL character")
    return text


Text = Annotated[str, AfterValidator(_without_nul)]
"""Text of a request: whatever can be written down, and PostgreSQL takes no NUL."""

IssueKey = Annotated[
    Text | None,
    Field(
        default=None,
        min_length=1,
        max_length=255,
        description="Key of the issue in the tracker, if there is one: its outcome becomes ground truth when imported",
    ),
]
"""The issue that a request asks about; no model looks at it."""


@dataclass(frozen=True)
class Context:
    """Who predicts for a cluster, who reads what was known, and the moment (on the history's axis of time)."""

    predictor_for: Callable[[str], Predictor]
    history: HistoryReader
    moment: Any
    include: frozenset[str] = frozenset()
    """What the answer is to show beside what it always shows."""


@dataclass(frozen=True)
class Answered:
    """One answer before it is stored: the cluster, what was known of it, the prediction, and the answer's fields.

    The caller adds `model_version` and `prediction_id`.
    """

    cluster: str
    known: Known
    prediction: Prediction
    fields: Mapping[str, Any]


def answer_each(
    requests: Sequence[BaseModel],
    context: Context,
    fields: Callable[[Mapping[str, Any], Prediction, Known], Mapping[str, Any]],
) -> list[Answered | ForecastleError]:
    """Predict for every request, or say why not; what was known of all their projects is read at once.

    `fields` makes the answer's fields from the request, the prediction and what was known.
    """
    asked = [request.model_dump() for request in requests]
    known = context.history.known(asked, context.moment)
    answers: list[Answered | ForecastleError] = [NotFoundError("there is no project with this id or key")] * len(asked)
    by_predictor: dict[int, tuple[Predictor, dict[int, tuple[str, Mapping[str, Any], Known]]]] = {}
    for place, (request, found) in enumerate(zip(asked, known, strict=True)):
        if found is not None:
            try:
                predictor = context.predictor_for(found[0])
            except ForecastleError as error:
                answers[place] = error
            else:
                by_predictor.setdefault(id(predictor), (predictor, {}))[1][place] = (found[0], request, found[1])
    for predictor, rows in by_predictor.values():
        predictions = predictor.predict_many(list(rows.values()))
        for (place, (cluster, seen, outcomes)), prediction in zip(rows.items(), predictions, strict=True):
            answers[place] = Answered(cluster, outcomes, prediction, fields(seen, prediction, outcomes))
    return answers
