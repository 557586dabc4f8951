"""What a worker says that it holds, and two workers that hold different versions for a moment."""

from __future__ import annotations

import os
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

import projects
from forecastle.access.principals import Principal, Role
from forecastle.registry.bundle import digest_of_files
from forecastle.registry.serving import ServingModels
from forecastle.store.tenants import get_project
from serving.application import build

CACHE = "/api/v1/models/cache"
NAME = "delivery.story_points"
REVIEWER = Principal("reviewer", Role.REVIEWER)


def cache_of(house: Any) -> dict[str, Any]:
    response = house.get(CACHE, role="viewer")
    assert response.status_code == 200
    found: dict[str, Any] = response.get_json()
    return found


def test_the_cache_says_what_it_holds_and_how_it_was_used(house: Any) -> None:
    for _ in range(2):
        house.ask()
    found = cache_of(house)
    assert found["process_id"] == os.getpid()
    assert (found["hits"], found["misses"], found["evictions"], found["in_production"]) == (2, 0, 0, 1)
    (version,) = found["versions"]
    assert (version["label"], version["is_project"], version["hits"]) == (f"{NAME}/1", False, 2)
    assert found["size_bytes"] == version["size_bytes"] > 10_000
    assert version["load_ms"] > 0
    assert version["warm_ms"] > 0
    for name in ("loaded_at", "checked_at", "last_used_at"):
        assert abs((datetime.now(UTC) - datetime.fromisoformat(version[name])).total_seconds()) < 300


def test_a_projects_own_version_is_a_miss_once_and_then_a_hit(house: Any) -> None:
    with house.database.transaction() as connection:
        own = f"{NAME}.{get_project(connection, 'DEMO1').id}"
    house.promote(2, own)
    assert [house.ask().get_json()["model_version"] for _ in range(2)] == [f"{own}/2"] * 2
    found = cache_of(house)
    assert (found["misses"], found["in_production"]) == (1, 2)
    assert [(version["label"], version["is_project"]) for version in found["versions"]] == [
        (f"{NAME}/1", False),
        (f"{own}/2", True),
    ]


def test_what_is_refused_stands_there_with_its_reason(house: Any) -> None:
    step = house.promoter.promote(NAME, 2, REVIEWER, "tested")
    (file,) = (file for file in step.promotion.files if file.name == "bundle/skill.json")
    house.objects.delete(file.object_name)
    house.models.refresh()
    (refusal,) = cache_of(house)["refused"]
    assert refusal["label"] == f"{NAME}/2"
    assert "bundle/skill.json is missing" in refusal["reason"]
    house.rollback()
    assert cache_of(house)["refused"] == []


@pytest.mark.parametrize("role", [role.value for role in Role])
def test_everybody_with_a_role_may_look_and_nobody_without(house: Any, role: str) -> None:
    assert house.get(CACHE, role=role).status_code == 200
    assert house.app.test_client().get(CACHE).status_code == 401


def test_two_workers_on_different_versions_each_name_theirs_in_answer_and_passport(house: Any) -> None:
    models = ServingModels(house.database, house.objects, projects.discover())
    models.refresh()
    late = replace(house, models=models, app=build(house.database, models))
    house.promote(2)  # the other worker has not heard of it yet
    for worker, number in ((house, 2), (late, 1), (house, 2)):
        answer = worker.ask().get_json()
        passport = house.passport(answer["prediction_id"]).get_json()
        files = {name.removeprefix("bundle/"): content for name, content in house.versions[number].files.items()}
        assert answer["model_version"] == passport["answer"]["model_version"] == f"{NAME}/{number}"
        assert (passport["version"], passport["run_id"]) == (number, f"run-{number}")
        assert passport["bundle_digest"] == digest_of_files(files)
    models.refresh()
    assert late.ask().get_json()["model_version"] == f"{NAME}/2"
