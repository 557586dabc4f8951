"""What an answer holds, what is written down of it, and what its passport shows."""

from __future__ import annotations

import hashlib
import json
import uuid
from datetime import UTC, datetime
from typing import Any

import pytest

from forecastle.access.principals import Principal, Role
from forecastle.errors import IntegrityError, ServerError
from forecastle.features.packing import unpack_known
from forecastle.registry.aliases import VersionFiles
from forecastle.registry.bundle import digest_of_files
from forecastle.store.prediction_log import PredictionLog
from forecastle.store.prediction_months import drop_month, list_months
from forecastle.store.tenants import get_project
from projects.delivery.story_points.answer import StoryPointsAnswer

REVIEWER = Principal("reviewer", Role.REVIEWER)


def answered(house: Any, **changed: Any) -> dict[str, Any]:
    response = house.ask(**changed)
    assert response.status_code == 200, response.get_data(as_text=True)
    fields: dict[str, Any] = response.get_json()
    return fields


def project_id(house: Any, key: str) -> str:
    with house.database.transaction() as connection:
        return str(get_project(connection, key).id)


def bundle_digest(version: VersionFiles) -> str:
    files = {name.removeprefix("bundle/"): content for name, content in version.files.items()}
    return digest_of_files(files)


def test_an_answer_has_exactly_the_documented_fields_and_is_valid(house: Any) -> None:
    answer = answered(house)
    assert set(answer) == set(StoryPointsAnswer.model_fields)
    StoryPointsAnswer.model_validate(answer, strict=True, extra="forbid")
    assert answer["model_version"] == "delivery.story_points/1"
    assert answer["baseline"]["name"] == "rolling_median"


def test_the_recommended_value_stands_on_the_projects_scale_and_in_its_interval(house: Any) -> None:
    with house.database.transaction() as connection:
        rows = connection.execute(
            "select distinct story_points from issues join projects on projects.id = project_id "
            "where projects.key = %s",
            ("DEMO2",),
        ).fetchall()
    scale = {row["story_points"] for row in rows}
    for title in ("Rename the label in settings", "Migrate the cluster in admin", "???"):
        answer = answered(house, project_id="DEMO2", title=title)
        assert answer["recommended_points"] in scale
        assert {float(value) for value in answer["probability_distribution"]} <= scale
        assert answer["interval"]["low"] <= answer["recommended_points"] <= answer["interval"]["high"]


def test_the_probabilities_are_one_in_sum_and_the_confidence_is_one_of_them(house: Any) -> None:
    answer = answered(house)
    probabilities = answer["probability_distribution"]
    assert sum(probabilities.values()) == pytest.approx(1, abs=5e-4)
    assert all(0 <= value <= 1 for value in probabilities.values())
    assert answer["confidence"] == probabilities[f"{answer['recommended_points']:g}"]


def test_the_same_question_gets_the_same_answer_and_an_id_of_its_own(house: Any) -> None:
    first, second = answered(house), answered(house)
    assert first.pop("prediction_id") != second.pop("prediction_id")
    assert first == second


def test_the_words_of_the_issue_and_its_project_count(house: Any) -> None:
    small = answered(house, title="Rename the label in settings", description="")
    large = answered(house, title="Migrate the cluster in admin", description="")
    assert small["recommended_points"] < large["recommended_points"]
    assert small["method"] == "ml_model"


def test_a_project_is_found_by_its_id_and_by_its_key(house: Any) -> None:
    by_key = answered(house, project_id="DEMO3")
    by_id = answered(house, project_id=project_id(house, "DEMO3"))
    assert by_key.pop("prediction_id") != by_id.pop("prediction_id")
    assert by_key == by_id


def test_description_and_type_may_be_left_out(house: Any) -> None:
    assert house.ask({"project_id": "DEMO1", "title": "Fix the tooltip in search"}).status_code == 200


@pytest.mark.parametrize("name", ["DEMO99", str(uuid.UUID(int=0)), "demo1"])
def test_a_project_that_does_not_exist_is_a_problem_404_and_writes_no_row(house: Any, name: str) -> None:
    response = house.ask(project_id=name)
    assert (response.status_code, response.content_type) == (404, "application/problem+json")
    assert response.get_json()["code"] == "not_found"
    assert name not in response.get_data(as_text=True)
    assert house.predictions() == 0


def test_with_nothing_in_production_the_problem_503_says_how_to_promote(empty_house: Any) -> None:
    response = empty_house.ask()
    assert (response.status_code, response.content_type) == (503, "application/problem+json")
    assert response.get_json()["code"] == "nothing_serves"
    assert "forecastle models promote delivery.story_points" in response.get_json()["detail"]
    assert empty_house.predictions() == 0


def test_when_the_answer_has_left_its_row_is_visible_to_everybody(house: Any) -> None:
    answer = answered(house)
    row = house.row("select * from predictions where id = %s", answer["prediction_id"])
    assert row is not None
    assert row["created_at"] is not None


def test_an_answer_is_written_although_nobody_made_its_month_ahead(house: Any) -> None:
    with house.database.transaction() as connection:
        for month in list_months(connection, "delivery"):
            assert drop_month(connection, month, datetime.now(UTC)) == 0
    answer = answered(house)
    assert house.passport(answer["prediction_id"]).status_code == 200


