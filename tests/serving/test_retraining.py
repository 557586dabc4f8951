"""Decisions over the façade: planned as a job, looked at with every signal."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import pytest

import projects
from forecastle.registry.retraining import Asked, decide
from forecastle.settings import Settings
from forecastle.store import job_runs
from jobs.child import call

PATH = "/api/v1/retraining/delivery.effort/decisions"


def post(house: Any, path: str = PATH, role: str = "operator") -> Any:
    return house.app.test_client().post(path, headers=house.headers(role))


def test_a_decision_is_planned_made_by_the_job_and_found_where_the_answer_says(empty_house: Any) -> None:
    answer = post(empty_house)
    assert (answer.status_code, answer.headers["Location"]) == (202, PATH)
    run = UUID(answer.get_json()["run"])
    assert empty_house.get(PATH).get_json() == {"decisions": []}
    with empty_house.database.transaction() as connection:
        planned = job_runs.get_run(connection, run)
    assert (planned.name, planned.planned_by) == ("retraining.decide", "a operator")
    ending = call("jobs.retraining:decide_one", Settings(database_url=empty_house.url), run)
    assert (ending.outcome, ending.detail) == ("succeeded", "RETRAIN: would wait without nothing serves")
    (found,) = empty_house.get(answer.get_json()["decisions"]).get_json()["decisions"]
    assert (found["decision_run"], found["verdict"], found["decided_by"]) == (str(run), "RETRAIN", "a operator")
    assert [one["name"] for one in found["signals"] if one["fired"]] == ["nothing serves"]


def test_the_newest_decisions_stand_first_and_no_more_than_asked_for(empty_house: Any) -> None:
    for name in ("ada", "ben", "cleo"):
        decide(empty_house.database, projects.discover(), "delivery.effort", Asked(name))
    found = empty_house.get(f"{PATH}?limit=2").get_json()["decisions"]
    assert [one["decided_by"] for one in found] == ["cleo", "ben"]
    assert [one["verdict"] for one in found] == ["CANNOT", "CANNOT"]


@pytest.mark.parametrize(
    "path, role, status",
    [
        (PATH, "member", 403),
        (PATH, "reviewer", 403),
        ("/api/v1/retraining/delivery.nothing/decisions", "operator", 404),
        ("/api/v1/retraining/delivery.effort.nobody/decisions", "operator", 404),
    ],
)
def test_who_may_not_train_and_what_does_not_exist_is_refused_and_nothing_is_planned(
    empty_house: Any, path: str, role: str, status: int
) -> None:
    answer = post(empty_house, path, role)
    assert (answer.status_code, answer.content_type) == (status, "application/problem+json")
    assert empty_house.row("select count(*) as n from job_runs")["n"] == 0


def test_looking_takes_a_key_and_a_limit_that_makes_sense(empty_house: Any) -> None:
    assert empty_house.app.test_client().get(PATH).status_code == 401
    assert empty_house.get(f"{PATH}?limit=0").status_code == 400
    assert empty_house.get(PATH.replace("effort", "nothing"), role="viewer").status_code == 404
