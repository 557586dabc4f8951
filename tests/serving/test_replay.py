"""An answer given once more is the same, or it is said what differs and why."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from versions import EFFORT, MODEL_TYPE, issues_of

from forecastle.features.packing import unpack_known
from forecastle.registry.replay import Difference
from forecastle.store import promotions as ledger
from forecastle.store.identifiers import new_id
from forecastle.store.issues import import_issues
from forecastle.store.unlearning import mark_period, withdraw_period


def asked(house: Any, **changed: Any) -> str:
    response = house.ask(**changed)
    assert response.status_code == 200, response.get_data(as_text=True)
    return str(response.get_json()["prediction_id"])


def replayed(house: Any, prediction_id: Any) -> dict[str, Any]:
    response = house.replay(prediction_id, "viewer")
    assert response.status_code == 200, response.get_data(as_text=True)
    found: dict[str, Any] = response.get_json()
    assert found["prediction_id"] == prediction_id
    return found


def change(house: Any, statement: str, *values: Any) -> None:
    with house.database.transaction() as connection:
        connection.execute(statement, values)


def test_an_answer_comes_out_again_to_the_last_bit(house: Any) -> None:
    found = replayed(house, asked(house, description="again\nand again"))
    same = {"verdict": "identical", "differences": []}
    assert found == {**found, "verdict": "identical", "scored": same, "rebuilt": same, "reasons": []}


@pytest.mark.parametrize(
    "query, changed", [("", {}), ("?include=similar", {}), ("", {"estimate_hours": 6.0, "assignee": "DEMO1 person 1"})]
)
def test_hours_come_out_again_with_and_without_an_estimate(
    effort_house: Any, query: str, changed: dict[str, Any]
) -> None:
    answer = effort_house.ask_effort(query, **changed).get_json()
    assert replayed(effort_house, answer["prediction_id"])["verdict"] == "identical"


def test_a_version_that_serves_no_more_answers_again(house: Any) -> None:
    before = asked(house)
    house.promote(2)
    assert house.ask().get_json()["model_version"] == "delivery.story_points/2"
    assert replayed(house, before)["verdict"] == "identical"


def test_an_outcome_that_was_imported_later_changes_what_is_rebuilt_and_is_named(effort_house: Any) -> None:
    answer = effort_house.ask_effort().get_json()
    late = replace(next(i for i in issues_of(EFFORT, 20) if i.effort_hours), key="DONE1-LATE", ordinal=10_000)
    with effort_house.database.transaction() as connection:
        import_issues(connection, [replace(late, project_key="DONE1", effort_hours=500.0)])
    found = replayed(effort_house, answer["prediction_id"])
    assert (found["verdict"], found["scored"]["verdict"], found["rebuilt"]["verdict"]) == (
        "differs", "identical", "differs",
    )  # fmt: skip
    (known,) = [one for one in found["rebuilt"]["differences"] if one["name"] == "known outcomes"]
    assert known["by"] == 1
    assert found["reasons"] == ["1 issues of the project with an outcome were imported or imported anew since"]


def test_an_issue_that_was_edited_later_is_named(effort_house: Any) -> None:
    answer = effort_house.ask_effort().get_json()
    done = next(issue for issue in issues_of(EFFORT, 150) if issue.project_key == "DONE1" and issue.effort_hours)
    with effort_house.database.transaction() as connection:
        import_issues(connection, [replace(done, effort_hours=done.effort_hours * 9)])
    found = replayed(effort_house, answer["prediction_id"])
    assert found["rebuilt"]["verdict"] == "differs"
    assert "1 issues of the project were edited since" in found["reasons"]


def test_what_was_answered_before_and_during_a_mark_comes_out_again_after_it(effort_house: Any) -> None:
    def known(prediction_id: str) -> int:
        with effort_house.database.transaction() as connection:
            row = connection.execute("select known from predictions where id = %s", (prediction_id,)).fetchone()
        return int(unpack_known(row["known"], tuple(EFFORT.groups)).project.count)

    before = effort_house.ask_effort().get_json()["prediction_id"]
    always = datetime(2000, 1, 1, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC)
    with effort_house.database.transaction() as connection:
        period = mark_period(connection, EFFORT.name, None, *always, "nothing can be trusted", "ada")
    during = effort_house.ask_effort().get_json()["prediction_id"]
    with effort_house.database.transaction() as connection:
        withdraw_period(connection, period.id, "ada")
    after = effort_house.ask_effort().get_json()["prediction_id"]
    assert known(during) == 0 < known(before) == known(after)
    assert {replayed(effort_house, each)["verdict"] for each in (before, during, after)} == {"identical"}


def test_text_that_was_erased_is_named(house: Any) -> None:
    prediction_id = asked(house, description="a long and telling description of the cluster")
    erased = "update predictions set request = request || %s where id = %s"
    change(house, erased, json.dumps({"title": "…", "description": ""}), prediction_id)
    found = replayed(house, prediction_id)
    assert "text of the request was erased since" in found["reasons"]


def test_a_digest_of_before_is_that_of_the_request_as_well(house: Any) -> None:
    prediction_id = asked(house, description="Größe")
    request = house.row("select request from predictions where id = %s", prediction_id)["request"]
    former = hashlib.sha256(json.dumps(request, sort_keys=True).encode()).hexdigest()
    changed = "update predictions set input_digest = %s, estimate = estimate + 0.5 where id = %s"
    change(house, changed, former, prediction_id)
    assert not any("erased" in reason for reason in replayed(house, prediction_id)["reasons"])
    change(house, changed, "0" * 64, prediction_id)
    assert any("erased" in reason for reason in replayed(house, prediction_id)["reasons"])


def test_numbers_that_were_kept_and_changed_are_noticed(house: Any) -> None:
    prediction_id = asked(house)
    change(house, "update predictions set estimate = estimate + 0.5 where id = %s", prediction_id)
    found = replayed(house, prediction_id)
    (difference,) = found["scored"]["differences"]
    assert (difference["name"], difference["by"]) == ("estimate", pytest.approx(-0.5))
    assert found["verdict"] == "differs"


def test_a_file_that_was_changed_after_its_approval_makes_it_impossible(house: Any) -> None:
    prediction_id = asked(house)
    (file,) = [one for one in _approved(house, 1) if one.name == "bundle/model.json"]
    house.objects.put(file.object_name, b"something else")
    found = replayed(house, prediction_id)
    assert (found["verdict"], found["scored"]["verdict"]) == ("not_possible", "not_possible")
    assert "was changed after its approval" in found["reasons"][0]


def _approved(house: Any, version: int) -> Any:
    with house.database.transaction() as connection:
        steps = ledger.confirmed_steps(connection, MODEL_TYPE.name)
    return next(step for step in steps if step.promotion.to_version == version).promotion.files


def test_a_prediction_of_before_its_numbers_were_kept_says_so(house: Any) -> None:
    prediction_id = asked(house)
    change(house, "update predictions set vector = null where id = %s", prediction_id)
    found = replayed(house, prediction_id)
    assert found["verdict"] == "not_possible"
    assert "before its numbers were kept" in found["reasons"][0]


def test_other_feature_code_makes_it_impossible(house: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    prediction_id = asked(house)
    monkeypatch.setattr("forecastle.registry.bundle.digest_of_features", lambda model_type: "other")
    found = replayed(house, prediction_id)
    assert found["verdict"] == "not_possible"
    assert "feature code was changed" in found["reasons"][0]


def test_an_unknown_prediction_is_a_problem_404(house: Any) -> None:
    assert house.replay(str(new_id())).status_code == 404


def test_a_difference_of_what_is_no_number_has_no_size() -> None:
    assert Difference("method", "median", "mean").by is None
    assert Difference("n", float("nan"), 1.0).by is None
    assert Difference("n", 1.0, 3.0).by == 2.0
