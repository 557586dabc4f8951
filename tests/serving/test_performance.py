"""What versions turned out to be worth, at the façade and in the passport of each answer."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from forecastle.records.issues import IssueRecord
from forecastle.store.issues import import_issues
from projects import get_model_type

MANY = "/api/v1/ml/ground-truth"
EFFORT = get_model_type("delivery.effort")


def performance(house: Any, name: str = "delivery.story_points", query: str = "", role: str = "viewer") -> Any:
    return house.get(f"/api/v1/ml/models/{name}/performance{query}", role)


def told(house: Any, project: str, answers: int, truth: float) -> list[dict[str, Any]]:
    """Answers of a project, with the same outcome for each."""
    found = [house.ask(project_id=project).get_json() for _ in range(answers)]
    items = [{"prediction_id": answer["prediction_id"], "value": truth} for answer in found]
    assert house.put(MANY, {"items": items}).get_json()["recorded"] == answers
    return found


def test_figures_are_those_of_the_answers_and_too_few_of_them_say_so(house: Any) -> None:
    answer, *_ = told(house, "DEMO1", 30, 8.0)
    told(house, "DEMO2", 2, 3.0)
    house.ask(project_id="DEMO2")
    found = performance(house).get_json()
    assert (found["model"], found["target"]) == ("delivery.story_points", "story_points")
    assert [each["project"] for each in found["versions"]] == [None, "DEMO1", "DEMO2"]
    everywhere, first, second = (each["realised"] for each in found["versions"])
    assert (everywhere["rows"], first["rows"], second["rows"]) == (32, 30, 2)
    assert first["mean_absolute_error"] == abs(answer["recommended_points"] - 8.0)
    assert first["baseline_mean_absolute_error"] == abs(answer["baseline"]["points"] - 8.0)
    held = answer["interval"]["low"] <= 8.0 <= answer["interval"]["high"]
    assert (first["coverage"]["share"], first["coverage"]["target"]) == (float(held), answer["interval"]["target"])
    assert second["mean_absolute_error"] is None
    assert second["note"] == "2 known outcomes are too few for figures; there are some from 30 on"
    assert [each["waiting"] for each in found["versions"]] == [1, 0, 1]


def test_the_passport_shows_how_its_version_does_in_its_project(house: Any) -> None:
    answer, *_ = told(house, "DEMO1", 30, 8.0)
    passport = house.passport(answer["prediction_id"]).get_json()
    (figures,) = (each["realised"] for each in performance(house).get_json()["versions"] if each["project"] == "DEMO1")
    assert passport["realised"] == figures
    house.promote(2)
    assert house.passport(house.ask().get_json()["prediction_id"]).get_json()["realised"]["rows"] == 0


def test_versions_and_projects_can_be_asked_for_alone(house: Any) -> None:
    told(house, "DEMO1", 1, 8.0)
    house.promote(2)
    told(house, "DEMO1", 1, 8.0)
    told(house, "DEMO2", 1, 8.0)
    seen = [(each["version"], each["project"]) for each in performance(house).get_json()["versions"]]
    assert seen == [(2, None), (2, "DEMO1"), (2, "DEMO2"), (1, None), (1, "DEMO1")]
    for query, expected in (
        ("?version=1", [(1, None), (1, "DEMO1")]),
        ("?project=DEMO2", [(2, "DEMO2")]),
        ("?since=2199-01-01T00:00:00Z", []),
    ):
        found = performance(house, query=query).get_json()["versions"]
        assert [(each["version"], each["project"]) for each in found] == expected, query


def test_an_imported_outcome_counts_at_once(effort_house: Any) -> None:
    answer = effort_house.ask_effort(issue_key="DONE1-9999").get_json()
    assert performance(effort_house, EFFORT.name).get_json()["versions"][0]["waiting"] == 1
    later = datetime.now(UTC) + timedelta(minutes=5)
    done = IssueRecord(
        project_key="DONE1", key="DONE1-9999", ordinal=0, time_basis="date", created_at=later - timedelta(hours=1),
        completed_at=later, title="Done", effort_hours=7.5,
    )  # fmt: skip
    with effort_house.database.transaction() as connection:
        import_issues(connection, [done])
    everywhere, *_ = performance(effort_house, EFFORT.name).get_json()["versions"]
    assert (everywhere["realised"]["rows"], everywhere["waiting"]) == (1, 0)
    assert effort_house.passport(answer["prediction_id"]).get_json()["ground_truth"]["source"] == "import"


def test_what_does_not_exist_is_a_problem_404_and_what_cannot_be_read_400(house: Any) -> None:
    assert performance(house, "delivery.guess").status_code == 404
    assert performance(house, query="?project=NOWHERE").status_code == 404
    for query in ("?version=0", "?version=99999999999", "?since=yesterday", "?since=0001-01-01T00:00:00Z", "?limit=1"):
        assert performance(house, query=query).status_code == 400, query
    assert performance(house, "delivery.story_points.nothing").get_json()["versions"] == []
