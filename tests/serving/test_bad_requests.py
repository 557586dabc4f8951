"""Bodies that cannot be used: always a problem, never a traceback, never a value repeated."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from werkzeug.test import TestResponse

MARKER = "kX7-marker-9Qz"
ROUTE = "/api/v1/ml/recommend-story-points/"
GOOD = {"project_id": "DEMO1", "title": "Fix the form"}


def post(house: Any, data: bytes, content_type: str | None = "application/json") -> TestResponse:
    client = house.app.test_client()
    response: TestResponse = client.post(ROUTE, data=data, content_type=content_type, headers=house.headers())
    return response


def assert_problem(response: TestResponse, status: int = 400) -> dict[str, Any]:
    text = response.get_data(as_text=True)
    assert response.status_code == status, text
    assert response.content_type == "application/problem+json"
    assert "Traceback" not in text
    assert MARKER not in text
    problem: dict[str, Any] = response.get_json(force=True)
    assert problem["status"] == status
    assert problem["title"]
    assert problem["code"]
    assert problem["detail"]
    return problem


@pytest.mark.parametrize(
    "pointer, changed",
    [
        ("/title", {"title": None}),
        ("/title", {"title": 7}),
        ("/title", {"title": True}),
        ("/title", {"title": [MARKER]}),
        ("/title", {"title": {"text": MARKER}}),
        ("/title", {"title": ""}),
        ("/title", {"title": " \t\n "}),
        ("/title", {"title": MARKER * 100}),
        ("/title", {"title": float("nan")}),
        ("/title", {"title": float("inf")}),
        ("/title", {"title": 10**400}),
        ("/title", {"title": f"{MARKER}\x00"}),
        ("/title", {"title": f"{MARKER}\ud800"}),
        ("/description", {"description": None}),
        ("/description", {"description": [[[[MARKER]]]]}),
        ("/description", {"description": "x" * 1_000_001}),
        ("/description", {"description": f"\x00{MARKER}"}),
        ("/description", {"description": f"\udfff{MARKER}"}),
        ("/issue_type", {"issue_type": MARKER * 80}),
        ("/issue_type", {"issue_type": 1.5}),
        ("/issue_type", {"issue_type": f"{MARKER}\x00{MARKER}"}),
        ("/project_id", {"project_id": ""}),
        ("/project_id", {"project_id": None}),
        ("/project_id", {"project_id": -1}),
        ("/project_id", {"project_id": MARKER * 20}),
        ("/project_id", {"project_id": f"DEMO1\x00{MARKER}"}),
        ("/project_id", {"project_id": f"DEMO1\ud83d{MARKER}"}),
        ("/story_points", {"story_points": MARKER}),
        ("/a~1b~0c", {"a/b~c": MARKER}),
        ("/__class__", {"__class__": MARKER}),
    ],
    ids=lambda value: value if isinstance(value, str) else ascii(value)[:40],
)
def test_a_field_that_cannot_be_used_is_pointed_at(house: Any, pointer: str, changed: dict[str, Any]) -> None:
    problem = assert_problem(post(house, json.dumps({**GOOD, **changed}).encode()))
    assert problem["code"] == "invalid_input"
    assert [error["pointer"] for error in problem["errors"]] == [pointer]
    assert all(error["detail"] for error in problem["errors"])
    assert house.predictions() == 0


def test_every_field_that_is_missing_is_pointed_at(house: Any) -> None:
    problem = assert_problem(post(house, b'{"description": "d"}'))
    assert sorted(error["pointer"] for error in problem["errors"]) == ["/project_id", "/title"]
    assert problem["detail"].startswith("2 fields")


@pytest.mark.parametrize(
    "data, content_type",
    [
        (b"", "application/json"),
        (b"{", "application/json"),
        (f"{{'title': '{MARKER}'}}".encode(), "application/json"),
        (json.dumps(MARKER).encode(), "application/json"),
        (json.dumps([{**GOOD, "title": MARKER}]).encode(), "application/json"),
        (b"null", "application/json"),
        (b"7", "application/json"),
        (b"\xff\xfe\x00", "application/json"),
        (b"\x80" * 100, "application/json; charset=utf-8"),
        (b"1" * 10_000, "application/json"),
        (b"[" * 200_000, "application/json"),
        (b'{"title":' * 100_000, "application/json"),
        (json.dumps({**GOOD, "title": MARKER}).encode(), "text/plain"),
        (json.dumps({**GOOD, "title": MARKER}).encode(), None),
        (f"title={MARKER}&project_id=DEMO1".encode(), "application/x-www-form-urlencoded"),
        (
            f'--b\r\nContent-Disposition: form-data; name="title"\r\n\r\n{MARKER}\r\n--b--'.encode(),
            "multipart/form-data; boundary=b",
        ),
    ],
    ids=lambda value: ascii(value)[:40],
)
def test_a_body_that_is_no_json_object_is_a_problem_400(house: Any, data: bytes, content_type: str | None) -> None:
    problem = assert_problem(post(house, data, content_type))
    assert problem["errors"] == [
        {"pointer": "", "detail": "the body is not a JSON object sent with Content-Type: application/json"}
    ]
    assert house.predictions() == 0


def test_a_body_over_the_limit_is_a_problem_413(house: Any) -> None:
    body = json.dumps({**GOOD, "description": MARKER + "x" * 4 * 1024 * 1024}).encode()
    assert assert_problem(post(house, body), 413)["code"] == "too_large"


def test_a_description_of_a_million_characters_is_answered(house: Any) -> None:
    assert post(house, json.dumps({**GOOD, "description": "wörd " * 200_000}).encode()).status_code == 200


def test_a_prediction_id_that_is_none_is_a_problem_404(house: Any) -> None:
    assert_problem(house.get(f"/api/v1/ml/predictions/{MARKER}/passport"), 404)


def test_an_address_that_does_not_exist_is_a_problem_404(house: Any) -> None:
    assert_problem(house.get(f"/{MARKER}"), 404)
    assert_problem(house.get(f"/api/v1/{MARKER}"), 404)


def test_a_method_that_is_not_taken_is_a_problem_405_that_names_those_that_are(house: Any) -> None:
    response = house.get(ROUTE)
    assert_problem(response, 405)
    assert "POST" in response.headers["Allow"]


ANY_TEXT = st.text(st.characters(exclude_categories=()) | st.sampled_from("\x00\ud800~/"), max_size=20)
ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | ANY_TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(ANY_TEXT, inner, max_size=3),
    max_leaves=6,
)
FIELDS = st.sampled_from(["title", "description", "issue_type", "project_id"])
BODIES = ANY_JSON | st.dictionaries(FIELDS | ANY_TEXT, ANY_JSON, max_size=5).map(lambda found: {**GOOD, **found})


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(body=BODIES)
def test_whatever_json_is_sent_is_answered_or_a_problem(house: Any, body: Any) -> None:
    response = post(house, json.dumps(body).encode())
    if response.status_code != 200:
        problem = assert_problem(response, response.status_code)
        assert response.status_code in (400, 404)
        if response.status_code == 400:
            assert problem["errors"]


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.binary(max_size=60), content_type=st.sampled_from(["application/json", "application/merge-patch+json"]))
def test_whatever_bytes_are_sent_are_a_problem(house: Any, data: bytes, content_type: str) -> None:
    assert_problem(post(house, data, content_type))
