"""How versions do on known outcomes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any
from uuid import UUID

from flask import jsonify
from flask_openapi3 import APIBlueprint, Tag
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from forecastle.access.principals import Permission
from forecastle.registry.answering import Text
from forecastle.registry.declaration import ModelType
from forecastle.registry.performance import performance_of
from forecastle.store.database import Database
from serving.authentication import current_principal
from serving.figures import RealisedFigures
from serving.predictions import EPOCH, SECURITY


class ModelPath(BaseModel):
    name: Annotated[Text, Field(description="A model type, or one of its registered models")]


class PerformanceQuery(BaseModel):
    model_config = ConfigDict(extra="forbid")

    project: Annotated[Text | None, Field(default=None, max_length=255, description="Id or key of a project")]
    version: Annotated[int | None, Field(default=None, ge=1, le=2**31 - 1, description="One version")]
    since: Annotated[
        AwareDatetime | None, Field(default=None, ge=EPOCH, description="Predictions made since, as their ids have it")
    ]


class PerformanceFigures(BaseModel):
    model_config = ConfigDict(from_attributes=True)

    registered_model: str
    version: int
    project: str | None = Field(description="Key of the project; null for all of them together")
    project_id: UUID | None
    waiting: int = Field(description="Predictions whose outcome is not known yet")
    asked_late: int = Field(description="Predictions asked after their outcome was known: they count nowhere")
    realised: RealisedFigures


class PerformanceAnswer(BaseModel):
    model: str
    target: str = Field(description="What is predicted; names the unit of the errors")
    versions: list[PerformanceFigures] = Field(description="The newest first, each over all projects and by project")


def performance_blueprint(
    model_types: Mapping[str, ModelType], database: Database, problems: dict[Any, Any]
) -> APIBlueprint:
    tag = Tag(name="performance", description="How versions do on known outcomes")
    blueprint = APIBlueprint("performance", __name__, abp_tags=[tag], abp_security=SECURITY)

    @blueprint.get(
        "/api/v1/ml/models/<name>/performance",
        summary="Realised loss, skill and coverage by version and project",
        responses={200: PerformanceAnswer, **problems},
    )
    def performance(path: ModelPath, query: PerformanceQuery) -> Any:
        current_principal().require(Permission.READ)
        model_type, found = performance_of(database, model_types, path.name, query.project, query.version, query.since)
        versions = [PerformanceFigures.model_validate(each) for each in found]
        answer = PerformanceAnswer(model=path.name, target=model_type.target, versions=versions)
        return jsonify(answer.model_dump(mode="json"))

    return blueprint
