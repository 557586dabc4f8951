"""Runs of jobs over HTTP: what is listed, what may be asked for, and what is refused."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from werkzeug.test import TestResponse

from forecastle.store import job_runs, known_jobs
from forecastle.store.job_runs import Ending, JobRun, Outcome
from forecastle.store.known_jobs import KnownJob

TRAIN = KnownJob("training.train", "training", ["model_type"], ["project"], None, None, timedelta(hours=6))


def plan(house: Any, name: str, outcome: Outcome | None = None) -> JobRun:
    with house.database.transaction() as connection:
        run = job_runs.plan(connection, name, {}, "ada")
        assert run is not None
        if outcome is not None:
            job_runs.end_unheld(connection, run.id, Ending(outcome, "so it ended", items=3))
        return run


def know(house: Any, *jobs: KnownJob) -> None:
    with house.database.transaction() as connection:
        known_jobs.replace_all(connection, jobs)


def ask_for(house: Any, name: str, body: Any, role: str = "operator") -> TestResponse:
    client = house.app.test_client()
    found: TestResponse = client.post(f"/api/v1/jobs/{name}/run", json=body, headers=house.headers(role))
    return found


def test_runs_are_listed_by_pages_the_newest_first(empty_house: Any) -> None:
    runs = [str(plan(empty_house, "a.job").id) for _ in range(5)]
    first = empty_house.get("/api/v1/jobs?limit=2").get_json()
    second = empty_house.get(f"/api/v1/jobs?limit=2&before={first['next']}").get_json()
    third = empty_house.get(f"/api/v1/jobs?limit=2&before={second['next']}").get_json()
    assert [run["id"] for page in (first, second, third) for run in page["runs"]] == runs[::-1]
    assert third["next"] is None


@pytest.mark.parametrize(
    "query, expected",
    [("name=b.job", 2), ("outcome=failed", 2), ("outcome=open", 1), ("name=a.job&outcome=failed", 1)],
)
def test_runs_are_filtered_by_name_and_outcome(empty_house: Any, query: str, expected: int) -> None:
    for name, outcome in (("a.job", "failed"), ("b.job", "failed"), ("b.job", None), ("a.job", "succeeded")):
        plan(empty_house, name, outcome)  # type: ignore[arg-type]
    assert len(empty_house.get(f"/api/v1/jobs?{query}").get_json()["runs"]) == expected


@pytest.mark.parametrize("query", ["outcome=wonderful", "limit=0", "limit=1001", "before=1"])
def test_a_query_that_makes_no_sense_is_refused(empty_house: Any, query: str) -> None:
    assert empty_house.get(f"/api/v1/jobs?{query}").status_code == 400


def test_one_run_tells_how_it_ended_and_nothing_of_its_lease(empty_house: Any) -> None:
    run = plan(empty_house, "a.job", "succeeded")
    found = empty_house.get(f"/api/v1/jobs/{run.id}").get_json()
    assert (found["state"], found["items"], found["detail"]) == ("succeeded", 3, "so it ended")
    assert "lease_token" not in found
    assert empty_house.get(f"/api/v1/jobs/{uuid4()}").status_code == 404


def test_a_run_is_planned_for_whoever_may(empty_house: Any) -> None:
    know(empty_house, TRAIN)
    answer = ask_for(empty_house, TRAIN.name, {"arguments": {"model_type": "delivery.effort"}})
    assert answer.status_code == 202
    row = empty_house.row("select * from job_runs")
    assert (str(row["id"]), row["name"], row["planned_by"]) == (answer.get_json()["id"], TRAIN.name, "a operator")
    assert row["arguments"] == {"model_type": "delivery.effort"}


@pytest.mark.parametrize(
    "name, body, role, status, sentence",
    [
        ("a.job", {}, "operator", 404, "there is no job of this name; there are: training.train"),
        (TRAIN.name, {}, "operator", 400, "training.train needs the argument model_type"),
        (TRAIN.name, {"arguments": {"model_type": "x", "y": "z"}}, "operator", 400, "takes no y; its arguments are:"),
        (TRAIN.name, {"arguments": {"model_type": "x"}}, "member", 403, "member may not train"),
        (TRAIN.name, {"argument": {}}, "operator", 400, "1 field of the request cannot be used"),
    ],
)
def test_what_cannot_be_run_is_refused_and_nothing_is_planned(
    empty_house: Any, name: str, body: Any, role: str, status: int, sentence: str
) -> None:
    know(empty_house, TRAIN)
    answer = ask_for(empty_house, name, body, role)
    assert (answer.status_code, sentence in answer.get_json()["detail"]) == (status, True), answer.get_json()
    assert empty_house.row("select count(*) as n from job_runs")["n"] == 0


def test_before_any_beat_has_started_the_refusal_says_so(empty_house: Any) -> None:
    answer = ask_for(empty_house, "a.job", {})
    assert (answer.status_code, "no beat has told yet" in answer.get_json()["detail"]) == (404, True)


@pytest.mark.parametrize("path", ["/api/v1/jobs", f"/api/v1/jobs/{UUID(int=0)}"])
def test_runs_are_shown_to_those_alone_who_have_a_key(empty_house: Any, path: str) -> None:
    assert empty_house.app.test_client().get(path).status_code == 401


def hourly(hours_ago: float) -> KnownJob:
    """A job that was due so many hours ago, and is allowed a minute."""
    anchor = datetime.now(UTC) - timedelta(hours=hours_ago)
    return KnownJob("a.job", "maintenance", [], [], timedelta(days=7), anchor, timedelta(minutes=1))


def test_readiness_is_degraded_until_a_beat_was_there(house: Any) -> None:
    found = house.app.test_client().get("/health/ready")
    assert (found.status_code, found.get_json()["status"]) == (200, "degraded")
    assert found.get_json()["reasons"] == ["no beat has started here yet: no job runs"]
    know(house, TRAIN)
    ready = house.app.test_client().get("/health/ready").get_json()
    assert ready == {"status": "ready", "serving": ["delivery.story_points/1"], "overdue_jobs": [], "reasons": []}


def test_where_nothing_serves_yet_readiness_says_so_and_asks_for_no_key(empty_house: Any) -> None:
    know(empty_house, TRAIN)
    found = empty_house.app.test_client().get("/health/ready").get_json()
    assert (found["status"], found["reasons"]) == ("degraded", ["nothing serves yet: promote a version"])


def test_a_job_that_did_not_run_by_its_time_degrades_readiness_until_it_ran(house: Any) -> None:
    know(house, hourly(2))
    with house.database.transaction() as connection:
        connection.execute("update jobs set known_since = now() - interval '1 day'")
    found = house.app.test_client().get("/health/ready")
    assert (found.status_code, found.get_json()["overdue_jobs"]) == (200, ["a.job"])
    plan(house, "a.job", "succeeded")
    assert house.app.test_client().get("/health/ready").get_json()["status"] == "ready"


def test_a_database_that_lacks_migrations_makes_readiness_503_with_the_command(house: Any) -> None:
    with house.database.transaction() as connection:
        connection.execute("delete from schema_migrations where number = 11")
    found = house.app.test_client().get("/health/ready")
    assert (found.status_code, found.get_json()["code"]) == (503, "not_ready")
    assert "run `forecastle migrate`" in found.get_json()["detail"]
