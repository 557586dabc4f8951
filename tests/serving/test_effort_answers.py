"""Hours of work: what an answer holds, what it may include, and what cannot be asked."""

from __future__ import annotations

import json
import math
import uuid
from datetime import UTC, datetime
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from versions import EFFORT

from forecastle.features.packing import unpack_known
from forecastle.records.outcomes import RECENT
from forecastle.registry.answering import Context
from forecastle.registry.history import StoredHistory
from projects.delivery.effort.answer import EffortAnswer, EffortRequest, answer_many

ALWAYS = set(EffortAnswer.model_fields) - {"similar_issues"}


def answered(house: Any, query: str = "", **changed: Any) -> dict[str, Any]:
    response = house.ask_effort(query, **changed)
    assert response.status_code == 200, response.get_data(as_text=True)
    fields: dict[str, Any] = response.get_json()
    EffortAnswer.model_validate(fields, strict=True, extra="forbid")
    return fields


def stored(house: Any, answer: dict[str, Any]) -> Any:
    return house.row("select * from predictions where id = %s", answer["prediction_id"])


def test_an_answer_has_the_documented_fields_and_its_row_the_same(effort_house: Any) -> None:
    answer = answered(effort_house)
    assert set(answer) - {"similar_issues"} == ALWAYS
    assert answer["model_version"] == "delivery.effort/3"
    low, high = answer["prediction_range"]["min"], answer["prediction_range"]["max"]
    assert 0 < low <= answer["predicted_hours"] <= high
    assert 0 <= answer["confidence"] <= 1
    row = stored(effort_house, answer)
    assert (row["answer"], row["model_type"]) == (answer, "delivery.effort")
    known = unpack_known(row["known"], tuple(EFFORT.groups)).project
    assert 100 < known.count == len(known.recent) == len(known.estimates) <= RECENT


def test_with_an_estimate_and_people_it_answers_too(effort_house: Any) -> None:
    few, many = (
        answered(effort_house, estimate_hours=hours, assignee="DEMO1 person 1", reporter="nobody", priority="High")
        for hours in (1, 40.5)
    )
    assert few["predicted_hours"] < many["predicted_hours"]
    assert stored(effort_house, many)["request"]["estimate_hours"] == 40.5


def test_what_is_known_of_issues_like_it_reaches_the_model(effort_house: Any) -> None:
    asked = {"project_id": "DONE1", "title": "Fix the form", "estimate_hours": 2.0}
    requests = [EffortRequest(**asked, component=component) for component in ("admin", "never seen")]
    predictor = effort_house.models.for_cluster(EFFORT, "DONE1").predictor
    history = StoredHistory(effort_house.database, EFFORT)
    answers = answer_many(requests, Context(lambda cluster: predictor, history, datetime.now(UTC)))
    features = [answer.prediction.features for answer in answers]
    like_it, unlike = (dict(zip(each.names, each.numbers, strict=True)) for each in features)
    assert like_it["component.count"] > unlike["component.count"] == 0
    assert math.isfinite(like_it["component.ratio_mean"])
    assert math.isnan(unlike["component.ratio_mean"])
    assert like_it["project"] == unlike["project"]


def test_similar_issues_are_shown_where_they_are_asked_for(effort_house: Any) -> None:
    shown = answered(effort_house, "?include=similar")
    assert 0 < len(shown["similar_issues"]) <= 5
    best = shown["similar_issues"][0]
    assert best["key"].startswith("DEMO1-")
    assert best["hours"] > 0
    assert 0 < best["similarity"] <= 1
    assert stored(effort_house, shown)["answer"] == shown
    plain = answered(effort_house)
    assert ("similar_issues" in plain) == (plain["method"] == "similarity")
    assert answered(effort_house, "?include=similar&include=similar")["similar_issues"] == shown["similar_issues"]
    assert answered(effort_house, "?include=similar", title="zzz qqq")["similar_issues"] == []


@pytest.mark.parametrize("value", ["others", "", "Similar", "similar,others", "kX7-marker-9Qz"])
def test_what_cannot_be_included_is_pointed_at(effort_house: Any, value: str) -> None:
    response = effort_house.ask_effort(f"?include={value}")
    assert (response.status_code, response.content_type) == (400, "application/problem+json")
    problem = response.get_json()
    assert [error["pointer"] for error in problem["errors"]] == ["/include/0"]
    assert "similar" in problem["errors"][0]["detail"]
    assert "kX7-marker-9Qz" not in response.get_data(as_text=True)
    assert effort_house.predictions() == 0


@pytest.mark.parametrize(
    "changed",
    [
        {"estimate_hours": 0},
        {"estimate_hours": -1},
        {"estimate_hours": 100_001},
        {"estimate_hours": 10**400},
        {"estimate_hours": float("nan")},
        {"estimate_hours": float("inf")},
        {"estimate_hours": "many"},
        {"estimate_hours": "4 hours"},
        {"estimate_hours": [4]},
        {"estimate_hours": {"hours": 4}},
        {"component": 7},
        {"component": "x" * 1_001},
        {"component": "a\x00b"},
        {"assignee": ["ada"]},
        {"reporter": "x\ud800"},
        {"priority": True},
        {"effort_hours": 4},
        {"include": ["similar"]},
    ],
    ids=lambda value: ascii(value)[:40],
)
def test_a_field_that_cannot_be_used_is_pointed_at(effort_house: Any, changed: dict[str, Any]) -> None:
    asked = {"project_id": "DONE1", "title": "Fix the form", **changed}
    response = effort_house.app.test_client().post(
        "/api/v1/ml/predict-effort/",
        data=json.dumps(asked).encode(),
        content_type="application/json",
        headers=effort_house.headers(),
    )
    assert (response.status_code, response.content_type) == (400, "application/problem+json")
    assert [error["pointer"] for error in response.get_json()["errors"]] == [f"/{field}" for field in changed]
    assert effort_house.predictions() == 0


@pytest.mark.parametrize("changed", [{}, {"estimate_hours": 3.0}])
def test_a_project_of_which_nothing_is_known_is_answered_without_a_baseline(
    effort_house: Any, changed: dict[str, Any]
) -> None:
    with effort_house.database.transaction() as connection:
        connection.execute(
            "insert into projects (id, workspace_id, key) select %s, id, 'NEW' from workspaces", (uuid.uuid4(),)
        )
    answer = answered(effort_house, "?include=similar", project_id="NEW", **changed)
    assert answer["baseline"]["hours"] is None
    assert answer["similar_issues"] == []
    known = unpack_known(stored(effort_house, answer)["known"], tuple(EFFORT.groups))
    assert (known.project.count, known.project.recent, known.groups) == (0, (), {})


def test_only_the_model_type_that_can_show_them_has_the_parameter(effort_house: Any) -> None:
    document = effort_house.app.test_client().get("/openapi.json").get_json()
    posts = {path: item["post"] for path, item in document["paths"].items() if "post" in item}
    (parameter,) = posts["/api/v1/ml/predict-effort/"]["parameters"]
    assert (parameter["name"], parameter["in"], parameter["required"]) == ("include", "query", False)
    assert not posts["/api/v1/ml/recommend-story-points/"].get("parameters")


def test_what_is_served_keeps_to_the_document(effort_house: Any) -> None:
    document = effort_house.app.test_client().get("/openapi.json").get_json()
    schema = {"components": document["components"], "$ref": "#/components/schemas/EffortAnswer"}
    for query in ("", "?include=similar"):
        Draft202012Validator(schema).validate(answered(effort_house, query))
