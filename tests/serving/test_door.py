"""The door answers as Flask does, and only what is in memory; everything else goes through Flask."""

from __future__ import annotations

import asyncio
import http.client
import json
import socket
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psycopg
import pytest
from processes import await_that
from questions import effort_question, question
from rsgi import AtTheDoor, Headers, Protocol, Scope
from versions import EFFORT, MODEL_TYPE

from forecastle.embedded.servers import running
from forecastle.errors import ServerError
from forecastle.settings import Settings
from forecastle.store.predictions import StoredPrediction
from serving import flask_adapter
from serving.batches import CHUNK_LINES, NDJSON
from serving.door import MOST_BYTES, create_door


@pytest.fixture
def at_the_door(effort_house: Any, own_storage: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[AtTheDoor]:
    door = create_door(replace(own_storage, database_url=effort_house.url))
    runner = asyncio.Runner()
    found = AtTheDoor(effort_house, door, runner)
    original = door._flask.answer

    async def counting(*words: Any) -> None:
        found.handed_on += 1
        await original(*words)

    monkeypatch.setattr(door._flask, "answer", counting)
    yield found
    door.__rsgi_del__(runner.get_loop())
    runner.close()


def told(answer: Any) -> Any:
    return {name: value for name, value in answer.items() if name != "prediction_id"}


@pytest.mark.parametrize(
    ("route", "asked"), [(MODEL_TYPE.route, question), (EFFORT.route, effort_question)], ids=["points", "effort"]
)
def test_an_answer_from_memory_is_that_of_flask_and_as_durable(
    at_the_door: AtTheDoor, route: str, asked: Callable[[], dict[str, Any]]
) -> None:
    status, headers, answer = at_the_door.from_memory(route, asked())
    assert (status, headers["content-type"]) == (200, "application/json")
    by_flask = at_the_door.house.app.test_client().post(route, json=asked(), headers=at_the_door.house.headers())
    assert told(answer) == told(by_flask.json)
    assert list(answer) == list(by_flask.json)
    passports = [at_the_door.house.passport(each["prediction_id"]).json for each in (answer, by_flask.json)]
    own = ("prediction_id", "moment", "latency_ms", "answer")
    one, other = ({name: each[name] for name in each if name not in own} for each in passports)
    assert one == other


def test_what_is_asked_at_the_same_time_is_answered_each_for_itself(at_the_door: AtTheDoor) -> None:
    at_the_door.from_memory(MODEL_TYPE.route, question())
    before = at_the_door.house.predictions()
    asked = [{**question(), "title": f"Migrate cluster {number} of {'them ' * number}"} for number in range(30)]
    answers = at_the_door.ask_many([(MODEL_TYPE.route, each) for each in asked])
    assert [status for status, _, _ in answers] == [200] * 30
    for each, (_, _, answer) in zip(asked, answers, strict=True):
        row = at_the_door.house.row("select request from predictions where id = %s", answer["prediction_id"])
        assert row["request"]["title"] == each["title"].strip()
    assert at_the_door.house.predictions() == before + 30


REFUSED: dict[str, tuple[Any, dict[str, Any]]] = {
    "no JSON": (b"{", {}),
    "a field that is not known": ({**question(), "more": 1}, {}),
    "no title": ({"project_id": "DEMO1"}, {}),
    "no such project": ({**question(), "project_id": "nowhere"}, {}),
    "no key": (question(), {"headers": {"Authorization": ""}}),
    "a key that is not known": (question(), {"headers": {"Authorization": "Bearer nobody's"}}),
    "another scheme": (question(), {"headers": {"Authorization": "Basic abc"}}),
    "another kind of body": (question(), {"headers": {"Content-Type": "text/plain"}}),
    "half a pair of UTF-16": (b'{"project_id": "DEMO1", "title": "\\ud800"}', {}),
    "too long a title": ({**question(), "title": "x" * 100_000}, {}),
}


def test_what_is_refused_is_refused_in_the_words_of_flask(at_the_door: AtTheDoor) -> None:
    at_the_door.from_memory(MODEL_TYPE.route, question())
    client = at_the_door.house.app.test_client()
    for name, (body, changed) in REFUSED.items():
        status, headers, problem = at_the_door.ask(MODEL_TYPE.route, body, **changed)
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        told = {"Content-Type": "application/json", **at_the_door.house.headers()}
        told |= changed.get("headers", {})
        by_flask = client.post(MODEL_TYPE.route, data=content, headers=told)
        assert (status, problem) == (by_flask.status_code, by_flask.json), name
        assert status >= 400, name
        assert headers["content-type"] == "application/problem+json", name
        assert headers.get("www-authenticate") == by_flask.headers.get("WWW-Authenticate"), name


def test_two_keys_are_no_key(at_the_door: AtTheDoor) -> None:
    at_the_door.from_memory(MODEL_TYPE.route, question())
    second = (("Authorization", "Bearer another"),)
    assert at_the_door.ask(MODEL_TYPE.route, question(), twice=second)[0] == 401


def test_a_type_with_a_parameter_is_json_as_well(at_the_door: AtTheDoor) -> None:
    told = {"Content-Type": "application/json; charset=utf-8"}
    assert at_the_door.from_memory(MODEL_TYPE.route, question(), headers=told)[0] == 200


def test_a_mistake_at_the_door_is_written_down_and_flask_answers(
    at_the_door: AtTheDoor, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    at_the_door.from_memory(MODEL_TYPE.route, question())

    def broken(self: Any, *words: Any) -> Any:
        raise LookupError("what somebody wrote")

    monkeypatch.setattr(type(at_the_door.door._answerer), "at_once", broken)
    assert at_the_door.ask(MODEL_TYPE.route, question())[0] == 200
    assert "LookupError at the door" in caplog.text
    assert "somebody" not in caplog.text


def test_who_may_not_predict_is_told_so(at_the_door: AtTheDoor) -> None:
    at_the_door.from_memory(MODEL_TYPE.route, question())
    for _ in range(2):
        assert at_the_door.ask(MODEL_TYPE.route, question(), headers=at_the_door.house.headers("viewer"))[0] == 403


def test_what_is_out_of_the_ordinary_is_answered_by_flask(at_the_door: AtTheDoor) -> None:
    at_the_door.from_memory(EFFORT.route, effort_question())
    long = {**effort_question(), "description": "words " * (MOST_BYTES // 6)}
    for body, changed in (
        (effort_question(), {"query_string": "include=similar"}),
        (effort_question(), {"headers": {"Content-Type": "application/vnd.api+json"}}),
        (long, {}),
    ):
        before = at_the_door.handed_on
        status, _, answer = at_the_door.ask(EFFORT.route, body, **changed)
        assert (status, at_the_door.handed_on) == (200, before + 1)
        assert bool(answer.get("similar_issues")) == ("query_string" in changed)


def test_a_client_that_sends_no_more_of_its_body_is_taken_to_be_gone(
    at_the_door: AtTheDoor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(flask_adapter, "STALLED_SECONDS", 0.1)
    told = [*at_the_door.house.headers().items(), ("Content-Type", "application/json"), ("Content-Length", "100000")]
    stalled = [Protocol(b'{"title": "', stalls=True) for _ in range(20)]
    lines = Protocol((json.dumps(question()).encode() + b"\n") * (CHUNK_LINES + 1), stalls=True)

    async def all_of_them() -> None:
        scope = Scope(MODEL_TYPE.route, headers=Headers(told))
        of_lines = [*at_the_door.house.headers().items(), ("Content-Type", NDJSON), ("Transfer-Encoding", "chunked")]
        stream = Scope(f"{MODEL_TYPE.route}batch/", headers=Headers(of_lines))
        asked = [(scope, each) for each in stalled] + [(stream, lines)]
        await asyncio.gather(*(at_the_door.door.__rsgi__(*each) for each in asked))

    at_the_door.runner.run(all_of_them())
    assert {each.answer[0] for each in stalled} == {408}
    *answers, last = [json.loads(line) for line in lines.answer[2].splitlines()]
    assert (len(answers), last["status"], last["code"]) == (CHUNK_LINES, 408, "cut_short")
    assert at_the_door.house.predictions() == CHUNK_LINES


def test_another_version_and_another_outcome_are_in_the_next_answers(at_the_door: AtTheDoor) -> None:
    def version() -> str:
        return str(at_the_door.from_memory(MODEL_TYPE.route, question())[2]["model_version"])

    assert version().endswith("/1")
    at_the_door.house.promote(2)
    await_that(lambda: version().endswith("/2"))
    before = at_the_door.from_memory(EFFORT.route, effort_question())[2]
    with psycopg.connect(at_the_door.house.url) as connection:
        connection.execute("update issues set effort_hours = effort_hours * 50 where effort_hours is not null")
    await_that(lambda: told(at_the_door.from_memory(EFFORT.route, effort_question())[2]) != told(before))


FORBIDDING = """
    create function refuse() returns trigger language plpgsql as $$
    begin
        if new.request ->> 'title' like '%forbidden%' then raise exception 'refused' using errcode = '22000'; end if;
        return new;
    end $$;
    create trigger refuse before insert on predictions for each row execute function refuse();
"""


@pytest.mark.parametrize("connects", [True, False])
def test_a_row_that_postgresql_refuses_is_an_error_of_its_request_alone(
    at_the_door: AtTheDoor, connects: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = at_the_door.door._log
    if connects:
        await_that(lambda: at_the_door.ask(MODEL_TYPE.route, question())[0] == 200 and log.is_connected)
    else:
        monkeypatch.setattr(log, "_connect", lambda loop: None)
        at_the_door.from_memory(MODEL_TYPE.route, question())
    with psycopg.connect(at_the_door.house.url) as connection:
        connection.execute(FORBIDDING)
    asked = [{**question(), "title": title} for title in ("one", "forbidden", "two")]
    answers = at_the_door.ask_many([(MODEL_TYPE.route, each) for each in asked])
    assert [status for status, _, _ in answers] == [200, 400, 200]
    assert "cannot keep" in answers[1][2]["detail"]
    assert log.is_connected == connects


def test_what_the_log_fails_with_is_said_without_names(at_the_door: AtTheDoor, monkeypatch: pytest.MonkeyPatch) -> None:
    at_the_door.from_memory(MODEL_TYPE.route, question())
    for error, status in ((ServerError("PostgreSQL at 10.0.0.1"), 503), (RuntimeError("secret"), 500)):

        def failing(row: StoredPrediction, error: Exception = error) -> asyncio.Future[Exception | None]:
            told: asyncio.Future[Exception | None] = asyncio.get_running_loop().create_future()
            told.set_result(error)
            return told

        monkeypatch.setattr(at_the_door.door._log, "write", failing)
        found, headers, problem = at_the_door.ask(MODEL_TYPE.route, question())
        assert found == status
        assert "10.0.0.1" not in str(problem)
        assert "secret" not in str(problem)
        assert ("retry-after" in headers) == (status == 503)


def test_nobody_waits_longer_than_patience_lasts(at_the_door: AtTheDoor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(at_the_door.door._answerer.log, "_patience", 1.0)
    at_the_door.from_memory(MODEL_TYPE.route, question())
    before = at_the_door.house.predictions()
    with psycopg.connect(at_the_door.house.url) as connection:
        connection.execute("lock table predictions in exclusive mode")
        answers = at_the_door.ask_many([(MODEL_TYPE.route, question())] * 5)
    assert {status for status, _, _ in answers} == {503}
    assert all("retry-after" in headers for _, headers, _ in answers)
    await_that(lambda: at_the_door.ask(MODEL_TYPE.route, question())[0] == 200)
    assert at_the_door.house.predictions() > before


def test_the_server_that_runs_answers_what_it_is_asked_in_any_way(
    effort_house: Any, own_storage: Settings, tmp_path: Path
) -> None:
    settings = replace(own_storage, home=tmp_path / "home", database_url=effort_house.url, http_port=0)
    with running(settings, ("facade",)) as found:
        assert found.facade_url is not None
        connection = http.client.HTTPConnection(urlsplit(found.facade_url).netloc, timeout=30)

        def send(method: str, path: str, body: Any = None, **headers: str) -> tuple[int, dict[str, str], bytes]:
            connection.request(method, path, body, {**effort_house.headers(), **headers})
            response = connection.getresponse()
            return response.status, {name.lower(): value for name, value in response.getheaders()}, response.read()

        asked, json_type = json.dumps(question()).encode(), {"Content-Type": "application/json"}
        answers = [send("POST", MODEL_TYPE.route, asked, **json_type) for _ in range(20)]
        assert {status for status, _, _ in answers} == {200}
        assert {headers["content-length"] for _, headers, _ in answers} == {str(len(body)) for _, _, body in answers}
        identifiers = [json.loads(body)["prediction_id"] for _, _, body in answers]
        assert len(set(identifiers)) == 20
        pieces = send("POST", MODEL_TYPE.route, iter([asked[:20], asked[20:]]), **json_type)  # chunked
        assert pieces[0] == 200
        path = f"/api/v1/ml/predictions/{identifiers[-1]}/passport"
        whole = send("GET", path)
        assert (whole[0], json.loads(whole[2])["prediction_id"]) == (200, identifiers[-1])
        head = send("HEAD", path)
        assert (head[0], head[2], head[1]["content-length"]) == (200, b"", whole[1]["content-length"])
        assert send("GET", "/health/live")[0] == 200
        assert send("GET", "/openapi.json")[0] == 200
        assert send("GET", "/caf%C3%A9/a%20b")[0] == 404
        assert send("DELETE", MODEL_TYPE.route)[0] == 405
        assert send("OPTIONS", MODEL_TYPE.route)[1]["allow"].replace(" ", "").split(",") != []
        forged = {"If_Match": "forged", "Authorization_": "x", "Content_Length": "3"}
        assert send("POST", MODEL_TYPE.route, asked, **json_type, **forged)[0] == 200
        assert send("POST", MODEL_TYPE.route, b"", **json_type, **{"Content-Length": "5000000"})[0] == 413


def test_a_body_that_is_cut_off_is_refused_or_nobodys_and_never_taken_for_whole(
    effort_house: Any, own_storage: Settings, tmp_path: Path
) -> None:
    settings = replace(own_storage, home=tmp_path / "home", database_url=effort_house.url, http_port=0)
    whole = json.dumps(question()).encode() + b"\n"
    with running(settings, ("facade",)) as found:
        assert found.facade_url is not None
        place = urlsplit(found.facade_url)
        assert place.hostname is not None
        assert place.port is not None
        key = effort_house.headers()["Authorization"]
        for path, kind in ((MODEL_TYPE.route, "application/json"), (f"{MODEL_TYPE.route}batch/", NDJSON)):
            with socket.create_connection((place.hostname, place.port), timeout=10) as connection:
                head = f"POST {path} HTTP/1.1\r\nHost: x\r\nAuthorization: {key}\r\nContent-Type: {kind}\r\n"
                connection.sendall(f"{head}Content-Length: {2 * len(whole)}\r\n\r\n".encode() + whole)
                connection.shutdown(socket.SHUT_WR)
                answer = connection.makefile("rb").read()
            assert b" 200 " not in answer.split(b"\r\n")[0]
    assert effort_house.predictions() == 0
    log = "".join(path.read_text() for path in (tmp_path / "home").rglob("*.log"))
    assert "Traceback" not in log
