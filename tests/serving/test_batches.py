"""Many requests at once: an array of some, a stream of any number; each has an answer or a problem of its own."""

from __future__ import annotations

import json
from collections.abc import Iterator
from io import RawIOBase
from typing import Any

import pytest
from werkzeug.test import TestResponse

from forecastle.errors import ServerError
from forecastle.store.database import Database
from serving import batches
from serving.answering import Answerer

ROUTE = "/api/v1/ml/recommend-story-points/batch/"
EFFORT_ROUTE = "/api/v1/ml/predict-effort/batch/"
GOOD = {"project_id": "DEMO1", "title": "Migrate the cluster in admin"}
MARKER = "kX7-marker-9Qz"
BAD = {
    "": [7, None, [], "text"],
    "/title": [{"project_id": "DEMO1"}, {**GOOD, "title": MARKER * 100}],
    "/project_id": [{**GOOD, "project_id": f"{MARKER}\x00"}],
    "/story_points": [{**GOOD, "story_points": MARKER}],
}


def post(house: Any, body: Any, content_type: str = "application/json", route: str = ROUTE) -> TestResponse:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    found: TestResponse = house.app.test_client().post(
        route, data=data, content_type=content_type, headers=house.headers()
    )
    return found


def ndjson(*items: Any) -> bytes:
    return b"".join(item if isinstance(item, bytes) else json.dumps(item).encode() + b"\n" for item in items)


def stream(house: Any, body: bytes, route: str = ROUTE) -> list[dict[str, Any]]:
    response = post(house, body, batches.NDJSON, route)
    assert (response.status_code, response.mimetype) == (200, batches.NDJSON), response.get_data(as_text=True)
    return [json.loads(line) for line in response.get_data().splitlines()]


def without_id(answer: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in answer.items() if name != "prediction_id"}


def test_answers_come_in_order_and_are_those_of_single_requests(house: Any) -> None:
    asked = [{**GOOD, "project_id": f"DEMO{number % 3 + 1}", "title": f"Fix form {number}"} for number in range(40)]
    found = post(house, asked).get_json()
    assert (found["asked"], found["answered"], found["failed"]) == (40, 40, 0)
    assert [without_id(each) for each in found["answers"]] == [without_id(house.ask(each).get_json()) for each in asked]


def test_every_good_item_is_answered_and_durable_although_others_are_bad(house: Any) -> None:
    bad = [(pointer, item) for pointer, items in BAD.items() for item in items]
    asked = [item for _, each in bad for item in (GOOD, each)] + [{**GOOD, "project_id": "NOWHERE"}]
    response = post(house, asked)
    found = response.get_json()
    assert (response.status_code, found["answered"], found["failed"]) == (200, len(bad), len(bad) + 1)
    for answer in found["answers"][0:-1:2]:
        assert house.passport(answer["prediction_id"]).get_json()["answer"] == answer
    for (pointer, _), problem in zip(bad, found["answers"][1::2], strict=False):
        assert (problem["status"], problem["code"]) == (400, "invalid_input")
        assert [error["pointer"] for error in problem["errors"]] == [pointer]
    assert (found["answers"][-1]["status"], found["answers"][-1]["code"]) == (404, "not_found")
    assert MARKER not in response.get_data(as_text=True)
    assert house.predictions() == len(bad)


def test_an_empty_array_has_no_answers(house: Any) -> None:
    assert post(house, []).get_json() == {"asked": 0, "answered": 0, "failed": 0, "answers": []}


