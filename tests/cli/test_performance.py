"""`forecastle models performance`: the figures of the façade as a table."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from predictions import a_prediction, some_project

from forecastle.registry.ground_truth import Said, record_truths
from forecastle.settings import Settings
from forecastle.store.database import Database
from forecastle.store.identifiers import new_id
from forecastle.store.predictions import write_predictions

NAME = "delivery.story_points"


@pytest.fixture
def told(database: Database) -> None:
    """Forty answers of 3 beside a baseline of 2, of which 30 turned out to be 5; and two of another version."""
    with database.transaction() as connection:
        project = some_project(connection)
    made = [
        a_prediction(project)._replace(id=new_id(), moment=datetime.now(UTC) - timedelta(minutes=minute))
        for minute in range(40)
    ]
    others = [a_prediction(project, model_version=4)._replace(id=new_id()) for _ in range(2)]
    write_predictions(database, [*made, *others])
    record_truths(database, [Said(prediction.id, 5.0, "manual") for prediction in made[:30]], "ada")


@pytest.fixture
def settings(database_url: str) -> Settings:
    return Settings(database_url=database_url)


def test_the_table_shows_every_version_over_all_projects_and_by_project(
    run_with: Any, settings: Settings, told: None
) -> None:
    code, out, _ = run_with(settings, "models", "performance", NAME)
    assert code == 0
    head, _, *rows, note = out.splitlines()
    cells = [[cell.strip() for cell in row.strip("|").split("|")] for row in rows]
    assert [cell.strip() for cell in head.strip("|").split("|")][:5] == [
        "model",
        "version",
        "project",
        "rows",
        "waiting",
    ]
    assert [row[1:5] for row in cells] == [
        ["4", "all", "0", "2"],
        ["4", "A", "0", "2"],
        ["3", "all", "30", "10"],
        ["3", "A", "30", "10"],
    ]
    assert cells[3][5:] == ["2.00", "3.00", "+33.3% (+33.3% to +33.3%)", "100% (88% to 100%)", "80%"]
    assert note == "0 known outcomes are too few for figures; there are some from 30 on"


def test_as_json_the_same_figures_and_filters(run_with: Any, settings: Settings, told: None) -> None:
    code, out, _ = run_with(settings, "models", "performance", NAME, "--json", "--version", "3", "--project", "A")
    (found,) = json.loads(out)
    assert (code, found["version"], found["project"], found["waiting"]) == (0, 3, "A", 10)
    assert found["realised"]["mean_absolute_error"] == 2.0
    code, out, _ = run_with(settings, "models", "performance", NAME, "--json", "--since", "2199-01-01")
    assert (code, json.loads(out)) == (0, [])


def test_an_unknown_model_is_a_sentence(run_with: Any, settings: Settings) -> None:
    code, _, err = run_with(settings, "models", "performance", "delivery.guess")
    assert code == 1
    assert "belongs to no model type" in err
