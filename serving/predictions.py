"""One route a model type, and the passport of every answer."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, Literal, TypeVar
from uuid import UUID

from flask import Response, abort, jsonify, request
from flask_openapi3 import APIBlueprint, Tag
from pydantic import BaseModel, Field, ValidationError
from pydantic_core import to_json

from forecastle.access.principals import Permission, Principal
from forecastle.registry.declaration import ModelType
from forecastle.registry.performance import realised_of
from forecastle.store.database import Connection, Database
from forecastle.store.datasets import find_redaction
from forecastle.store.forgetting import redacted_at
from forecastle.store.ground_truth import truths_of
from forecastle.store.predictions import StoredPrediction, get_prediction
from serving.answering import Answerer
from serving.authentication import current_principal
from serving.figures import RealisedFigures
from serving.problems import validation_problem

Model = TypeVar("Model", bound=BaseModel)

SECURITY = [{"api_key": []}]
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
"""No moment that is asked with lies before it: PostgreSQL and identifiers know later ones."""


class PredictionPath(BaseModel):
    prediction_id: UUID = Field(description="Id of a prediction, as its answer gave it")


class GroundTruth(BaseModel):
    value: float = Field(description="In the unit of the model type's target")
    source: str
    known_at: datetime = Field(description="Since when it is known, UTC")
    recorded_by: str
    recorded_at: datetime = Field(description="When it was written down, UTC")


class Passport(BaseModel):
    """Where an answer comes from: enough to find its model, its data and its code again."""

    prediction_id: str
    model_type: str
    registered_model: str
    version: int
    alias: str
    run_id: str
    dataset_digest: str
    git_commit: str
    feature_digest: str
    bundle_digest: str
    input_digest: str
    project_id: str
    asked_by: str
    moment: str = Field(description="Until when history counted, UTC")
    method: str
    latency_ms: float
    answer: dict[str, Any]
    redacted_at: datetime | None = Field(description="When text was erased from the request or the answer, if it was")
    dataset_redacted_at: datetime | None = Field(
        description="When text was erased from the file of the dataset, if it was: its digest is that of before"
    )
    ground_truth: GroundTruth | None = Field(description="What came out, once it is known")
    superseded_ground_truth: list[GroundTruth] = Field(description="What was said of it before, in the order it came")
    realised: RealisedFigures | None = Field(description="How this version did in this project, as it is known now")


def predictions_blueprint(
    model_types: Mapping[str, ModelType], answerer: Answerer, database: Database, problems: dict[Any, Any]
) -> APIBlueprint:
    tag = Tag(name="predictions", description="Answers, and where they come from")
    blueprint = APIBlueprint("predictions", __name__, abp_tags=[tag], abp_security=SECURITY)
    for model_type in model_types.values():
        _add_route(blueprint, model_type, answerer, problems)

    @blueprint.get(
        "/api/v1/ml/predictions/<uuid:prediction_id>/passport",
        summary="The passport of an answer",
        responses={200: Passport, **problems},
    )
    def passport(path: PredictionPath) -> Any:
        current_principal().require(Permission.READ)
        found = database.retrying(lambda connection: _passport(connection, model_types, path.prediction_id))
        return jsonify(found.model_dump(mode="json"))

    return blueprint


def _passport(connection: Connection, model_types: Mapping[str, ModelType], prediction_id: UUID) -> Passport:
    stored = get_prediction(connection, prediction_id)
    truths = truths_of(connection, stored.family, stored.id)
    counting, *superseded = [GroundTruth(**vars(truth)) for truth in truths] or [None]
    return Passport(
        prediction_id=str(stored.id),
        registered_model=stored.model_name,
        version=stored.model_version,
        project_id=str(stored.project_id),
        asked_by=stored.principal,
        moment=stored.moment.isoformat(),
        redacted_at=redacted_at(connection, stored.family, stored.id),
        dataset_redacted_at=find_redaction(connection, stored.dataset_digest),
        ground_truth=counting,
        superseded_ground_truth=superseded,
        realised=_realised(connection, model_types, stored),
        **{name: getattr(stored, name) for name in _SAME_NAME},
    )


def _realised(
    connection: Connection, model_types: Mapping[str, ModelType], stored: StoredPrediction
) -> RealisedFigures | None:
    model_type = model_types.get(stored.model_type)
    if model_type is None:  # one that this version of Forecastle has no longer
        return None
    found = realised_of(connection, model_type, stored.model_name, stored.model_version, stored.project_id)
    return None if found is None else RealisedFigures.model_validate(found)


_SAME_NAME = (
    "model_type", "alias", "run_id", "dataset_digest", "git_commit", "feature_digest", "bundle_digest",
    "input_digest", "method", "latency_ms", "answer",
)  # fmt: skip


class Including(BaseModel):
    """What an answer may show beside what it always shows."""

    include: list[Literal["similar"]] = Field(default=[], description="similar: the most similar completed issues")


SHOWN_BY_INCLUDE = "similar_issues"
"""The field of an answer that `include=similar` asks for; model types whose answers have none do not take it."""


def _add_route(blueprint: APIBlueprint, model_type: ModelType, answerer: Answerer, problems: dict[Any, Any]) -> None:
    request_type = model_type.request_type()

    def predict(body: Any = None) -> Any:
        return _answered(answerer, model_type, request_type, frozenset())

    def predict_including(body: Any = None, query: Any = None) -> Any:
        including = _validated(Including, {"include": request.args.getlist("include")})
        return _answered(answerer, model_type, request_type, frozenset(including.include))

    route = predict_including if SHOWN_BY_INCLUDE in model_type.answer_type().model_fields else predict
    # The types in the signature are what OpenAPI shows. Bodies are validated by the same types, here: straight from
    # their bytes, where flask-openapi3 would make objects of them first.
    predict_including.__annotations__["query"] = Including
    route.__annotations__["body"] = request_type
    route.__delay_validate_request__ = True  # type: ignore[attr-defined]
    route.__name__ = model_type.name.replace(".", "_")
    blueprint.post(
        model_type.route,
        summary=model_type.summary,
        responses={200: model_type.answer_type(), **problems},
    )(route)


def _answered(
    answerer: Answerer, model_type: ModelType, request_type: type[BaseModel], include: frozenset[str]
) -> Response:
    """Raises NotAllowedError, and what `Answerer.answer` raises."""
    fields = answerer.answer(model_type, _body(request_type), _predicting(), include)
    return Response(to_json(fields), content_type="application/json")


def _body(request_type: type[Model]) -> Model:
    """The request, straight from its bytes."""
    if request.is_json:
        with suppress(ValidationError):
            return request_type.model_validate_json(request.get_data())
    # By way of objects what is wrong has a place, where it makes the whole no JSON for Pydantic: half a pair of UTF-16.
    return _validated(request_type, request.get_json(silent=True))


def _validated(kind: type[Model], found: Any) -> Model:
    """Ends the request with a problem where it is invalid, as flask-openapi3 does."""
    try:
        return kind.model_validate(found)
    except ValidationError as error:
        abort(validation_problem(error))


def _predicting() -> Principal:
    """Who asks, and may. Raises NotAllowedError."""
    principal = current_principal()
    principal.require(Permission.PREDICT)
    return principal
