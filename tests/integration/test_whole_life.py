"""The whole life of a registered model: trained, reviewed, served, moved by hand, put back, rolled back, verified."""

from __future__ import annotations

import csv
import json
import os
import re
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from versions import forget_ledgers

import projects
from cli.data import GENERATED_COLUMNS
from forecastle.access.principals import Role, add_user
from forecastle.embedded.servers import running
from forecastle.notify.alerts import Kind
from forecastle.registry.mlflow_rest import MlflowRest
from forecastle.settings import Settings
from forecastle.store import job_runs, notifications
from forecastle.store.database import Database, temporary_database
from forecastle.store.migrate import migrate
from jobs.reconciling import reconcile
from jobs.registry import Work

NAME = "delivery.story_points"
PATIENCE_SECONDS = 30.0
PROJECTS, ISSUES, OLD = 20, 36, 30
"""The first version learns from the OLD issues of each project; those after them are the block of the second one."""
PEOPLE = {"tina": Role.ADMIN, "rita": Role.REVIEWER, "olga": Role.ADMIN, "max": Role.MEMBER}

pytestmark = pytest.mark.slow


@dataclass(frozen=True)
class Life:
    """One installation, the people who use it, and its façade."""

    settings: Settings
    database: Database
    keys: Mapping[str, str]

    def type(self, person: str, *words: object, fails: bool = False) -> str:
        """What a command says to this person: its output, or its sentence where it fails."""
        path = os.pathsep.join([str(Path(sys.executable).parent), os.defpath])
        mine = {name: value for name, value in os.environ.items() if not name.startswith(("FORECASTLE_", "MLFLOW_"))}
        environment = {**mine, **self.settings.as_environment(), "PATH": path, "FORECASTLE_API_KEY": self.keys[person]}
        command = [sys.executable, "-m", "cli.main", *map(str, words)]
        ended = subprocess.run(command, cwd=projects.ROOT, env=environment, capture_output=True, text=True, timeout=240)
        assert (ended.returncode != 0) == fails, ended.stderr
        return ended.stderr if fails else ended.stdout

    def documents(self, *words: object) -> Any:
        return json.loads(self.type("rita", *words, "--json"))

    def bring(self, file: Path, rows: Sequence[Mapping[str, str]]) -> str:
        """Import these issues; says how many are new and changed."""
        with file.open("w", newline="") as opened:
            writer = csv.DictWriter(opened, rows[0])
            writer.writeheader()
            writer.writerows(rows)
        mapped = [part for name in GENERATED_COLUMNS for part in ("--map", f"{name}={name}")]
        return self.type("tina", "import", "issues", file, *mapped)

    def serves(self) -> str:
        """The version that answers at the façade."""
        question = {"project_id": "DEMO1", "title": "Rename the label in settings"}
        route = f"{self.settings.facade_url}{projects.get_model_type(NAME).route}"
        headers = {"Authorization": f"Bearer {self.keys['max']}", "Content-Type": "application/json"}
        request = urllib.request.Request(route, json.dumps(question).encode(), headers)
        with urllib.request.urlopen(request, timeout=10) as answer:
            return str(json.load(answer)["model_version"])

    def serves_in_time(self, version: int) -> bool:
        """Within some seconds; the façade hears of a promotion in a moment, and says 503 while it loads the first."""
        until = time.monotonic() + PATIENCE_SECONDS
        while time.monotonic() < until:
            try:
                if self.serves() == f"{NAME}/{version}":
                    return True
            except urllib.error.HTTPError as error:
                if error.code != 503 or "not loaded yet" not in error.read().decode():
                    raise
            time.sleep(0.05)
        return False

    def reconcile(self) -> str:
        """One run of the job that compares MLflow with the ledger."""
        with self.database.transaction() as connection:
            run = job_runs.plan(connection, "registry.reconcile", {}, "tested")
        assert run is not None
        return reconcile(Work(self.settings, self.database, run)).detail

    def is_told(self, kind: Kind) -> bool:
        """Whether an alert of this kind about the registered model is open."""
        with self.database.transaction() as connection:
            return NAME in notifications.open_subjects(connection, kind)


@pytest.fixture
def life(servers: Settings, tmp_path: Path) -> Iterator[Life]:
    with temporary_database(servers.require_database_url(), "whole_life") as url:
        settings = replace(servers, database_url=url, home=tmp_path, artifacts=f"{servers.artifacts}/life", http_port=0)
        with Database(url, 4) as database:
            migrate(database)
            with database.transaction() as connection:
                keys = {name: add_user(connection, name, role) for name, role in PEOPLE.items()}
            forget_ledgers(MlflowRest.of(settings))
            with running(settings, ("facade",)) as found:
                yield Life(found, database, keys)
            forget_ledgers(MlflowRest.of(settings))


