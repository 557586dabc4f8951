"""MLflow's webhook: a delivery that is signed plans one look at the registry, any other nothing."""

from __future__ import annotations

import base64
import hashlib
import hmac
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from werkzeug.test import TestResponse

from serving.application import build

ROUTE, SECRET = "/api/v1/registry/webhook", "0123456789abcdef" * 2
BODY = (
    b'{"entity": "model_version_alias", "action": "created", "data": {"name": "m\xc3\xb6del", "alias": "production"}}'
)


@pytest.fixture
def hearing(house: Any) -> Any:
    return replace(house, app=build(house.database, house.models, webhook_secret=SECRET))


def signed(delivery: str, moment: float, body: bytes = BODY, secret: str = SECRET) -> dict[str, str]:
    """The headers that MLflow sends, as its documentation says."""
    timestamp = str(int(moment))
    digest = hmac.new(secret.encode(), f"{delivery}.{timestamp}.".encode() + body, hashlib.sha256).digest()
    return {
        "X-MLflow-Delivery-Id": delivery,
        "X-MLflow-Timestamp": timestamp,
        "X-MLflow-Signature": f"v1,{base64.b64encode(digest).decode()}",
        "Content-Type": "application/json",
    }


def deliver(house: Any, headers: dict[str, str], body: bytes = BODY) -> TestResponse:
    return house.app.test_client().post(ROUTE, data=body, headers=headers)


def planned(house: Any) -> int:
    return int(house.row("select count(*) as number from job_runs where name = 'registry.reconcile'")["number"])


def test_a_signed_delivery_plans_one_run_however_often_it_comes(hearing: Any) -> None:
    for _ in range(3):
        answer = deliver(hearing, signed("first", time.time()))
        assert (answer.status_code, answer.data) == (202, b"")
    assert planned(hearing) == 1
    assert deliver(hearing, signed("second", time.time() - 299)).status_code == 202
    assert planned(hearing) == 2
    row = hearing.row("select * from job_runs order by planned_at limit 1")
    assert (row["arguments"], row["planned_by"], row["due_key"]) == ({}, "webhook", "registry.reconcile@first")


@pytest.mark.parametrize(
    "changed",
    [
        lambda: {"X-MLflow-Signature": ""},
        lambda: {"X-MLflow-Signature": "v1,AAAA"},
        lambda: {"X-MLflow-Signature": "größer"},
        lambda: {"X-MLflow-Delivery-Id": "another"},
        lambda: {"X-MLflow-Timestamp": "1"},
        lambda: {"X-MLflow-Timestamp": "now"},
        lambda: signed("first", time.time(), secret="f" * 32),
        lambda: signed("first", time.time() - 301),
        lambda: signed("first", time.time() + 400),
        lambda: signed("", time.time()),
        lambda: signed("first", time.time(), BODY.replace(b"created", b"deleted")),
    ],
)
def test_a_wrong_or_old_signature_is_refused_and_nothing_happens(
    hearing: Any, changed: Callable[[], dict[str, str]]
) -> None:
    answer = deliver(hearing, {**signed("first", time.time()), **changed()})
    assert answer.status_code == 401
    assert answer.json is not None
    assert answer.json["code"] == "not_authenticated"
    assert planned(hearing) == 0


def test_a_key_of_a_person_is_no_signature(hearing: Any) -> None:
    assert deliver(hearing, hearing.headers("admin")).status_code == 401
    assert planned(hearing) == 0


def test_without_a_secret_nothing_is_heard(house: Any) -> None:
    answer = deliver(house, signed("first", time.time()))
    assert answer.status_code == 503
    assert answer.json is not None
    assert "FORECASTLE_WEBHOOK_SECRET" in answer.json["detail"]
    assert planned(house) == 0


def test_what_else_lies_below_the_registry_still_asks_for_a_key(hearing: Any) -> None:
    client = hearing.app.test_client()
    assert client.get("/api/v1/registry").status_code == 401
    assert client.get(ROUTE).status_code == 401
    assert hearing.get(ROUTE).status_code == 404
    assert client.post(f"{ROUTE}/", data=BODY, headers=signed("first", time.time())).status_code == 401
