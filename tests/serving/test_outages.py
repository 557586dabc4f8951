"""Nobody's words in the log, and what is answered while the database is away."""

from __future__ import annotations

import logging
import socket
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import psycopg
import pytest
from psycopg import sql
from versions import MODEL_TYPE
from werkzeug.test import TestResponse

import projects
from forecastle.access.principals import Principal, Role
from forecastle.errors import ServerError
from forecastle.registry.loading import load_serving
from forecastle.registry.serving import ServingModels
from forecastle.settings import Settings
from forecastle.store import database as database_module
from forecastle.store.database import Database
from forecastle.store.objects import Objects
from serving.application import build, create_application

MARKER = "kX7-marker-9Qz"
DEADLINE = 20.0


def assert_away(response: TestResponse) -> None:
    assert (response.status_code, response.content_type) == (503, "application/problem+json")
    assert int(response.headers["Retry-After"]) > 0
    assert response.get_json()["code"] == "server_unavailable"


@pytest.mark.parametrize(
    "where", ["serving.answering.PredictionLog.write", "projects.delivery.story_points.answer._fields"]
)
def test_an_error_that_nobody_foresaw_tells_neither_caller_nor_log_what_was_asked(
    house: Any, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise RuntimeError(f"cannot take {MARKER}, asked with {house.keys['member']}")

    monkeypatch.setattr(where, fail)
    caplog.set_level(logging.DEBUG)
    response = house.ask(title=f"a {MARKER}", description=f"{MARKER} too")
    assert (response.status_code, response.content_type) == (500, "application/problem+json")
    assert MARKER not in response.get_data(as_text=True)
    assert "RuntimeError at " in caplog.text
    assert "test_outages.py" in caplog.text
    assert MARKER not in caplog.text
    assert house.keys["member"] not in caplog.text


def test_the_log_of_answers_and_refusals_holds_neither_texts_nor_keys(
    house: Any, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    statuses = [
        house.ask(title=f"a {MARKER}", description=f"{MARKER} too").status_code,
        house.ask(title=f"{MARKER}" * 100).status_code,
        house.ask(project_id=MARKER).status_code,
        house.ask(role="viewer", title=MARKER).status_code,
        house.app.test_client().get("/api/v1/x", headers={"Authorization": f"Bearer {MARKER}"}).status_code,
    ]
    assert statuses == [200, 400, 404, 403, 401]
    assert MARKER not in caplog.text
    assert not any(key in caplog.text for key in house.keys.values())


def test_a_database_that_never_was_there_is_a_problem_503_that_names_no_password(
    objects: Objects, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    monkeypatch.setattr(database_module, "POOL_TIMEOUT_SECONDS", 0.3)
    with socket.socket() as unheard:
        unheard.bind(("127.0.0.1", 0))  # taken, and nobody listens
        url = f"postgresql://somebody:{MARKER}@127.0.0.1:{unheard.getsockname()[1]}/forecastle"
        with Database(url) as database:
            models = ServingModels(database, objects, projects.discover())
            client = build(database, models).test_client()
            response = client.post(
                "/api/v1/ml/recommend-story-points/",
                json={"project_id": "DEMO1", "title": "Fix"},
                headers={"Authorization": "Bearer key"},
            )
            assert client.get("/health/live").status_code == 200
            ready = client.get("/health/ready")
    assert (ready.status_code, ready.get_json()["detail"]) == (503, "the database does not answer")
    assert_away(response)
    assert MARKER not in response.get_data(as_text=True)
    assert MARKER not in caplog.text


def test_while_the_database_is_away_the_problem_is_503_and_afterwards_the_same_facade_answers(
    house: Any, postgresql: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database_module, "POOL_TIMEOUT_SECONDS", 0.3)
    name = sql.Identifier(house.url.rpartition("/")[2])
    with (
        Database(house.url, 4) as database,
        psycopg.connect(postgresql.require_database_url(), autocommit=True) as admin,
    ):
        models = ServingModels(database, house.objects, projects.discover())
        models.refresh()
        client = build(database, models).test_client()

        def ask() -> TestResponse:
            found: TestResponse = client.post(
                "/api/v1/ml/recommend-story-points/",
                json={"project_id": "DEMO1", "title": "Fix"},
                headers=house.headers(),
            )
            return found

        assert ask().status_code == 200
        admin.execute(sql.SQL("alter database {} allow_connections false").format(name))
        terminate = "select pg_terminate_backend(pid, 5000) from pg_stat_activity where datname = %s"
        admin.execute(terminate, (house.url.rpartition("/")[2],))
        assert_away(ask())
        assert_away(ask())
        admin.execute(sql.SQL("alter database {} allow_connections true").format(name))
        await_that(lambda: ask().status_code == 200, seconds=4)
        assert house.predictions() == 2


def test_after_a_long_outage_the_database_is_found_again_at_once(
    house: Any, postgresql: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database_module, "POOL_TIMEOUT_SECONDS", 0.3)
    name = house.url.rpartition("/")[2]

    def allow(database: Database) -> bool:
        try:
            return bool(database.retrying(lambda connection: connection.execute("select 1").fetchone()))
        except ServerError:
            return False

    with (
        Database(house.url, 4) as database,
        psycopg.connect(postgresql.require_database_url(), autocommit=True) as admin,
    ):
        assert allow(database)
        admin.execute(sql.SQL("alter database {} allow_connections false").format(sql.Identifier(name)))
        admin.execute("select pg_terminate_backend(pid, 5000) from pg_stat_activity where datname = %s", (name,))
        away_until = time.monotonic() + 8  # pauses that double would now look again after 7 s more
        while time.monotonic() < away_until:
            assert not allow(database)
        admin.execute(sql.SQL("alter database {} allow_connections true").format(sql.Identifier(name)))
        await_that(lambda: allow(database), seconds=4)


def test_connections_that_died_between_two_questions_cost_no_answer(house: Any, postgresql: Settings) -> None:
    assert house.ask().status_code == 200
    with psycopg.connect(postgresql.require_database_url(), autocommit=True) as admin:
        terminate = "select pg_terminate_backend(pid, 5000) from pg_stat_activity where datname = %s"
        admin.execute(terminate, (house.url.rpartition("/")[2],))
    assert house.ask().status_code == 200
    assert house.predictions() == 2


def test_the_factory_serves_what_the_ledger_names_and_follows_a_promotion_by_itself(
    house: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[ServingModels] = []
    original = ServingModels.start

    def start(models: ServingModels) -> None:
        started.append(models)
        original(models)

    monkeypatch.setattr(ServingModels, "start", start)
    settings = replace(house.objects.settings, database_url=house.url, pool_size=2)
    client = create_application(settings).test_client()
    (models,) = started
    try:
        asked = {"project_id": "DEMO1", "title": "Fix"}

        def version() -> str:
            answer = client.post("/api/v1/ml/recommend-story-points/", json=asked, headers=house.headers()).get_json()
            return str(answer["model_version"])

        assert version() == "delivery.story_points/1"
        house.promote(2)
        await_that(lambda: version() == "delivery.story_points/2", seconds=5)
    finally:
        models.stop()


def await_that(holds: Callable[[], bool], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "did not happen in time"
        threading.Event().wait(0.02)


@pytest.mark.parametrize("own", [False, True], ids=["everybody's", "the project's own"])
def test_where_the_first_version_is_long_on_its_way_it_is_said_when_to_try_again_and_then_it_answers(
    empty_house: Any, monkeypatch: pytest.MonkeyPatch, own: bool
) -> None:
    project = empty_house.row("select id from projects where key = 'DEMO1'")["id"]
    name = f"{MODEL_TYPE.name}.{project}" if own else MODEL_TYPE.name
    empty_house.promoter.promote(name, 1, Principal("reviewer", Role.REVIEWER), "the first")
    go_on, begun = threading.Event(), threading.Event()

    def load(*given: Any) -> Any:
        begun.set()
        assert go_on.wait(DEADLINE)
        return load_serving(*given)

    monkeypatch.setattr("forecastle.registry.replacing.load_serving", load)
    monkeypatch.setattr("forecastle.registry.serving.WAIT_SECONDS", 0.01)
    with ThreadPoolExecutor(1) as beside:
        loaded = beside.submit(empty_house.models.refresh)
        if own:  # it is loaded when it is asked for
            loaded.result(DEADLINE)
        else:
            assert begun.wait(DEADLINE)
        assert_away(empty_house.ask())
        monkeypatch.setattr("forecastle.registry.serving.WAIT_SECONDS", DEADLINE)
        go_on.set()
        assert empty_house.ask().get_json()["model_version"] == f"{name}/1"
