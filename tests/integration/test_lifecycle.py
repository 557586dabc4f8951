"""The whole way for real: import, `mlflow run`, promotion, façade, swap, rollback, scoring, and what is refused."""

from __future__ import annotations

import csv
import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pytest
from mlflow import MlflowClient
from mlflow.entities import Run

import projects
from forecastle.access.principals import Principal, Role, add_user
from forecastle.embedded.servers import running
from forecastle.errors import ConflictError, NotFoundError
from forecastle.learning.table import issues_of
from forecastle.registry.bundle import FILES, digest_of_features, digest_of_files, load_bundle
from forecastle.registry.declaration import resolve
from forecastle.registry.loading import loadable
from forecastle.registry.mlflow_rest import Version
from forecastle.registry.promotions import Promoter
from forecastle.registry.tracking import Tracking
from forecastle.settings import Settings
from forecastle.store import promotions as ledger
from forecastle.store.database import Database, temporary_database
from forecastle.store.migrate import migrate
from forecastle.store.objects import Objects

MODEL_TYPE = projects.get_model_type("delivery.story_points")
NAME = MODEL_TYPE.name
REVIEWER = Principal("rita", Role.REVIEWER)
ADMIN = Principal("ada", Role.ADMIN)
CANDIDATES = {*resolve(MODEL_TYPE.trainer).candidates, *resolve(MODEL_TYPE.trainer).blends}
METHODS = {*MODEL_TYPE.baselines, *CANDIDATES}


@dataclass(frozen=True)
class World:
    """One database, one MLflow, one place for objects, and users who know their keys."""

    settings: Settings
    database: Database
    tracking: Tracking
    keys: Mapping[str, str]
    folder: Path

    @property
    def objects(self) -> Objects:
        return Objects.of(self.settings)

    @property
    def promoter(self) -> Promoter:
        return Promoter(self.database, self.objects, self.tracking, loadable(projects.discover()))

    def environment(self) -> dict[str, str]:
        """What `eval "$(forecastle env)"` leaves, with the key of somebody who may train."""
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
        mine = {name: value for name, value in os.environ.items() if not name.startswith(("FORECASTLE_", "MLFLOW_"))}
        return {**mine, **self.settings.as_environment(), "PATH": path, "FORECASTLE_API_KEY": self.keys["dana"]}

    def run(self, *command: object) -> subprocess.CompletedProcess[str]:
        arguments = [sys.executable, "-m", *map(str, command)]
        environment = self.environment()
        return subprocess.run(
            arguments, cwd=projects.ROOT, env=environment, capture_output=True, text=True, check=False, timeout=240
        )

    def train(self, project: str = "all") -> subprocess.CompletedProcess[str]:
        """As a data scientist types it."""
        return self.run(
            *("mlflow", "run", ".", "-e", "train", "--experiment-name", NAME, "--env-manager", "local"),
            *("-P", f"model_type={NAME}", "-P", f"project={project}"),
        )

    def serve(self, version: int) -> None:
        with suppress(ConflictError):
            # So few rows are not enough for the gate to tell a second version from the first.
            self.promoter.promote(NAME, version, ADMIN, "tested", override=True)

    def confirmed(self) -> list[tuple[str, int | None, int]]:
        with self.database.transaction() as connection:
            steps = ledger.confirmed_steps(connection, NAME)
        return [(step.promotion.action, step.promotion.from_version, step.promotion.to_version) for step in steps]

    def alias(self, alias: str) -> int:
        return self.tracking.version_at_alias(NAME, alias).version

    def latest_run(self, experiment: str) -> Run:
        (found,) = MlflowClient().search_runs(
            [MlflowClient().get_experiment_by_name(experiment).experiment_id],
            "tags.`mlflow.parentRunId` IS NULL",
            order_by=["attributes.start_time DESC"],
            max_results=1,
        )
        return found