def test_a_batch_takes_no_more_transactions_than_one_request(house: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    post(house, [GOOD])  # the key is looked up
    begun = []
    original = Database.transaction
    monkeypatch.setattr(Database, "transaction", lambda self: begun.append(1) or original(self))
    counts = []
    for number in (1, 300):
        begun.clear()
        assert post(house, [GOOD] * number).get_json()["answered"] == number
        counts.append(len(begun))
    assert counts == [1, 1]  # what was known; the log has a connection of its own


def test_a_thousand_requests_are_taken_and_one_more_is_a_problem_that_names_the_stream(house: Any) -> None:
    assert post(house, [GOOD] * 1_000).get_json()["answered"] == 1_000
    response = post(house, [GOOD] * 1_001)
    assert (response.status_code, response.get_json()["code"]) == (400, "invalid_input")
    assert "application/x-ndjson" in response.get_json()["detail"]
    assert house.predictions() == 1_000


@pytest.mark.parametrize(
    "body, content_type",
    [
        ({"items": [GOOD]}, "application/json"),
        (GOOD, "application/json"),
        (b"", "application/json"),
        (b"[", "application/json"),
        (b"[" * 200_000, "application/json"),
        (b"\xff\xfe", "application/json"),
        ([GOOD], "text/plain"),
    ],
    ids=lambda value: ascii(value)[:40],
)
def test_a_body_that_is_no_array_is_a_problem_400(house: Any, body: Any, content_type: str) -> None:
    response = post(house, body, content_type)
    assert (response.status_code, response.content_type) == (400, "application/problem+json")
    assert "JSON array" in response.get_json()["detail"]
    assert house.predictions() == 0


def test_an_array_may_be_larger_than_a_request_and_is_bounded(house: Any) -> None:
    large = {**GOOD, "description": "x" * 900_000}
    assert post(house, [large] * 6).get_json()["answered"] == 6
    assert post(house, [large] * 20).status_code == 413


def test_with_postgresql_away_the_whole_batch_is_a_problem_503(house: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Answerer, "answer_many", _away)
    response = post(house, [GOOD, 7])
    assert (response.status_code, response.get_json()["code"]) == (503, "server_unavailable")
    assert response.headers["Retry-After"]


def test_without_a_key_or_the_right_nothing_is_answered(house: Any) -> None:
    assert house.app.test_client().post(ROUTE, json=[GOOD]).status_code == 401


def test_with_nothing_in_production_every_item_says_so(empty_house: Any) -> None:
    found = post(empty_house, [GOOD, GOOD]).get_json()
    assert [answer["code"] for answer in found["answers"]] == ["nothing_serves"] * 2


def test_what_one_answer_may_include_all_of_a_batch_may(effort_house: Any) -> None:
    asked = [{"project_id": "DONE1", "title": "Migrate the cluster in admin"}] * 3
    found = post(effort_house, asked, route=f"{EFFORT_ROUTE}?include=similar").get_json()
    assert all(answer["similar_issues"] for answer in found["answers"])
    (first, *_) = stream(effort_house, ndjson(*asked), f"{EFFORT_ROUTE}?include=similar")
    assert first["similar_issues"]
    assert post(effort_house, asked, route=f"{EFFORT_ROUTE}?include=all").status_code == 400


def test_a_stream_answers_line_by_line_and_names_the_lines_it_cannot_answer(house: Any) -> None:
    long = b'{"title": "' + b"x" * (batches.LONGEST_LINE_BYTES + 1) + b'"}\n'
    body = ndjson(
        GOOD, b"\n", b"{\n", b" \r\n", {**GOOD, "title": ""}, long, b"\xff\n", {**GOOD, "project_id": "?"}, GOOD
    )
    found = stream(house, body.rstrip(b"\n"))
    assert [(line.get("line"), line.get("status"), line.get("code")) for line in found] == [
        (None, None, None),
        (3, 400, "invalid_input"),
        (5, 400, "invalid_input"),
        (6, 413, "too_large"),
        (7, 400, "invalid_input"),
        (8, 404, "not_found"),
        (None, None, None),
    ]
    assert found[2]["errors"][0]["pointer"] == "/title"
    for answer in (found[0], found[-1]):
        assert house.passport(answer["prediction_id"]).get_json()["answer"] == answer
    assert house.predictions() == 2


def test_a_stream_may_be_longer_than_any_array(house: Any) -> None:
    number = batches.CHUNK_LINES * 5 + 7
    found = stream(house, ndjson(*({**GOOD, "title": f"Fix form {each}"} for each in range(number))))
    assert len({answer["prediction_id"] for answer in found}) == number == house.predictions()


def test_a_stream_without_a_line_has_no_answer(house: Any) -> None:
    assert stream(house, b"") == stream(house, b"\n \n") == []


def test_a_stream_is_answered_while_it_is_still_being_read(house: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batches, "CHUNK_LINES", 2)
    body = Watched(ndjson(GOOD) for _ in range(10))
    response = house.app.test_client().post(
        ROUTE,
        content_type=batches.NDJSON,
        headers=house.headers(),
        environ_overrides={"wsgi.input": body, "wsgi.input_terminated": True},
        buffered=False,
    )
    answers = response.iter_encoded()
    assert next(answers).count(b"\n") == 2
    assert body.read_lines < 10
    assert house.predictions() == 2
    response.close()  # the client has gone
    assert house.predictions() <= 4
    assert body.read_lines < 10


def test_a_stream_that_fails_midway_says_in_its_last_line_from_where_to_send_again(
    house: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batches, "CHUNK_LINES", 4)
    for failure, status in ((_away, 503), (_broken, 500)):
        monkeypatch.setattr(Answerer, "answer_many", _after(1, failure))
        found = stream(house, ndjson(*[GOOD] * 10))
        last = found.pop()
        assert len(found) == 4
        assert (last["status"], last["code"], last["answered_to_line"]) == (status, "cut_short", 4)
        assert MARKER not in json.dumps(last)


def test_a_stream_that_fails_before_its_first_answer_is_a_problem_503(
    house: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Answerer, "answer_many", _away)
    for _ in range(5):  # and holds no place
        response = post(house, ndjson(GOOD), batches.NDJSON)
        assert (response.status_code, response.content_type) == (503, "application/problem+json")
    monkeypatch.undo()
    assert len(stream(house, ndjson(GOOD))) == 1


def test_more_streams_than_there_is_room_for_are_asked_to_come_again(house: Any) -> None:
    ask = {"path": ROUTE, "data": ndjson(GOOD), "content_type": batches.NDJSON, "headers": house.headers()}
    held = [house.app.test_client().post(**ask, buffered=False) for _ in range(4)]
    refused = house.app.test_client().post(**ask)
    assert (refused.status_code, refused.get_json()["code"]) == (503, "too_many_streams")
    assert refused.headers["Retry-After"]
    assert house.ask().status_code == 200
    for response in held:
        response.close()
    assert len(stream(house, ndjson(GOOD))) == 1


class Watched(RawIOBase):
    """A body that arrives a line at a time, and counts how many were read."""

    def __init__(self, lines: Iterator[bytes]) -> None:
        self._lines, self.read_lines = lines, 0

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        line = next(self._lines, b"")
        self.read_lines += bool(line)
        return line


def _away(*_: Any, **__: Any) -> None:
    raise ServerError(f"PostgreSQL went away at {MARKER}")


def _broken(*_: Any) -> None:
    raise RuntimeError(MARKER)


ANSWER_MANY = Answerer.answer_many


def _after(number: int, failure: Any) -> Any:
    """Answers as often as said, and fails from then on."""
    answered: list[int] = []

    def answer_many(*arguments: Any) -> Any:
        if len(answered) >= number:
            failure()
        answered.append(1)
        return ANSWER_MANY(*arguments)

    return answer_many
