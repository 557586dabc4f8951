"""Retraining decisions: asking for one, and looking at them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flask import jsonify
from flask_openapi3 import APIBlueprint, Tag
from pydantic import BaseModel, Field

from forecastle.access.principals import Permission
from forecastle.registry.answering import Text
from forecastle.registry.decisions import as_document, list_decisions, plan_decision
from forecastle.registry.declaration import ModelType
from forecastle.store.database import Database
from serving.authentication import current_principal

SECURITY = [{"api_key": []}]


class RegisteredModelPath(BaseModel):
    name: Text = Field(description="Registered model: a model type, or a project's own with the project behind it")


class DecisionsQuery(BaseModel):
    limit: int = Field(default=30, ge=1, le=500, description="How many at most, the newest first")


class SignalShown(BaseModel):
    name: str
    value: float | None = Field(description="null where it was not measured, or is infinite")
    beyond: str = Field(description="How the value has to lie beside the threshold to fire")
    threshold: float | None
    unit: str
    fired: bool
    measured: bool
    sentence: str = Field(description="What was looked at, or why it could not be measured")


class Decision(BaseModel):
    """Whether a new training was due, why, and what would have made it another verdict."""

    id: str
    model_name: str
    decided_at: str
    decided_by: str
    verdict: str = Field(description="RETRAIN, WAIT or CANNOT")
    reasons: list[str]
    flip: str = Field(description="The cheapest change that would have made it another verdict")
    signals: list[SignalShown]
    basis: dict[str, Any] = Field(description="Rows to learn from, trainings under way, and the last one with its cost")
    policy: dict[str, Any]
    serves: int | None = Field(description="The version that was in production")
    feature_digest: str
    decision_run: str | None = Field(description="The run of the job that decided")
    training_run: str | None = Field(description="The run of the training that was planned")


class Decisions(BaseModel):
    decisions: list[Decision]


class PlannedDecision(BaseModel):
    run: str = Field(description="The run of the job that decides")
    decisions: str = Field(description="Where the decision will be; its decision_run is this run")


def retraining_blueprint(
    model_types: Mapping[str, ModelType], database: Database, problems: dict[Any, Any]
) -> APIBlueprint:
    tag = Tag(name="retraining", description="Whether a new training is due, and why")
    blueprint = APIBlueprint("retraining", __name__, abp_tags=[tag], abp_security=SECURITY)

    @blueprint.post(
        "/api/v1/retraining/<string:name>/decisions",
        summary="Decide whether a new training is due, and plan it where it is",
        responses={202: PlannedDecision, **problems},
    )
    def decide(path: RegisteredModelPath) -> Any:
        principal = current_principal()
        principal.require(Permission.TRAIN)
        run = plan_decision(database, model_types, path.name, principal.name)
        where = f"/api/v1/retraining/{run.arguments['model']}/decisions"
        return jsonify({"run": str(run.id), "decisions": where}), 202, {"Location": where}

    @blueprint.get(
        "/api/v1/retraining/<string:name>/decisions",
        summary="The newest decisions",
        responses={200: Decisions, **problems},
    )
    def decisions(path: RegisteredModelPath, query: DecisionsQuery) -> Any:
        current_principal().require(Permission.READ)
        found = list_decisions(database, model_types, path.name, query.limit)
        return jsonify({"decisions": [as_document(decision) for decision in found]})

    return blueprint
