"""Who may ask what."""

from __future__ import annotations

from typing import Any

import pytest
from werkzeug.test import TestResponse

from forecastle.access.principals import PERMISSIONS, Permission, Role

ROUTE = "/api/v1/ml/recommend-story-points/"
GOOD = {"project_id": "DEMO1", "title": "Fix the form"}


def ask_with(house: Any, authorization: str | None) -> TestResponse:
    headers = {} if authorization is None else {"Authorization": authorization}
    response: TestResponse = house.app.test_client().post(ROUTE, json=GOOD, headers=headers)
    return response


def assert_refused(response: TestResponse) -> None:
    assert (response.status_code, response.content_type) == (401, "application/problem+json")
    assert response.headers["WWW-Authenticate"] == "Bearer"
    assert response.get_json()["code"] == "not_authenticated"


@pytest.mark.parametrize(
    "authorization",
    [None, "", "Bearer", "Bearer   ", "Bearer unknown-key-7", "Basic dXNlcjprZXk=", "Bearer \xe9\x80", "Token x"],
)
def test_without_a_known_key_nobody_is_answered(house: Any, authorization: str | None) -> None:
    response = ask_with(house, authorization)
    assert_refused(response)
    assert "unknown-key-7" not in response.get_data(as_text=True)
    assert house.predictions() == 0


def test_the_key_without_its_scheme_and_a_key_with_another_ending_are_refused(house: Any) -> None:
    key = house.keys["member"]
    assert_refused(ask_with(house, key))
    assert_refused(ask_with(house, f"Bearer {key}x"))
    assert_refused(ask_with(house, f"Bearer {key[:-1]}"))


def test_the_scheme_may_be_written_small(house: Any) -> None:
    assert ask_with(house, f"bearer {house.keys['member']}").status_code == 200


def test_the_key_is_asked_for_before_the_body_is_looked_at(house: Any) -> None:
    assert_refused(house.app.test_client().post(ROUTE, data=b"{", content_type="application/json"))


def test_addresses_below_api_that_do_not_exist_ask_for_a_key_too(house: Any) -> None:
    assert_refused(house.app.test_client().get("/api/v1/nothing"))


@pytest.mark.parametrize(
    "statement", ["update api_keys set revoked_at = now()", "update principals set disabled_at = now()"]
)
def test_a_key_that_was_withdrawn_before_its_first_use_is_refused(house: Any, statement: str) -> None:
    with house.database.transaction() as connection:
        connection.execute(statement)
    assert_refused(house.ask())


@pytest.mark.parametrize(
    "statement", ["update api_keys set revoked_at = now()", "update principals set disabled_at = now()"]
)
def test_a_key_that_was_withdrawn_is_refused_when_its_memory_is_over(
    house: Any, monkeypatch: pytest.MonkeyPatch, statement: str
) -> None:
    monkeypatch.setattr("serving.authentication.REMEMBERED_SECONDS", 0.0)
    assert house.ask().status_code == 200
    with house.database.transaction() as connection:
        connection.execute(statement)
    assert_refused(house.ask())


@pytest.mark.parametrize("role", list(Role))
def test_a_role_may_ask_if_and_only_if_it_has_the_permission(house: Any, role: Role) -> None:
    response = house.ask(role=role.value)
    if Permission.PREDICT in PERMISSIONS[role]:
        assert response.status_code == 200
    else:
        assert (response.status_code, response.content_type) == (403, "application/problem+json")
        assert response.get_json()["code"] == "not_allowed"
        assert house.predictions() == 0


def test_a_viewer_may_not_ask_but_may_read_a_passport(house: Any) -> None:
    assert house.ask(role="viewer").status_code == 403
    prediction_id = house.ask().get_json()["prediction_id"]
    passport = house.get(f"/api/v1/ml/predictions/{prediction_id}/passport", role="viewer")
    assert passport.get_json()["asked_by"] == "a member"


def test_a_passport_needs_a_key(house: Any) -> None:
    prediction_id = house.ask().get_json()["prediction_id"]
    assert_refused(house.app.test_client().get(f"/api/v1/ml/predictions/{prediction_id}/passport"))


@pytest.mark.parametrize("path", ["/health/live", "/openapi.json", "/docs/"])
def test_liveness_and_documentation_need_no_key(house: Any, path: str) -> None:
    assert house.app.test_client().get(path).status_code == 200