def test_no_answer_leaves_whose_row_was_not_written(house: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def away(log: Any, predictions: Any) -> None:
        raise ServerError("PostgreSQL went away")

    monkeypatch.setattr(PredictionLog, "write", away)
    response = house.ask()
    assert response.status_code == 503
    assert "recommended_points" not in response.get_json()


def test_answer_and_row_agree(house: Any) -> None:
    answer = answered(house, project_id="DEMO2", description=" again ", issue_key="DEMO2-7")
    row = house.row("select * from predictions where id = %s", answer["prediction_id"])
    assert row["answer"] == answer
    asked = {
        "project_id": "DEMO2",
        "title": "Migrate the cluster in admin",
        "description": "again",
        "issue_type": "Bug",
        "issue_key": "DEMO2-7",
    }
    assert row["request"] == asked
    assert (row["issue_key"], row["target"], row["value"]) == ("DEMO2-7", "story_points", answer["recommended_points"])
    assert (row["low"], row["high"]) == (answer["interval"]["low"], answer["interval"]["high"])
    assert row["baseline"] == answer["baseline"]["points"]
    in_order = json.dumps(row["request"], sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    assert row["input_digest"] == hashlib.sha256(in_order.encode()).hexdigest()
    assert str(row["project_id"]) == project_id(house, "DEMO2")
    assert row["principal"] == "a member"
    assert unpack_known(row["known"], ("issue_type",)).project.count == 150
    assert (row["method"] in ("rolling_median", "median", "mean")) == (answer["method"] == "baseline")
    assert row["latency_ms"] > 0


def test_text_of_other_scripts_is_asked_and_kept_as_it_is(house: Any) -> None:
    title = "Ошибка 修复 é\u0301 🚀 \u202e \x07"
    answer = answered(house, title=title)
    row = house.row("select request from predictions where id = %s", answer["prediction_id"])
    assert row["request"]["title"] == title


def test_a_passport_shows_every_digest_as_it_was_promoted(house: Any) -> None:
    answer = answered(house)
    response = house.passport(answer["prediction_id"])
    assert response.status_code == 200
    passport, version = response.get_json(), house.versions[1]
    assert passport["run_id"] == version.provenance["run_id"]
    assert passport["dataset_digest"] == version.provenance["data.digest"]
    assert passport["git_commit"] == version.provenance["git.commit"]
    assert passport["feature_digest"] == version.provenance["feature.digest"]
    assert passport["bundle_digest"] == bundle_digest(version)
    assert (passport["registered_model"], passport["version"]) == ("delivery.story_points", 1)
    assert passport["alias"] == "production"
    assert passport["asked_by"] == "a member"
    assert passport["answer"] == answer
    stored = house.row("select * from predictions where id = %s", answer["prediction_id"])
    assert passport["input_digest"] == stored["input_digest"]
    assert passport["project_id"] == str(stored["project_id"])
    assert passport["moment"] == stored["moment"].isoformat()


def test_after_a_promotion_new_answers_name_the_new_version_and_old_passports_the_old_one(house: Any) -> None:
    before = answered(house)
    shown_before = house.passport(before["prediction_id"]).get_json()
    house.promote(2)
    after = answered(house)
    assert (before["model_version"], after["model_version"]) == ("delivery.story_points/1", "delivery.story_points/2")
    assert house.passport(before["prediction_id"]).get_json() == shown_before
    shown_after = house.passport(after["prediction_id"]).get_json()
    assert (shown_before["version"], shown_after["version"]) == (1, 2)
    for field in ("run_id", "dataset_digest", "git_commit", "bundle_digest"):
        assert shown_before[field] != shown_after[field]
    assert shown_after["bundle_digest"] == bundle_digest(house.versions[2])


def test_a_project_with_a_version_of_its_own_is_answered_by_it_and_the_others_are_not(house: Any) -> None:
    name = f"delivery.story_points.{project_id(house, 'DEMO1')}"
    house.promote(2, name)
    assert answered(house, project_id="DEMO1")["model_version"] == f"{name}/2"
    assert answered(house, project_id="DEMO2")["model_version"] == "delivery.story_points/1"


def test_a_version_whose_file_was_tampered_with_does_not_replace_what_serves(
    house: Any, caplog: pytest.LogCaptureFixture
) -> None:
    step = house.promoter.promote("delivery.story_points", 2, REVIEWER, "tested")
    tamper(house, step)
    house.models.refresh()
    assert answered(house)["model_version"] == "delivery.story_points/1"
    said = [record.getMessage() for record in caplog.records if "bundle/skill.json" in record.getMessage()]
    assert len(said) == 1
    assert "delivery.story_points version 2: bundle/skill.json was changed after its approval" in said[0]
    house.models.refresh()
    assert len([record for record in caplog.records if "bundle/skill.json" in record.getMessage()]) == 1


def test_a_version_whose_file_was_tampered_with_is_not_rolled_back_to(house: Any) -> None:
    step = house.promote(2)
    house.promote(1)
    tamper(house, step)
    with pytest.raises(IntegrityError, match=r"bundle/skill\.json was changed after its approval"):
        house.rollback()
    assert answered(house)["model_version"] == "delivery.story_points/1"


def tamper(house: Any, step: Any) -> None:
    (file,) = (file for file in step.promotion.files if file.name == "bundle/skill.json")
    house.objects.put(file.object_name, b"{}")


def test_the_passport_of_no_prediction_is_a_problem_404(house: Any) -> None:
    response = house.passport(str(uuid.UUID(int=7)))
    assert (response.status_code, response.content_type) == (404, "application/problem+json")


def test_an_answer_where_nothing_is_known_of_a_project_is_by_the_model_and_says_so(house: Any) -> None:
    with house.database.transaction() as connection:
        connection.execute(
            "insert into projects (id, workspace_id, key) select %s, id, 'NEW' from workspaces", (uuid.uuid4(),)
        )
    answer = answered(house, project_id="NEW")
    assert answer["baseline"]["points"] is None
    assert answer["method"] == "ml_model"
    assert "no known story points" in answer["reasoning"]
    row = house.row("select known from predictions where id = %s", answer["prediction_id"])
    assert unpack_known(row["known"], ("issue_type",)).project.count == 0
