"""A façade that has answered holds nothing in memory that only training, deciding or batches need."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from typing import Any

import projects
from forecastle.embedded.facade_server import environment

ASK = """
import json, sys
import serving.door
from serving.application import create_application
asked = json.loads(sys.stdin.read())
client = create_application().test_client()
for route, body in asked["questions"]:
    answer = client.post(route, json=body, headers=asked["headers"])
    assert answer.status_code == 200, answer.get_data(as_text=True)
print(*sys.modules)
"""
HEAVY = {"pandas", "mlflow", "sklearn", "xgboost", "great_expectations", "pyarrow", "matplotlib", "plotly"}
FOR_MANY = {"numpy", "scipy"}
"""What batches, figures and decisions need, and no single answer."""

QUESTIONS = {
    "delivery.story_points": {"project_id": "DEMO1", "title": "Migrate the cluster"},
    "delivery.effort": {"project_id": "DONE1", "title": "Migrate the cluster", "estimate_hours": 3},
}


def test_a_process_that_answered_has_imported_nothing_heavy(effort_house: Any) -> None:
    settings = replace(effort_house.objects.settings, database_url=effort_house.url, pool_size=2)
    asked = {
        "headers": effort_house.headers(),
        "questions": [(projects.get_model_type(name).route, body) for name, body in QUESTIONS.items()],
    }
    ran = subprocess.run(
        [sys.executable, "-c", ASK],
        input=json.dumps(asked),
        env={**environment(projects.ROOT, settings), "PYTHONPATH": str(projects.ROOT)},
        cwd=projects.ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    loaded = {name.partition(".")[0] for name in ran.stdout.split()}
    assert "serving" in loaded
    assert loaded.isdisjoint(HEAVY | FOR_MANY)
