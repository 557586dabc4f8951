"""The example of a model type is answered through a bundle, before the bundle may answer anybody."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib.resources import files
from typing import Any

from forecastle.errors import ForecastleError, IntegrityError
from forecastle.records.outcomes import NOTHING_KNOWN, Known
from forecastle.registry.answering import Answered, Context
from forecastle.registry.declaration import ModelType
from forecastle.registry.predictor import Predictor


class NoHistory:
    """A history reader for which every project exists and nothing is known of it, so that the model itself answers."""

    def known(self, requests: Sequence[Mapping[str, Any]], moment: Any) -> Sequence[tuple[str, Known] | None]:
        return [(request["project_id"], NOTHING_KNOWN) for request in requests]


def answer_example(predictor: Predictor) -> None:
    """Answer the example's request as every view sees it; nothing is stored.

    Raises IntegrityError where an answer is not what the model type declares, or there is none.
    """
    model_type = predictor.model_type
    asked = _example(model_type)["request"]
    requests = [model_type.request_type().model_validate(model_type.masked(view, asked)) for view in model_type.views]
    context = Context(lambda cluster: predictor, NoHistory(), datetime.now(UTC))
    try:
        for answered in model_type.answering(requests, context):
            _require_answer(predictor, answered)
    except Exception as error:  # noqa: BLE001 - whatever the content of a bundle makes the code do
        raise IntegrityError(
            f"{model_type.name}: the bundle does not answer the model type's example ({type(error).__name__}); "
            "train a new version"
        ) from None


def _require_answer(predictor: Predictor, answered: Answered | ForecastleError) -> None:
    """Raises what came instead of an answer, and ValueError for one that is none."""
    if isinstance(answered, ForecastleError):
        raise answered
    fields = {**answered.fields, "model_version": predictor.model_type.name, "prediction_id": ""}
    predictor.model_type.answer_type().model_validate(fields)
    prediction, numbers = answered.prediction, [answered.prediction.settled.value]
    if predictor.bundle is not None:  # the model itself, whose estimate a scale may hide
        numbers.append(predictor.bundle.views[prediction.view].model.estimate(prediction.features))
    if not all(map(math.isfinite, numbers)):
        raise ValueError


def _example(model_type: ModelType) -> Mapping[str, Any]:
    """The folder's `example.json`, which lies beside the code that answers."""
    folder = model_type.answer_many.partition(":")[0].rpartition(".")[0]
    found: dict[str, Any] = json.loads((files(folder) / "example.json").read_text("utf-8"))
    return found
