"""Who may say what came out, what is refused, and that the same twice is once."""

from __future__ import annotations

import uuid
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from threading import Barrier
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

MANY = "/api/v1/ml/ground-truth"
NOW = datetime.now(UTC)


def one(prediction_id: str) -> str:
    return f"/api/v1/ml/predictions/{prediction_id}/ground-truth"


def asked(house: Any, **changed: Any) -> str:
    return str(house.ask(**changed).get_json()["prediction_id"])


def told(house: Any, prediction_id: str, value: Any, **said: Any) -> dict[str, Any]:
    response = house.put(one(prediction_id), {"value": value, **said})
    assert response.status_code == 200, response.get_data(as_text=True)
    found: dict[str, Any] = response.get_json()
    return found


def rows(house: Any) -> int:
    return int(house.row("select count(*) as number from ground_truth")["number"])


def test_what_came_out_stands_in_the_passport_of_its_prediction(house: Any) -> None:
    prediction = asked(house)
    assert house.passport(prediction).get_json()["ground_truth"] is None
    answer = told(house, prediction, 5, known_at="2025-11-20T10:00:00+02:00", source="planning poker")
    assert answer["changed"]
    assert answer["target"] == "story_points"
    truth = answer["ground_truth"]
    assert (truth["value"], truth["source"], truth["recorded_by"]) == (5.0, "planning poker", "a member")
    assert datetime.fromisoformat(truth["known_at"]) == datetime(2025, 11, 20, 8, tzinfo=UTC)
    assert house.passport(prediction).get_json()["ground_truth"] == truth


def test_the_same_again_changes_nothing_whoever_says_it(house: Any) -> None:
    prediction = asked(house)
    first = told(house, prediction, 5, known_at="2025-11-20T10:00:00Z")
    for role, again in (("member", {}), ("operator", {"known_at": "2025-11-20T11:00:00+01:00"})):
        answer = house.put(one(prediction), {"value": 5, **again}, role).get_json()
        assert answer == {**first, "changed": False}
    assert rows(house) == 1


def test_a_correction_keeps_what_was_said_before(house: Any) -> None:
    prediction = asked(house)
    for value in (5, 8, 5):
        assert told(house, prediction, value)["changed"]
    found = house.passport(prediction).get_json()
    assert found["ground_truth"]["value"] == 5
    assert [truth["value"] for truth in found["superseded_ground_truth"]] == [5, 8]


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(said=st.lists(st.sampled_from([1.0, 2.5, 8.0]), min_size=1, max_size=12), cut=st.integers(0, 12))
def test_whatever_is_said_in_whatever_batches_the_last_counts_and_each_change_is_one_row(
    house: Any, said: list[float], cut: int
) -> None:
    prediction = asked(house)
    for part in (said[:cut], said[cut:]):
        if part:
            body = {"items": [{"prediction_id": prediction, "value": value} for value in part]}
            assert house.put(MANY, body).status_code == 200
    changes = [value for place, value in enumerate(said) if place == 0 or said[place - 1] != value]
    found = house.passport(prediction).get_json()
    history = [*found["superseded_ground_truth"], found["ground_truth"]]
    assert [truth["value"] for truth in history] == changes
    assert told(house, prediction, said[-1])["changed"] is False


def test_many_who_say_the_same_at_once_make_one_row(house: Any) -> None:
    prediction, together = asked(house), Barrier(4, timeout=30)

    def tell(_: int) -> bool:
        together.wait()
        return bool(told(house, prediction, 3)["changed"])

    with ThreadPoolExecutor(4) as pool:
        assert sorted(pool.map(tell, range(4))) == [False, False, False, True]
    assert rows(house) == 1


