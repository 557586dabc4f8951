"""An answer given once more, and held against what was said."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from flask import Response
from flask_openapi3 import APIBlueprint, Tag
from pydantic import BaseModel, Field
from pydantic_core import to_json

from forecastle.access.principals import Permission
from forecastle.errors import NotFoundError
from forecastle.registry.declaration import ModelType
from forecastle.registry.replay import Difference, replay
from forecastle.registry.serving import ServingModels
from forecastle.store.database import Database
from forecastle.store.predictions import get_prediction
from serving.authentication import current_principal
from serving.predictions import SECURITY, PredictionPath


class Differing(BaseModel):
    name: str = Field(description="A number of the features, or a field of the answer")
    then: Any = Field(description="As it was; null where it was not known")
    now: Any = Field(description="As it is now")
    by: float | None = Field(description="Now minus then, where both are numbers")


class Compared(BaseModel):
    verdict: Literal["identical", "differs", "not_possible"]
    differences: list[Differing]


class Replayed(BaseModel):
    """Whether an answer comes out again."""

    prediction_id: str
    verdict: Literal["identical", "differs", "not_possible"]
    scored: Compared = Field(description="The numbers that were kept, scored by the version that answered")
    rebuilt: Compared = Field(description="The same from what the store knows of the moment now")
    reasons: list[str] = Field(description="Why it differs or is not possible, as far as that can be known")


def replay_blueprint(
    model_types: Mapping[str, ModelType], models: ServingModels, database: Database, problems: dict[Any, Any]
) -> APIBlueprint:
    tag = Tag(name="predictions", description="Answers, and where they come from")
    blueprint = APIBlueprint("replay", __name__, abp_tags=[tag], abp_security=SECURITY)

    @blueprint.post(
        "/api/v1/ml/predictions/<uuid:prediction_id>/replay",
        summary="Give an answer once more",
        responses={200: Replayed, **problems},
    )
    def replay_prediction(path: PredictionPath) -> Any:
        current_principal().require(Permission.READ)
        stored = database.reading(lambda connection: get_prediction(connection, path.prediction_id))
        if stored.model_type not in model_types:
            raise NotFoundError(f"this release has no model type {stored.model_type} any more")
        found = replay(database, models.objects, model_types[stored.model_type], stored)
        replayed = Replayed(
            prediction_id=str(stored.id),
            verdict=found.verdict,
            scored=Compared(verdict=found.scored, differences=_shown(found.scored_differences)),
            rebuilt=Compared(verdict=found.rebuilt, differences=_shown(found.rebuilt_differences)),
            reasons=list(found.reasons),
        )
        return Response(to_json(replayed, inf_nan_mode="null"), content_type="application/json")

    return blueprint


def _shown(differences: Sequence[Difference]) -> list[Differing]:
    return [Differing(name=one.name, then=one.then, now=one.now, by=one.by) for one in differences]
