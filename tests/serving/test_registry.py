"""The registry by HTTP: what is in production, how it came there, and moving it."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from werkzeug.test import TestResponse

import projects
from forecastle.errors import ServerError
from forecastle.registry.serving import ServingModels
from serving.application import build

NAME = "delivery.story_points"
ROUTE = f"/api/v1/registry/{NAME}"
BODY = {"version": 2, "reason": "better on later rows"}


def head(house: Any, role: str = "reviewer") -> str:
    return str(house.get(ROUTE, role).headers["ETag"])


def promote(house: Any, role: str = "reviewer", seen: str | None = None, **changed: Any) -> TestResponse:
    found: TestResponse = house.send(
        f"{ROUTE}/promotions", {**BODY, **changed}, role, **{"If-Match": seen or head(house)}
    )
    return found


def outcomes(house: Any) -> list[str]:
    with house.database.transaction() as connection:
        rows = connection.execute("select outcome || ' ' || to_version as said from promotions order by step")
        return [row["said"] for row in rows]


def problem(response: TestResponse) -> tuple[int, str]:
    assert response.content_type == "application/problem+json"
    return response.status_code, response.get_json()["code"]


def with_verdict(house: Any, version: int, verdict: str) -> None:
    found = house.versions[version]
    gated = replace(found, provenance={**found.provenance, "gate.verdict": verdict})
    house.promoter.aliases.versions = {**house.versions, version: gated}


def test_a_reviewer_promotes_and_rolls_back_what_they_have_seen(house: Any) -> None:
    shown = house.get(ROUTE)
    assert shown.get_json()["production"]["to_version"] == 1
    assert shown.headers["ETag"] == f'"{shown.get_json()["head"]}"'
    moved = promote(house, seen=shown.headers["ETag"])
    assert moved.status_code == 201
    step = moved.get_json()
    assert (step["from_version"], step["to_version"], step["actor"]) == (1, 2, "a reviewer")
    assert (step["reason"], step["verdict"], step["overridden"], step["single_user_mode"]) == (
        BODY["reason"], "PROMOTE", False, False,
    )  # fmt: skip
    assert head(house) == moved.headers["ETag"] == f'"{step["hash"]}"'
    house.models.refresh()
    assert house.ask().get_json()["model_version"] == f"{NAME}/2"
    assert house.get(ROUTE).get_json()["previous_version"] == 1

    back = house.send(f"{ROUTE}/rollback", {"reason": "worse in DEMO2"}, **{"If-Match": moved.headers["ETag"]})
    assert back.status_code == 201
    assert (back.get_json()["action"], back.get_json()["to_version"]) == ("rollback", 1)
    house.models.refresh()
    assert house.ask().get_json()["model_version"] == f"{NAME}/1"
    assert house.get(ROUTE).get_json()["previous_version"] is None


def test_the_first_version_is_promoted_by_the_etag_of_nothing(empty_house: Any) -> None:
    shown = empty_house.get(ROUTE)
    assert shown.get_json() == {
        "name": NAME, "head": "never-moved", "production": None, "previous_version": None,
    }  # fmt: skip
    assert promote(empty_house, version=1).status_code == 201


@pytest.mark.parametrize("given", [{}, {"If-Match": "*"}, {"If-Match": '"a", "b"'}])
@pytest.mark.parametrize("route", ["promotions", "rollback"])
def test_without_saying_what_was_seen_nothing_is_moved(house: Any, given: dict[str, str], route: str) -> None:
    before = outcomes(house)
    body = BODY if route == "promotions" else {"reason": "why"}
    refused = house.send(f"{ROUTE}/{route}", body, **given)
    assert problem(refused) == (428, "precondition_required")
    assert f"ETag of GET {ROUTE}" in refused.get_json()["detail"]
    assert outcomes(house) == before


def test_whoever_comes_second_is_told_and_overruns_nobody(house: Any) -> None:
    seen = head(house)
    house.promote(2)
    refused = promote(house, seen=seen, version=1)
    assert problem(refused) == (412, "precondition_failed")
    assert "Retry-After" not in refused.headers
    assert problem(house.send(f"{ROUTE}/rollback", {"reason": "why"}, **{"If-Match": seen}))[0] == 412
    assert house.get(ROUTE).get_json()["production"]["to_version"] == 2


def test_of_two_reviewers_at_once_one_wins_and_the_ledger_has_one_row(house: Any) -> None:
    seen, start = head(house), threading.Barrier(2, timeout=20)
    aliases = house.promoter.aliases
    aliases.versions = {**house.versions, 4: replace(house.versions[2], version=4)}
    versions_of = aliases.version_files

    def together(name: str, version: int) -> Any:
        start.wait()
        return versions_of(name, version)

    aliases.version_files = together
    with ThreadPoolExecutor(2) as pool:
        answers = list(pool.map(lambda version: promote(house, seen=seen, version=version), (2, 4)))
    assert sorted(answer.status_code for answer in answers) == [201, 412]
    (won,) = (answer.get_json() for answer in answers if answer.status_code == 201)
    assert outcomes(house)[2:] == [f"intent {won['to_version']}", f"confirmed {won['to_version']}"]
    assert aliases.set_to[NAME, "production"] == won["to_version"]


@pytest.mark.parametrize("role", ["viewer", "member", "data_scientist", "operator"])
def test_without_the_role_nothing_is_moved_and_everything_is_seen(house: Any, role: str) -> None:
    before = outcomes(house)
    assert problem(promote(house, role)) == (403, "not_allowed")
    refused = house.send(f"{ROUTE}/rollback", {"reason": "why"}, role, **{"If-Match": head(house)})
    assert problem(refused) == (403, "not_allowed")
    assert outcomes(house) == before
    for path in ("/api/v1/registry", ROUTE, f"{ROUTE}/history"):
        assert house.get(path, role).status_code == 200


def test_against_the_verdict_it_takes_an_admin_an_override_and_a_reason(house: Any) -> None:
    with_verdict(house, 2, "REJECT")
    assert problem(promote(house)) == (403, "not_allowed")
    assert "REJECT" in promote(house, "admin").get_json()["detail"]
    assert problem(promote(house, override=True)) == (403, "not_allowed")
    moved = promote(house, "admin", override=True, reason="the old one leaks").get_json()
    assert (moved["verdict"], moved["overridden"]) == ("REJECT", True)
    (newest, *_) = house.get(f"{ROUTE}/history").get_json()["steps"]
    assert (newest["overridden"], newest["reason"]) == (True, "the old one leaks")


def test_who_trained_it_does_not_promote_it(house: Any) -> None:
    found = house.versions[2]
    own = replace(found, provenance={**found.provenance, "trained_by": "a reviewer"})
    house.promoter.aliases.versions = {2: own}
    refused = promote(house)
    assert problem(refused) == (403, "not_allowed")
    assert "ask another reviewer" in refused.get_json()["detail"]
    assert promote(house, "admin").status_code == 201


@pytest.mark.parametrize(
    "changed",
    [
        {"reason": ""}, {"reason": "  "}, {"reason": "\x00"}, {"reason": "x" * 2_001}, {"reason": None},
        {"version": 0}, {"version": "two"}, {"version": 2**31}, {"override": "perhaps"},
    ],
)  # fmt: skip
def test_what_makes_no_sense_is_refused_with_a_pointer(house: Any, changed: dict[str, Any]) -> None:
    before = outcomes(house)
    refused = promote(house, **changed)
    assert problem(refused) == (400, "invalid_input")
    assert [found["pointer"] for found in refused.get_json()["errors"]] == [f"/{next(iter(changed))}"]
    assert outcomes(house) == before


def test_what_does_not_exist_or_serves_already_says_so(house: Any) -> None:
    assert problem(promote(house, version=99)) == (404, "not_found")
    assert problem(promote(house, version=1)) == (409, "conflict")
    assert problem(house.get("/api/v1/registry/no.such")) == (404, "not_found")
    assert problem(house.get("/api/v1/registry/no.such/history")) == (404, "not_found")
    nothing = house.send(f"{ROUTE}/rollback", {"reason": "why"}, **{"If-Match": head(house)})
    assert problem(nothing) == (404, "not_found")


def test_an_mlflow_that_does_not_answer_moves_nothing(house: Any) -> None:
    def away(name: str, alias: str, version: int) -> None:
        raise ServerError("MLflow at a secret address did not answer")

    house.promoter.aliases.set_alias = away
    refused = promote(house)
    assert problem(refused) == (503, "server_unavailable")
    assert "secret address" not in refused.get_data(as_text=True)
    del house.promoter.aliases.set_alias
    assert house.get(ROUTE).get_json()["production"]["to_version"] == 1
    assert house.ask().status_code == 200


def test_a_facade_without_mlflow_shows_everything_and_moves_nothing(house: Any) -> None:
    models = ServingModels(house.database, house.objects, projects.discover())
    alone = replace(house, app=build(house.database, models))
    assert alone.get(ROUTE).status_code == 200
    refused = promote(alone)
    assert problem(refused) == (503, "configuration")
    assert "MLFLOW_TRACKING_URI" in refused.get_json()["detail"]


def test_every_model_type_is_listed_with_what_serves(house: Any) -> None:
    house.promote(2)
    own = f"{NAME}.some-project"
    house.promote(2, own)
    listed = {model["name"]: model for model in house.get("/api/v1/registry").get_json()["models"]}
    assert set(listed) == {*projects.discover(), own}
    assert listed[NAME]["production"]["to_version"] == 2
    assert listed[NAME]["previous_version"] == 1
    assert listed[own]["head"] == house.get(f"/api/v1/registry/{own}").get_json()["head"]
    assert listed["delivery.effort"]["production"] is None


def test_history_shows_what_was_in_production_at_any_moment(house: Any) -> None:
    moved = [house.promote(2), house.rollback()]
    whole = house.get(f"{ROUTE}/history").get_json()
    assert [step["to_version"] for step in whole["steps"]] == [1, 2, 1]
    assert whole["production"] == whole["steps"][0]
    assert [step["to_version"] for step in house.get(f"{ROUTE}/history?limit=1").get_json()["steps"]] == [1]
    instant = timedelta(microseconds=1)
    for moment, version in (
        (moved[0].recorded_at, 2), (moved[1].recorded_at - instant, 2), (moved[1].recorded_at, 1),
    ):  # fmt: skip
        for written in (moment.isoformat().replace("+00:00", "Z"), moment.replace(tzinfo=None).isoformat()):
            assert house.get(f"{ROUTE}/history?at={written}").get_json()["production"]["to_version"] == version
    before = house.get(f"{ROUTE}/history?at=2020-01-01").get_json()
    assert (before["production"], before["steps"]) == (None, [])
    assert problem(house.get(f"{ROUTE}/history?at=yesterday")) == (400, "invalid_input")


def test_what_is_answered_keeps_to_the_document(house: Any) -> None:
    document = house.app.test_client().get("/openapi.json").get_json()
    root = {"components": document["components"]}
    for name, found in (
        ("RegisteredModels", house.get("/api/v1/registry").get_json()),
        ("RegisteredModel", house.get(ROUTE).get_json()),
        ("History", house.get(f"{ROUTE}/history").get_json()),
        ("Move", promote(house).get_json()),
    ):
        Draft202012Validator({**root, "$ref": f"#/components/schemas/{name}"}).validate(found)
    responses = document["paths"][f"{ROUTE.replace(NAME, '{name}')}/promotions"]["post"]["responses"]
    assert {"201", "409", "412", "428"} <= set(responses)