@pytest.mark.parametrize(
    "pointer, changed",
    [
        ("/value", {"value": 0}),
        ("/value", {"value": -1}),
        ("/value", {"value": "5"}),
        ("/value", {"value": True}),
        ("/value", {"value": None}),
        ("/value", {"value": float("nan")}),
        ("/value", {"value": float("inf")}),
        ("/value", {"value": 10**400}),
        ("/known_at", {"known_at": "yesterday"}),
        ("/known_at", {"known_at": "2026-01-01T00:00:00"}),
        ("/known_at", {"known_at": "0001-01-01T00:00:00+14:00"}),
        ("/source", {"source": " "}),
        ("/source", {"source": "a\x00b"}),
        ("/extra", {"extra": 1}),
    ],
)
def test_a_field_that_cannot_be_used_is_named(house: Any, pointer: str, changed: dict[str, Any]) -> None:
    prediction = asked(house)
    response = house.put(one(prediction), {"value": 5, **changed})
    assert response.status_code == 400
    assert [problem["pointer"] for problem in response.get_json()["errors"]] == [pointer]
    assert rows(house) == 0


@pytest.mark.parametrize(
    "said, sentence",
    [
        ({"value": 1_001}, "story_points lie above 0 and at most at 1,000"),
        ({"value": 5, "known_at": (NOW + timedelta(hours=1)).isoformat()}, "lies in the future"),
        ({"value": 5, "source": "import"}, "is that of imports"),
    ],
)
def test_what_makes_no_sense_for_this_prediction_is_refused(house: Any, said: dict[str, Any], sentence: str) -> None:
    response = house.put(one(asked(house)), said)
    assert (response.status_code, response.get_json()["code"]) == (400, "invalid_input")
    assert sentence in response.get_json()["detail"]
    assert rows(house) == 0


def test_hours_may_be_more_than_points(effort_house: Any) -> None:
    prediction = effort_house.ask_effort().get_json()["prediction_id"]
    assert told(effort_house, prediction, 1_001)["target"] == "effort_hours"


def test_a_prediction_that_is_not_there_is_a_problem_404(house: Any) -> None:
    response = house.put(one(str(uuid.uuid4())), {"value": 5})
    assert (response.status_code, response.get_json()["code"]) == (404, "not_found")


@pytest.mark.parametrize("role", ["viewer", "reviewer"])
def test_who_only_looks_or_promotes_does_not_say_what_came_out(house: Any, role: str) -> None:
    prediction = asked(house)
    for path, body in (
        (one(prediction), {"value": 5}),
        (MANY, {"items": [{"prediction_id": prediction, "value": 5}]}),
    ):
        assert house.put(path, body, role).status_code == 403
    assert rows(house) == 0


def test_of_many_the_good_ones_are_kept_and_each_bad_one_has_its_problem(house: Any) -> None:
    first, second = asked(house), asked(house)
    told(house, second, 8)
    items = [
        {"prediction_id": first, "value": 3},
        {"prediction_id": first, "value": -3},
        "nonsense",
        {"prediction_id": str(uuid.uuid4()), "value": 3},
        {"prediction_id": second, "value": 8},
        {"prediction_id": second, "value": 5_000},
        {"prediction_id": first, "value": 5},
    ]
    found = house.put(MANY, {"items": items}).get_json()
    assert (found["asked"], found["recorded"], found["failed"]) == (7, 2, 4)
    codes = [item.get("code") or item["changed"] for item in found["items"]]
    assert codes == [True, "invalid_input", "invalid_input", "not_found", False, "invalid_input", True]
    assert found["items"][1]["errors"][0]["pointer"] == "/value"
    assert house.passport(first).get_json()["ground_truth"]["value"] == 5
    assert house.passport(second).get_json()["ground_truth"]["value"] == 8


def test_a_thousand_items_are_taken_and_one_more_is_not(house: Any) -> None:
    prediction = asked(house)
    items = [{"prediction_id": prediction, "value": 1 + number % 2} for number in range(1_001)]
    assert house.put(MANY, {"items": items}).status_code == 400
    assert house.put(MANY, {"items": []}).status_code == 400
    found = house.put(MANY, {"items": items[:1_000]}).get_json()
    assert (found["recorded"], rows(house)) == (1_000, 1_000)
