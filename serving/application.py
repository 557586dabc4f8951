"""Builds the façade; nothing connects or reads the environment on import."""

from __future__ import annotations

import logging
from contextlib import suppress
from typing import Any

from flask import Flask, jsonify
from flask.json.provider import DefaultJSONProvider
from flask_openapi3 import Info, OpenAPI
from flask_openapi3.models.security_scheme import SecurityScheme

import projects
from forecastle import __version__
from forecastle.errors import ServerError
from forecastle.registry.serving import ServingModels
from forecastle.settings import Settings
from forecastle.store.database import Database
from forecastle.store.migrate import require_current
from forecastle.store.objects import Objects
from serving import authentication, health, problems
from serving.answering import Answerer
from serving.jobs import jobs_blueprint
from serving.predictions import predictions_blueprint

MOST_BODY_BYTES = 4 * 1024 * 1024


def create_application(settings: Settings | None = None) -> Flask:
    """The WSGI application, with its own pool of connections and its own loaded versions.

    Raises ConfigurationError where a setting is missing, or the database lacks migrations.
    """
    settings = settings or Settings.from_env()
    logging.basicConfig(level=settings.log_level, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    database = Database(settings.require_database_url(), settings.pool_size)
    with suppress(ServerError):  # it may come up after the façade does
        require_current(database)
    models = ServingModels(database, Objects.of(settings), projects.discover())
    application = build(database, models)
    models.start()
    return application


class _Json(DefaultJSONProvider):
    sort_keys = False  # an answer reads in the order it was written

    def loads(self, s: str | bytes, **kwargs: Any) -> Any:
        try:
            return super().loads(s, **kwargs)
        except RecursionError:
            raise ValueError("nested too deeply") from None


def build(database: Database, models: ServingModels) -> Flask:
    """The application over these parts."""
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
    authentication.register(app, authentication.Keys(database))
    app.register_api(
        predictions_blueprint(projects.discover(), Answerer(database, models), database, _PROBLEM_RESPONSES)
    )

    app.register_api(jobs_blueprint(database, _PROBLEM_RESPONSES))
    health.register(app, database, models, _PROBLEM_RESPONSES)
    app.add_url_rule("/openapi.json", "openapi_document", lambda: jsonify(app.api_doc))
    return app


_PROBLEM_RESPONSES: dict[Any, Any] = {
    status: {
        "description": description,
        "content": {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}},
    }
    for status, description in (
        (400, "Fields that cannot be used, each with a pointer"),
        (401, "No API key, or one that is not known"),
        (403, "The role does not permit it"),
        (404, "It does not exist"),
        (413, "The body is too large"),
        (503, "Nothing serves, or a server is away"),
    )
}
