"""Builds the façade; nothing connects or reads the environment on import."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from flask import Flask, jsonify
from flask.json.provider import DefaultJSONProvider
from flask_openapi3 import Info, OpenAPI
from flask_openapi3.models.security_scheme import SecurityScheme

import projects
from forecastle import __version__
from forecastle.errors import ConfigurationError, ServerError
from forecastle.registry.cache import MEGABYTE, ModelCache
from forecastle.registry.declaration import ModelType
from forecastle.registry.history import StoredHistory, remembering
from forecastle.registry.loading import loadable
from forecastle.registry.mlflow_rest import MlflowRest
from forecastle.registry.promotions import Promoter
from forecastle.registry.remembering import Announcements
from forecastle.registry.serving import ServingModels
from forecastle.settings import Settings
from forecastle.store.database import Database
from forecastle.store.migrate import require_current
from forecastle.store.objects import Objects
from forecastle.store.prediction_log import PredictionLog
from serving import authentication, health, problems
from serving.answering import Answerer
from serving.batches import batches_blueprint
from serving.ground_truth import ground_truth_blueprint
from serving.jobs import jobs_blueprint
from serving.models import models_blueprint
from serving.performance import performance_blueprint
from serving.predictions import predictions_blueprint
from serving.registry import registry_blueprint
from serving.replay import replay_blueprint
from serving.retraining import retraining_blueprint
from serving.webhooks import ROUTE as WEBHOOK
from serving.webhooks import webhooks_blueprint

MOST_BODY_BYTES = 4 * 1024 * 1024
EXTENSION = "forecastle"
"""Where the application keeps its parts, as Flask's extensions do."""


@dataclass(frozen=True)
class Parts:
    """What the application answers with, for who answers without it."""

    database: Database
    keys: authentication.Keys
    answerer: Answerer
    announcements: Announcements | None

    def close(self) -> None:
        """Write what waits, and stop following what changes."""
        self.answerer.log.close()
        self.answerer.models.stop()
        if self.announcements is not None:
            self.announcements.stop()


def create_application(settings: Settings | None = None, model_types: Mapping[str, ModelType] | None = None) -> Flask:
    """The WSGI application, with its own pool of connections and its own loaded versions.

    It answers for `model_types`, by name, all that are discovered by default. Raises ConfigurationError where a
    setting is missing, or the database lacks migrations.
    """
    settings, model_types = settings or Settings.from_env(), model_types or projects.discover()
    logging.basicConfig(level=settings.log_level, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    database = Database(settings.require_database_url(), settings.pool_size)
    with suppress(ServerError):  # it may come up after the façade does
        require_current(database)
    cache = ModelCache(settings.model_cache_mb * MEGABYTE)
    models = ServingModels(database, Objects.of(settings), model_types, cache)
    # Streams hold threads: half of them stay free for single requests.
    most_streams = max(1, settings.http_threads // 2)
    announcements = Announcements(database)
    application = build(
        database,
        models,
        lambda: promoter_of(settings, database, model_types),
        most_streams,
        settings.webhook_secret,
        announcements,
    )
    models.start()
    announcements.start()
    return application


def promoter_of(settings: Settings, database: Database, model_types: Mapping[str, ModelType]) -> Promoter:
    """Moves production through MLflow's REST API. Raises ConfigurationError where no MLflow is named."""
    return Promoter(
        database,
        Objects.of(settings),
        MlflowRest.of(settings, retries=1),
        loadable(model_types),
        settings.four_eyes,
    )


def _no_promoter() -> Promoter:
    raise ConfigurationError("this façade knows no MLflow: start it with MLFLOW_TRACKING_URI")


class _Json(DefaultJSONProvider):
    sort_keys = False  # an answer reads in the order it was written

    def loads(self, s: str | bytes, **kwargs: Any) -> Any:
        try:
            return super().loads(s, **kwargs)
        except RecursionError:
            raise ValueError("nested too deeply") from None


def build(
    database: Database,
    models: ServingModels,
    promoter: Callable[[], Promoter] = _no_promoter,
    most_streams: int = 4,
    webhook_secret: str | None = None,
    announcements: Announcements | None = None,
) -> Flask:
    """The application over these parts; `promoter` is asked for one when production is to be moved.

    Without `announcements` of what changes, what is known is read at every request.

    MLflow's webhook is heard where its deliveries are signed with `webhook_secret`.
    """
    app = OpenAPI(
        __name__,
        info=Info(title="Forecastle", version=__version__),
        security_schemes={"api_key": SecurityScheme(type="http", scheme="bearer")},
        validation_error_status=400,
        validation_error_model=problems.Problem,
        validation_error_callback=problems.validation_problem,
        doc_prefix="/docs",
    )
    app.config["MAX_CONTENT_LENGTH"] = MOST_BODY_BYTES
    app.json = _Json(app)
    problems.register(app)
    keys = authentication.Keys(database)
    authentication.register(app, keys, {("POST", WEBHOOK)})
    model_types = models.model_types
    histories = {
        name: remembering(database, model_type, announcements) if announcements else StoredHistory(database, model_type)
        for name, model_type in model_types.items()
    }
    answerer = Answerer(histories, models, PredictionLog(database))
    app.extensions[EXTENSION] = Parts(database, keys, answerer, announcements)
    app.register_api(predictions_blueprint(model_types, answerer, database, _PROBLEM_RESPONSES))
    app.register_api(batches_blueprint(model_types, answerer, most_streams, _PROBLEM_RESPONSES))
    app.register_api(models_blueprint(models, _PROBLEM_RESPONSES))
    app.register_api(replay_blueprint(model_types, models, database, _PROBLEM_RESPONSES))
    app.register_api(ground_truth_blueprint(database, _PROBLEM_RESPONSES))
    app.register_api(performance_blueprint(model_types, database, _PROBLEM_RESPONSES))
    app.register_api(registry_blueprint(model_types, database, promoter, {**_PROBLEM_RESPONSES, **_MOVE_PROBLEMS}))

    app.register_api(webhooks_blueprint(database, webhook_secret, _PROBLEM_RESPONSES))
    app.register_api(retraining_blueprint(model_types, database, _PROBLEM_RESPONSES))
    app.register_api(jobs_blueprint(database, _PROBLEM_RESPONSES))
    health.register(app, database, models, _PROBLEM_RESPONSES)
    app.add_url_rule("/openapi.json", "openapi_document", lambda: jsonify(app.api_doc))
    return app


def _documented(descriptions: dict[int, str]) -> dict[Any, Any]:
    return {
        status: {
            "description": description,
            "content": {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}},
        }
        for status, description in descriptions.items()
    }


_PROBLEM_RESPONSES = _documented(
    {
        400: "Fields that cannot be used, each with a pointer",
        401: "No API key, or one that is not known",
        403: "The role does not permit it",
        404: "It does not exist",
        413: "The body is too large",
        503: "Nothing serves, or a server is away",
    }
)
_MOVE_PROBLEMS = _documented(
    {
        409: "It serves already, or its files are not what was trained or approved",
        412: "Somebody else moved production first",
        428: "If-Match is missing",
    }
)