def issues_of_each_project(file: Path) -> list[list[dict[str, str]]]:
    """The generated issues, project by project, the oldest first."""
    with file.open(newline="") as opened:
        rows = list(csv.DictReader(opened))
    return [rows[first : first + ISSUES] for first in range(0, len(rows), ISSUES)]


def mixed_up(issues: Sequence[Mapping[str, str]]) -> list[dict[str, str]]:
    """The same issues, the old ones with the points of others: there is nothing to learn from their words any more."""
    points = [issue["story_points"] for issue in issues[:OLD]]
    wrong = [*points[OLD // 2 :], *points[: OLD // 2], *(issue["story_points"] for issue in issues[OLD:])]
    return [{**issue, "story_points": value} for issue, value in zip(issues, wrong, strict=True)]


def why_rejected(client: MlflowClient, version: int, artifact: str, folder: Path) -> str:
    """What this artifact says of a version that its gate rejected."""
    rejected = client.get_model_version(NAME, str(version))
    assert (rejected.tags["gate.verdict"], rejected.aliases) == ("REJECT", [])
    return Path(client.download_artifacts(rejected.run_id, artifact, str(folder))).read_text()


def test_a_version_is_trained_reviewed_served_replaced_put_back_rolled_back_and_all_of_it_can_be_verified(
    life: Life, tmp_path: Path
) -> None:
    life.type("tina", "generate", "issues", tmp_path / "all.csv", "--issues", ISSUES, "--projects", PROJECTS)
    tracker = issues_of_each_project(tmp_path / "all.csv")
    life.bring(tmp_path / "first.csv", [issue for issues in tracker for issue in issues[:OLD]])
    life.type("tina", "train", NAME)
    client = MlflowClient(life.settings.mlflow_tracking_uri)
    first = int(client.get_model_version_by_alias(NAME, "staging").version)

    refused = life.type("tina", "models", "promote", NAME, first, "-m", "mine", fails=True)
    assert "tina trained this version and does not promote it" in refused
    life.type("rita", "models", "promote", NAME, first, "-m", "the first one")
    assert life.serves_in_time(first)

    said = life.bring(tmp_path / "broken.csv", [issue for issues in tracker for issue in mixed_up(issues)])
    assert said.startswith(f"{PROJECTS * (ISSUES - OLD)} new, ")
    life.type("tina", "train", NAME)
    second = first + 1
    measured = json.loads(why_rejected(client, second, "gate.json", tmp_path))["measured"]
    assert (measured["rows"], measured["stands_in"]) == (PROJECTS * (ISSUES - OLD), False)
    assert all(guard["passed"] for guard in measured["guards"])
    assert measured["production"]["found"]["low"] > 0.1  # it loses against what serves, and by nothing else
    told = why_rejected(client, second, "gate.md", tmp_path)
    why = rf"worse, L > 0: \+\d+\.\d% against version {first} \(L \+\d+\.\d%, U \+\d+\.\d%\)"
    assert re.search(f"^- {why}$", told, re.MULTILINE), told
    assert life.is_told(Kind.PROMOTION_REJECTED)
    refused = life.type("rita", "models", "promote", NAME, second, "-m", "newer", fails=True)
    assert "the gate's verdict on this version is REJECT" in refused

    client.set_registered_model_alias(NAME, "production", str(second))
    assert f"{NAME} {second} -> {first}" in life.reconcile()
    assert int(client.get_model_version_by_alias(NAME, "production").version) == first
    assert "REJECT" in client.get_model_version(NAME, str(second)).tags["promotion.refused"]
    assert life.is_told(Kind.ALIAS_PUT_BACK)
    assert life.serves() == f"{NAME}/{first}"

    life.type("olga", "models", "promote", NAME, second, "-m", "we want it all the same", "--override")
    assert life.serves_in_time(second)
    life.type("rita", "models", "rollback", NAME, "-m", "it was wrong after all")
    assert life.serves_in_time(first)

    with life.database.transaction() as connection:
        connection.execute("update issues set story_points = -1 where key = 'DEMO2-7'")
    life.type("tina", "train", NAME)
    told = why_rejected(client, second + 1, "gate.md", tmp_path)
    assert "guard data validation: 1 failures of its data in the expectation suite" in told

    history = life.documents("models", "history", NAME)
    moves = [(step["action"], step["to_version"], step["overridden"]) for step in reversed(history)]
    assert moves == [("promote", first, False), ("promote", second, True), ("rollback", first, False)]
    for step in history:
        (then,) = life.documents("models", "at", step["recorded_at"], NAME)["production"]
        assert then["to_version"] == step["to_version"]
    assert life.documents("models", "verify")["broken"] is None

    with life.database.transaction() as connection:
        connection.execute("alter table promotions disable trigger user")
        connection.execute("update promotions set reason = 'nobody said so' where step = 2")
        connection.execute("alter table promotions enable trigger user")
    assert "step 2 is not what was written" in life.type("rita", "models", "verify", fails=True)
