"""The façade, whole or with some of its layers, as WSGI applications that a server of Flask loads.

`create` reads which one from BENCHMARK_APPLICATION, "<layer> <model type>", and everything else as the façade does.
Each layer has all that stand before it; the parts are the product's own.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from flask import Flask, Response
from flask_openapi3 import Info, OpenAPI
from pydantic import BaseModel
from pydantic_core import to_json

import projects
from benchmarks.numeric import MODEL_TYPE as NUMERIC
from forecastle.access.principals import Principal
from forecastle.errors import ForecastleError
from forecastle.registry.answering import Context
from forecastle.registry.declaration import HistoryReader, ModelType
from forecastle.registry.history import remembering
from forecastle.registry.remembering import Announcements
from forecastle.registry.serving import ServingModels
from forecastle.settings import Settings
from forecastle.store.database import Database
from forecastle.store.objects import Objects
from serving import authentication, problems
from serving.application import create_application
from serving.door import Door, create_door
from serving.predictions import predictions_blueprint

VARIABLE = "BENCHMARK_APPLICATION"
MODEL_TYPES: Mapping[str, ModelType] = {**projects.discover(), NUMERIC.name: NUMERIC}

LAYERS: Mapping[str, str] = {
    "empty": "an empty Flask answer",
    "framework": "+ routing, errors and an answer as JSON",
    "key": "+ API key",
    "validation": "+ validation of the body",
    "features": "+ features, from what is remembered of history",
    "answer": "+ fast form, baselines and interval",
    "log": "+ prediction id, passport and log: all of it through Flask",
    "door": "the whole façade: the same, answered at the door",
}
EMPTY, FLASK, WHOLE = "empty", "log", "door"
_ANSWER = {
    "value": 12.25,
    "prediction_range": {"min": 5.68, "max": 25.34, "target": 0.8},
    "method": "ml_model",
    "reasoning": "What the issue says, and how the project's last 50 known issues and those like it went.",
    "model_version": "delivery.something/1",
    "prediction_id": "019aa111-7d2c-7b3e-9c41-5f0d2a6b8e18",
}


def create() -> Flask:
    """The application that the environment names."""
    layer, model_type = os.environ[VARIABLE].split()
    return application(layer, MODEL_TYPES[model_type], Settings.from_env())


def create_whole() -> Door:
    """The façade as it is served, with the benchmark's model type beside its own."""
    return create_door(Settings.from_env(), MODEL_TYPES)


def application(layer: str, model_type: ModelType, settings: Settings) -> Flask:
    if layer == FLASK:
        return create_application(settings, MODEL_TYPES)
    app = _empty(model_type) if layer == EMPTY else _layered(layer, model_type, settings)
    app.add_url_rule("/health/live", "live", lambda: "")
    return app


def _layered(layer: str, model_type: ModelType, settings: Settings) -> Flask:
    app = OpenAPI(__name__, info=Info(title="Layers", version="1"), validation_error_status=400)
    problems.register(app)
    database = Database(settings.require_database_url(), settings.pool_size)
    if layer != "framework":
        authentication.register(app, authentication.Keys(database))
    if layer in ("framework", "key"):
        app.post(model_type.route)(lambda: Response(to_json(_ANSWER), content_type="application/json"))
        return app
    models = ServingModels(database, Objects.of(settings), {model_type.name: model_type})
    models.start()
    announcements = Announcements(database)
    announcements.start()
    answerer: Any = _Answerer(layer, models, remembering(database, model_type, announcements))
    app.register_api(predictions_blueprint({model_type.name: model_type}, answerer, database, {}))
    return app


def _empty(model_type: ModelType) -> Flask:
    app = Flask(__name__)
    app.post(model_type.route)(lambda: Response("{}", content_type="application/json"))
    return app


@dataclass(frozen=True)
class _Answerer:
    """Stands where the façade has its own, and leaves off after its layer."""

    layer: str
    models: ServingModels
    history: HistoryReader

    def answer(
        self, model_type: ModelType, request: BaseModel, principal: Principal, include: frozenset[str] = frozenset()
    ) -> Mapping[str, Any]:
        if self.layer == "validation":
            return _ANSWER
        moment = datetime.now(UTC)
        if self.layer == "features":
            asked = request.model_dump()
            (found,) = self.history.known([asked], moment)
            assert found is not None
            predictor = self.models.for_cluster(model_type, found[0]).predictor
            seen = model_type.masked(predictor.view_for(asked), asked)
            predictor.scorer.extract(seen, *found)
            return _ANSWER
        context = Context(
            lambda cluster: self.models.for_cluster(model_type, cluster).predictor, self.history, moment, include
        )
        (answered,) = model_type.answering([request], context)
        if isinstance(answered, ForecastleError):
            raise answered
        ends = {name: _ANSWER[name] for name in ("model_version", "prediction_id")}
        return {**answered.fields, **ends}