@pytest.fixture(scope="module")
def world(servers: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """Three synthetic projects and a tiny one, imported through the command line."""
    folder = tmp_path_factory.mktemp("lifecycle")
    with temporary_database(servers.require_database_url(), "lifecycle") as url:
        settings = replace(servers, database_url=url, home=folder / "home", artifacts=f"{servers.artifacts}/lifecycle")
        with Database(url, 4) as database:
            migrate(database)
            with database.transaction() as connection:
                roles = {"dana": Role.DATA_SCIENTIST, "max": Role.MEMBER, "rita": Role.REVIEWER}
                keys = {name: add_user(connection, name, role) for name, role in roles.items()}
            found = World(settings, database, Tracking(settings.require_tracking_uri()), keys, folder)
            for name, issues, size in (("issues.csv", 150, 3), ("small.csv", 20, 4)):
                made = found.run(
                    "cli.main", "generate", "issues", folder / name, "--issues", issues, "--projects", size
                )
                assert made.returncode == 0, made.stderr
            small = (folder / "small.csv").read_text().splitlines()
            few = [small[0], *(line.replace("DEMO4", "SMALL") for line in small if line.startswith("DEMO4-"))]
            (folder / "small.csv").write_text("\n".join(few) + "\n")
            columns = ("key", "title", "description", "issue_type", "story_points")
            mapped = [part for name in columns for part in ("--map", f"{name}={name}")]
            imported = found.run("cli.main", "import", "issues", folder / "issues.csv", folder / "small.csv", *mapped)
            assert imported.stdout == "470 new, 0 changed, 0 unchanged, 0 skipped\n", imported.stderr
            yield found


@pytest.fixture(scope="module")
def trained(world: World) -> tuple[Version, Version]:
    """Two versions, trained one after the other on the same data with the documented command."""
    versions = []
    for _ in range(2):
        ended = world.train()
        assert ended.returncode == 0, ended.stderr
        versions.append(world.tracking.version_at_alias(NAME, "staging"))
    assert versions[1].version == versions[0].version + 1
    return versions[0], versions[1]


@pytest.fixture(scope="module")
def facade(world: World, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """A façade in a process of its own."""
    settings = replace(world.settings, home=tmp_path_factory.mktemp("facade"), http_port=0)
    with running(settings, ("facade",)) as found:
        yield found


def bundle_of(world: World, version: Version) -> dict[str, bytes]:
    files = world.tracking.version_files(NAME, version.version).files
    return {name.removeprefix("bundle/"): content for name, content in files.items() if name.startswith("bundle/")}


def test_a_training_leaves_a_finished_run_with_its_children_its_data_and_its_evidence(
    world: World, trained: tuple[Version, Version]
) -> None:
    client = MlflowClient()
    run = client.get_run(trained[0].run_id)
    assert run.info.status == "FINISHED"
    assert client.get_experiment(run.info.experiment_id).name == NAME
    assert run.data.tags["mlflow.project.entryPoint"] == "train"
    assert run.data.tags["mlflow.user"] == "dana"
    assert run.data.metrics["rows"] > 0
    metrics = {"mae", "mae_low", "mae_high", "relative_difference", "rank_correlation", "coverage", "interval_width"}
    assert {*metrics, *(f"mae.{method}" for method in METHODS)} <= set(run.data.metrics)
    assert {"project.DEMO1.mae", "project.DEMO2.mae", "project.DEMO3.mae"} <= set(run.data.metrics)

    children = client.search_runs([run.info.experiment_id], f"tags.`mlflow.parentRunId` = '{run.info.run_id}'")
    assert {child.info.status for child in children} == {"FINISHED"}
    methods = {c.info.run_name: c.data for c in children if c.data.tags["role"] != "trial"}
    assert set(methods) == METHODS
    for name, child in methods.items():
        assert child.metrics["mae"] == pytest.approx(run.data.metrics[f"mae.{name}"])
        assert child.metrics["mae_low"] <= child.metrics["mae"] <= child.metrics["mae_high"]
        assert child.metrics["rows"] == run.data.metrics["rows"]
        assert child.tags["role"] == ("candidate" if name in CANDIDATES else "baseline")
    trials = [child.data for child in children if child.data.tags["role"] == "trial"]
    searched = {name: choices for name, choices in resolve(MODEL_TYPE.trainer).candidates.items() if len(choices) > 1}
    assert {trial.params["method"] for trial in trials} == set(searched)
    assert len(trials) == sum(len(choices) for choices in searched.values())
    assert all("search.loss" in trial.metrics and len(trial.params) > 1 for trial in trials)

    (data,) = run.inputs.dataset_inputs
    assert data.dataset.name == NAME
    assert trained[0].tags["data.digest"].startswith(data.dataset.digest)
    assert [(tag.key, tag.value) for tag in data.tags] == [("mlflow.data.context", "training")]
    address, _, name = json.loads(data.dataset.source)["uri"].partition("/datasets/")
    assert address == world.objects.address
    assert world.objects.exists(f"datasets/{name}")

    artifacts = {item.path for item in client.list_artifacts(run.info.run_id)}
    assert {"bundle", "report.html", "residuals.png", "scores_by_project.json"} <= artifacts
    assert {item.path for item in client.list_artifacts(run.info.run_id, "bundle")} == {f"bundle/{n}" for n in FILES}
    picture = Path(mlflow.artifacts.download_artifacts(run_id=run.info.run_id, artifact_path="residuals.png"))
    assert picture.read_bytes().startswith(b"\x89PNG")
    page = Path(mlflow.artifacts.download_artifacts(run_id=run.info.run_id, artifact_path="report.html")).read_text()
    for said in (trained[0].tags["data.digest"], trained[0].tags["git.commit"], "dana", "DEMO1"):
        assert said in page


def test_a_version_says_where_it_comes_from(world: World, trained: tuple[Version, Version]) -> None:
    for version in trained:
        assert version.tags["trained_by"] == "dana"
        assert version.tags["feature.digest"] == digest_of_features(MODEL_TYPE)
        assert version.tags["bundle.digest"] == digest_of_files(bundle_of(world, version))
        assert len(version.tags["data.digest"]) == 64
        assert re.match(r"[0-9a-f]{40}|unknown", version.tags["git.commit"])
        described = MlflowClient().get_model_version(NAME, str(version.version)).description
        assert "| **served** |" in described
        assert f"/runs/{version.run_id}/artifacts/report.html" in described
        assert version.tags["candidate.all"] in CANDIDATES
    assert world.alias("staging") == trained[1].version


def test_the_model_for_people_has_signature_and_example_and_says_what_the_fast_form_says(
    world: World, trained: tuple[Version, Version]
) -> None:
    model = mlflow.pyfunc.load_model(f"models:/{NAME}@staging")
    names = model.metadata.signature.inputs.input_names()
    assert {"title", "description", "labels", "level.ladder", "scale.floor", "number.rolling_median"} <= set(names)
    example = model.input_example
    assert len(example) == 2
    (view,) = load_bundle(MODEL_TYPE, bundle_of(world, trained[1])).views.values()
    fast = [view.model.estimate(issue) for issue in issues_of(example)]
    assert np.allclose(np.asarray(model.predict(example), dtype=float).ravel(), fast, rtol=1e-5)
    assert fast[0] != fast[1]


def test_the_same_data_are_the_same_dataset_version_and_the_same_bundle_bit_by_bit(
    world: World, trained: tuple[Version, Version]
) -> None:
    first, second = trained
    assert bundle_of(world, first) == bundle_of(world, second)
    for tag in ("bundle.digest", "data.digest", "dataset.version"):
        assert first.tags[tag] == second.tags[tag]
    with world.database.transaction() as connection:
        stored = connection.execute("select version, rows from dataset_versions where name = %s", (NAME,)).fetchall()
    assert stored == [{"version": 1, "rows": 470}]


def test_promotion_swap_under_load_and_rollback(
    world: World,
    trained: tuple[Version, Version],
    facade: Settings,
    client: Callable[[str | None, str], Any],
    await_that: Callable[[Callable[[], bool], float], None],
) -> None:
    first, second = trained
    asking = client(facade.facade_url, world.keys["max"])

    def served() -> str:
        status, answer = asking.ask()
        assert status in (200, 503), answer
        return str(answer.get("model_version", answer.get("code")))

    world.serve(second.version)
    world.serve(first.version)
    await_that(lambda: served() == f"{NAME}/{first.version}", 5)
    assert world.alias("production") == first.version
    _, answer = asking.ask()
    passport = asking.passport(answer["prediction_id"])
    assert passport["run_id"] == first.run_id
    assert passport["bundle_digest"] == first.tags["bundle.digest"]
    assert passport["dataset_digest"] == first.tags["data.digest"]
    assert passport["git_commit"] == first.tags["git.commit"]

    stop, seen, failed = threading.Event(), [], []

    def load() -> None:
        while not stop.is_set():
            status, found = asking.ask()
            (seen if status == 200 else failed).append(found)

    threads = [threading.Thread(target=load) for _ in range(4)]
    for thread in threads:
        thread.start()
    try:
        await_that(lambda: len(seen) >= 20, 20)
        world.serve(second.version)
        await_that(lambda: seen[-1]["model_version"] == f"{NAME}/{second.version}", 5)
        after = len(seen)
        await_that(lambda: len(seen) >= after + 20, 20)
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert failed == []
    assert {found["model_version"] for found in seen} == {f"{NAME}/{first.version}", f"{NAME}/{second.version}"}
    assert world.alias("production") == second.version
    assert world.alias("previous") == first.version
    # Answers of before the swap keep their passport.
    assert asking.passport(seen[0]["prediction_id"])["version"] == first.version

    world.promoter.rollback(NAME, REVIEWER, "tested")
    await_that(lambda: served() == f"{NAME}/{first.version}", 5)
    assert world.alias("production") == first.version
    assert world.confirmed()[-2:] == [
        ("promote", first.version, second.version),
        ("rollback", second.version, first.version),
    ]
    # Going back once more leads to what served before the first one did.
    assert world.alias("previous") == second.version
    with world.database.transaction() as connection:
        assert ledger.open_intents(connection, NAME) == []


def test_a_training_with_too_few_rows_fails_with_the_number_that_is_missing_and_makes_no_version(
    world: World, trained: tuple[Version, Version]
) -> None:
    ended = world.train("SMALL")
    assert ended.returncode != 0
    run = world.latest_run(NAME)
    assert run.info.status == "FAILED"
    assert "20 usable rows, 50 required, 30 missing" in run.data.tags["failure"]
    assert "30 missing" in run.data.tags["mlflow.note.content"]
    with world.database.transaction() as connection:
        (row,) = connection.execute("select id from projects where key = 'SMALL'").fetchall()
    with pytest.raises(NotFoundError):
        world.tracking.list_versions(f"{NAME}.{row['id']}")
    assert world.alias("staging") == trained[1].version


def test_validation_passes_and_then_fails_on_a_row_that_was_corrupted_behind_its_back(world: World) -> None:
    passed = world.run("projects.validate", "--model-type", NAME)
    assert passed.returncode == 0, passed.stderr
    assert "470 rows keep all" in passed.stderr
    with world.database.transaction() as connection:
        connection.execute("update issues set story_points = -1 where key = 'DEMO2-7'")
    try:
        failed = world.run("projects.validate", "--model-type", NAME)
    finally:
        with world.database.transaction() as connection:
            connection.execute("update issues set story_points = 3 where key = 'DEMO2-7'")
    assert failed.returncode == 1
    assert "DEMO2-7" in failed.stderr
    assert "story points lie between 0 and 1,000" in failed.stderr
    assert "Traceback" not in failed.stderr
    run = world.latest_run("Default")
    assert run.info.status == "FAILED"
    assert run.data.tags["validation.passed"] == "False"
    assert run.data.metrics["validation.violations"] == 1


def test_scoring_a_file_answers_every_row_or_says_why_not(world: World, trained: tuple[Version, Version]) -> None:
    world.serve(trained[0].version)
    source, target = world.folder / "ask.csv", world.folder / "answers.csv"
    rows = [
        ("DEMO1", "Migrate the cluster in admin", "again"),
        ("NOWHERE", "Fix the form in search", ""),
        ("DEMO2", "", "no title"),
        ("DEMO3", "Rename the label in settings", ""),
        ("DEMO3", "x" * 1_001, ""),
    ]
    with source.open("w", newline="") as file:
        csv.writer(file).writerows([("project_id", "title", "description"), *rows])
    ended = world.run("projects.score", "--model-type", NAME, "--input", source, "--output", target)
    assert ended.returncode == 0, ended.stderr
    assert "5 rows answered, 3 of them with an error" in ended.stderr
    with target.open(newline="") as file:
        answers = list(csv.DictReader(file))
    assert [(a["project_id"], a["title"], a["description"]) for a in answers] == rows
    assert [bool(a["error"]) for a in answers] == [False, True, True, False, True]
    assert [a["model_version"] for a in answers] == [
        f"{NAME}/{trained[0].version}" if not a["error"] else "" for a in answers
    ]
    assert "title" in answers[2]["error"]
    assert "no project" in answers[1]["error"]
    assert float(answers[0]["recommended_points"]) > float(answers[3]["recommended_points"])
    assert sum(json.loads(answers[0]["probability_distribution"]).values()) == pytest.approx(1, abs=5e-4)


def test_scoring_a_file_that_lacks_a_column_is_a_sentence_and_writes_nothing(world: World) -> None:
    source, target = world.folder / "lacking.csv", world.folder / "nothing.csv"
    source.write_text("title\nFix\n")
    ended = world.run("projects.score", "--model-type", NAME, "--input", source, "--output", target)
    assert ended.returncode == 1
    assert "no column project_id" in ended.stderr
    assert not target.exists()
    assert list(world.folder.glob(".nothing*")) == []


def test_an_artifact_that_is_changed_in_mlflow_after_its_approval_changes_nothing_that_is_served(
    world: World,
    trained: tuple[Version, Version],
    tmp_path: Path,
    client: Callable[[str | None, str], Any],
) -> None:
    world.serve(trained[0].version)
    mlflow_client, run_id = MlflowClient(), trained[0].run_id
    original = bundle_of(world, trained[0])["skill.json"].decode()
    tampered = json.dumps({**json.loads(original), "default": "mean", "by_cluster": {}})
    mlflow_client.log_text(run_id, tampered, "bundle/skill.json")
    try:
        assert bundle_of(world, trained[0])["skill.json"].decode() == tampered
        settings = replace(world.settings, home=tmp_path / "home", http_port=0)
        with running(settings, ("facade",)) as found:
            asking = client(found.facade_url, world.keys["max"])
            status, answer = asking.ask()
            assert status == 200
            assert asking.passport(answer["prediction_id"])["bundle_digest"] == trained[0].tags["bundle.digest"]
    finally:
        mlflow_client.log_text(run_id, original, "bundle/skill.json")


def test_an_approved_file_that_was_changed_is_not_loaded_by_a_new_facade_and_is_named(
    world: World,
    trained: tuple[Version, Version],
    tmp_path: Path,
    client: Callable[[str | None, str], Any],
) -> None:
    world.serve(trained[0].version)
    settings = replace(
        world.settings, home=tmp_path / "home", http_port=0, artifacts=f"{world.settings.artifacts}-copy"
    )
    copy = Objects.of(settings)
    with world.database.transaction() as connection:
        files = ledger.serving(connection, NAME)[NAME].promotion.files
    (skill,) = (file for file in files if file.name == "bundle/skill.json")
    for file in files:
        copy.put(file.object_name, world.objects.get(file.object_name))
    copy.put(skill.object_name, b'{"default": "mean", "by_cluster": {}, "expected": {}}')
    with running(settings, ("facade",)) as found:
        status, problem = client(found.facade_url, world.keys["max"]).ask()
    assert status == 503
    assert problem["code"] == "nothing_serves"
    log = (tmp_path / "home" / "logs" / "facade.log").read_text()
    assert f"{NAME} version {trained[0].version}: bundle/skill.json was changed after its approval" in log
