"""One route a model type, and the passport of every answer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal
from uuid import UUID

from flask import jsonify
from flask_openapi3 import APIBlueprint, Tag
from pydantic import BaseModel, Field

from forecastle.access.principals import Permission, Principal
from forecastle.registry.declaration import ModelType
from forecastle.store.database import Database
from forecastle.store.predictions import get_prediction
from serving.answering import Answerer
from serving.authentication import current_principal

SECURITY = [{"api_key": []}]


class PredictionPath(BaseModel):
    prediction_id: UUID = Field(description="Id of a prediction, as its answer gave it")


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
        stored = database.retrying(lambda connection: get_prediction(connection, path.prediction_id))
        return jsonify(
            Passport(
                prediction_id=str(stored.id),
                registered_model=stored.model_name,
                version=stored.model_version,
                project_id=str(stored.project_id),
                asked_by=stored.principal,
                moment=stored.moment.isoformat(),
                **{name: getattr(stored, name) for name in _SAME_NAME},
            ).model_dump()
        )

    return blueprint


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
    def predict(body: Any) -> Any:
        return jsonify(answerer.answer(model_type, body, _predicting()))

    def predict_including(body: Any, query: Including) -> Any:
        return jsonify(answerer.answer(model_type, body, _predicting(), frozenset(query.include)))

    route = predict_including if SHOWN_BY_INCLUDE in model_type.answer_type().model_fields else predict
    # The type of the body decides what is validated and what OpenAPI shows.
    route.__annotations__["body"] = model_type.request_type()
    route.__name__ = model_type.name.replace(".", "_")
    blueprint.post(
        model_type.route,
        summary=model_type.summary,
        responses={200: model_type.answer_type(), **problems},
    )(route)


def _predicting() -> Principal:
    """Who asks, and may. Raises NotAllowedError."""
    principal = current_principal()
    principal.require(Permission.PREDICT)
    return principal
