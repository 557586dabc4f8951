"""MLflow's registry webhook: a signed hint that an alias was moved. It plans a look, and is believed nothing else.

MLflow signs `delivery id.timestamp.body` with HMAC-SHA256 (Standard Webhooks, signature version 1).
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import time
from collections.abc import Mapping
from typing import Any

from flask import Response, request
from flask_openapi3 import APIBlueprint, Tag

from forecastle.errors import ConfigurationError, NotAuthenticatedError
from forecastle.store import job_runs
from forecastle.store.database import Database

ROUTE = "/api/v1/registry/webhook"
RECONCILE = "registry.reconcile"
WINDOW_SECONDS = 300
"""How far the moment of a delivery may lie from now; MLflow's tries to deliver again bear the first moment."""
_ID, _TIMESTAMP, _SIGNATURE = "X-MLflow-Delivery-Id", "X-MLflow-Timestamp", "X-MLflow-Signature"
_REFUSED = "the signature of this delivery is missing, wrong or more than five minutes old"


def signature(secret: str, delivery_id: str, timestamp: str, body: bytes) -> str:
    """What MLflow sends as the signature of this delivery."""
    signed = f"{delivery_id}.{timestamp}.".encode() + body
    return f"v1,{base64.b64encode(hmac.digest(secret.encode(), signed, hashlib.sha256)).decode()}"


def delivery_of(headers: Mapping[str, str], body: bytes, secret: str, now: float) -> str:
    """The id of a delivery that MLflow signed within the window around `now` (seconds since 1970).

    Raises NotAuthenticatedError.
    """
    delivery_id, timestamp = headers.get(_ID, ""), headers.get(_TIMESTAMP, "")
    expected = signature(secret, delivery_id, timestamp, body)
    if not hmac.compare_digest(expected.encode(), headers.get(_SIGNATURE, "").encode()):
        raise NotAuthenticatedError(_REFUSED)
    if not delivery_id or not timestamp.isdecimal() or abs(now - int(timestamp)) > WINDOW_SECONDS:
        raise NotAuthenticatedError(_REFUSED)
    return delivery_id


def webhooks_blueprint(database: Database, secret: str | None, problems: dict[Any, Any]) -> APIBlueprint:
    tag = Tag(name="registry", description="What is in production, and moving it")
    blueprint = APIBlueprint("webhooks", __name__, abp_tags=[tag])

    @blueprint.post(ROUTE, summary="MLflow says that an alias was moved", responses={202: None, **problems})
    def hear() -> Any:
        if secret is None:
            raise ConfigurationError("this façade hears no webhook: start it with FORECASTLE_WEBHOOK_SECRET")
        delivery_id = delivery_of(request.headers, request.get_data(), secret, time.time())
        with database.transaction() as connection:
            job_runs.plan(connection, RECONCILE, {}, "webhook", f"{RECONCILE}@{delivery_id}")
        return Response(status=202)

    return blueprint
