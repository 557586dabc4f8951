"""The door of the façade: what can be answered from memory is answered at once, and Flask answers everything else.

A single request of a model type waits for nothing but its row: who asks, what serves and what is known are remembered.
It is answered on the event loop, without a thread of its own. Whatever is not so, an unknown key, a body that is
refused, a project that was not asked about yet, goes to Flask, which finds out, says what is wrong and lets it be
remembered. There is one place for every rule: this one decides nothing.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from typing import Any

from flask import Flask, Response
from granian.rsgi import ProtocolClosed
from pydantic import BaseModel, ValidationError
from pydantic_core import to_json

from forecastle.access.principals import Permission
from forecastle.errors import ForecastleError
from forecastle.registry.declaration import ModelType
from forecastle.settings import Settings
from forecastle.store.loop_log import LoopLog
from serving.answering import NotAtOnceError, Scored
from serving.application import EXTENSION, Parts, create_application
from serving.authentication import bearer_key
from serving.flask_adapter import FlaskAdapter, Headers, Scope
from serving.problems import handle_forecastle_error, handle_unexpected

logger = logging.getLogger(__name__)

JSON = "application/json"
MOST_BYTES = 64 * 1024
"""A longer body is read and looked at in a thread: it would keep others waiting."""


def create_door(settings: Settings | None = None, model_types: Mapping[str, ModelType] | None = None) -> Door:
    """The façade as RSGI serves it. Raises ConfigurationError."""
    settings = settings or Settings.from_env()
    app = create_application(settings, model_types)
    parts: Parts = app.extensions[EXTENSION]
    return Door(app, parts, settings.http_threads)


class Door:
    """An RSGI application over a Flask application and what that answers with."""

    def __init__(self, app: Flask, parts: Parts, threads: int) -> None:
        self._flask = FlaskAdapter(app, threads)
        self._parts = parts
        self._answerer = parts.answerer
        self._routes = {
            model_type.route: (model_type, model_type.request_type())
            for model_type in parts.answerer.models.model_types.values()
        }
        self._log = LoopLog(parts.database, parts.answerer.log)

    def __rsgi_del__(self, loop: asyncio.AbstractEventLoop) -> None:
        """The server ends."""
        self._log.close()
        self._parts.close()

    async def __rsgi__(self, scope: Scope, protocol: Any) -> None:
        route = self._routes.get(scope.path) if scope.method == "POST" and not scope.query_string else None
        headers = scope.headers
        if route is None or not _is_small(headers):
            await self._flask.answer(scope, protocol)
            return
        try:
            body = await protocol()
        except ProtocolClosed:  # the client went away
            return
        scored = self._scored(*route, headers, body)
        if scored is None:
            await self._flask.answer(scope, protocol, body)
        else:
            (row,) = scored.rows
            protocol.response_bytes(*_answered(scored, await self._log.write(row)))

    def _scored(self, model_type: ModelType, request_type: type[BaseModel], headers: Any, body: bytes) -> Scored | None:
        """The answer before its row is written; None where Flask has to see to it."""
        keys = [bearer_key(value) for value in headers.get_all("authorization")]
        principal = self._parts.keys.remembered(keys[0]) if len(keys) == 1 and keys[0] else None
        if principal is None:
            return None
        try:
            principal.require(Permission.PREDICT)
            scored = self._answerer.at_once(model_type, request_type.model_validate_json(body), principal)
        except (NotAtOnceError, ForecastleError, ValidationError):  # Flask comes upon it too, and says so
            return None
        except Exception as error:  # noqa: BLE001 - as there, but nobody would notice that all goes the long way
            logger.warning("%s at the door; Flask is asked", type(error).__name__)
            return None
        return scored if scored.rows else None


def _answered(scored: Scored, failure: Exception | None) -> tuple[int, Headers, bytes]:
    """Status, headers and body, once the row is durable or refused."""
    if failure is None:
        return 200, [("content-type", JSON)], to_json(scored.answers[0])
    if isinstance(failure, ForecastleError):
        return _as_rsgi(handle_forecastle_error(failure))
    return _as_rsgi(handle_unexpected(failure))


def _is_small(headers: Any) -> bool:
    """Whether it is JSON, and no more of it than is looked at here."""
    length = headers.get("content-length", "")
    kind = headers.get("content-type", "").partition(";")[0].strip().lower()
    return kind == JSON and length.isdecimal() and int(length) <= MOST_BYTES


def _as_rsgi(response: Response) -> tuple[int, Headers, bytes]:
    return response.status_code, [(name.lower(), value) for name, value in response.headers], response.get_data()
