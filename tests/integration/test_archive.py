"""Archiving and reaping on a real MLflow and S3: what goes is gone with its files, what stays is whole."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

import pytest
from mlflow import MlflowClient
from mlflow.entities import ViewType

from forecastle.errors import ServerError
from forecastle.registry.archive import Archive, Archived
from forecastle.registry.cleanup import Cleanup
from forecastle.registry.lost_runs import end_lost_runs, name_of
from forecastle.settings import Settings
from forecastle.store import job_runs, references
from forecastle.store.database import Database
from forecastle.store.identifiers import new_id
from forecastle.store.job_runs import Ending
from forecastle.store.objects import Objects
from forecastle.store.promotions import Promotion, add_step
from forecastle.store.references import Logged

MODEL = "archived.model"
LATER = timedelta(days=91)


@dataclass(frozen=True)
class Shelf:
    """A registered model with versions, each of a run with a child, files, and a logged model."""

    client: MlflowClient
    tracking: Cleanup
    database: Database
    objects: Objects
    files: Objects
    folder: Path
    experiment: str

    def add_version(self, name: str = MODEL) -> str:
        """Register a version; returns its run's id."""
        run = self.client.create_run(self.experiment).info
        self.client.create_run(self.experiment, tags={"mlflow.parentRunId": run.run_id})
        self.client.log_text(run.run_id, "a report", "report.html")
        model = self.client.create_logged_model(self.experiment, source_run_id=run.run_id)
        (self.folder / "model.json").write_text("{}")
        self.client.log_model_artifacts(model.model_id, str(self.folder))
        self.client.set_terminated(run.run_id)
        self.client.create_model_version(name, f"models:/{model.model_id}", run.run_id, model_id=model.model_id)
        return str(run.run_id)

    def archive(self) -> Archive:
        return Archive(
            self.database, self.objects, self.tracking, datetime.now(UTC) + LATER, lambda name: name == MODEL
        )

    def remove(self) -> Archived:
        return self.archive().remove(self.archive().plan())

    def versions(self) -> list[int]:
        return sorted(one.version for one in self.tracking.list_versions(MODEL))

    def lying(self) -> int:
        """How many files of this experiment lie in S3."""
        return len(list(self.files.list(f"{self.experiment}/")))

    def runs(self, view: int = ViewType.ACTIVE_ONLY) -> int:
        return len(self.client.search_runs([self.experiment], run_view_type=view))


@pytest.fixture
def shelf(servers: Settings, database: Database, objects: Objects, tmp_path: Path) -> Iterator[Shelf]:
    uri = servers.require_tracking_uri()
    client, tracking = MlflowClient(uri, uri), Cleanup(uri)
    experiment = client.create_experiment(f"shelf {new_id()}")
    client.create_registered_model(MODEL)
    folder = tmp_path / "model"
    folder.mkdir()
    files = Objects.of(replace(servers, artifacts=f"{servers.artifacts}/mlflow"))
    yield Shelf(client, tracking, database, objects, files, folder, experiment)
    client.delete_registered_model(MODEL)


def promoted(shelf: Shelf, version: int) -> None:
    moved = Promotion(new_id(), "promote", MODEL, None, version, "rita", "r", "PROMOTE", False, (), {})
    with shelf.database.transaction() as connection:
        add_step(connection, moved, "confirmed")


def test_a_version_that_nobody_needs_goes_with_its_run_and_files_and_every_other_one_stays_whole(shelf: Shelf) -> None:
    for _ in range(6):
        shelf.add_version()
    each = shelf.lying() // 6
    assert each == 2
    promoted(shelf, 1)
    shelf.client.set_registered_model_alias(MODEL, "staging", "2")
    plan = shelf.archive().plan()
    assert [one.version for one in plan.removed] == [3]
    assert shelf.versions() == [1, 2, 3, 4, 5, 6]  # to look is not to touch
    assert shelf.remove().versions == 1
    assert shelf.versions() == [1, 2, 4, 5, 6]
    assert (shelf.lying(), shelf.runs(), shelf.runs(ViewType.DELETED_ONLY)) == (5 * each, 10, 2)
    assert shelf.remove() == Archived(0, 0, 0)
    assert shelf.lying() == 5 * each


def test_the_log_of_predictions_is_read_once_however_many_versions_go(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(6):
        shelf.add_version()
    read, reading = list[Logged](), references.read_logged
    monkeypatch.setattr(references, "read_logged", lambda found: read.append(reading(found)) or read[-1])
    archive = shelf.archive()
    assert archive.remove(archive.plan()).versions == 3
    assert len(read) == 1


def test_registered_models_of_others_on_the_same_server_are_left_alone(shelf: Shelf) -> None:
    shelf.client.create_registered_model("somebody.elses")
    try:
        for _ in range(4):
            shelf.add_version("somebody.elses")
        before = shelf.lying()
        assert shelf.remove().versions == 0
        assert len(shelf.tracking.list_versions("somebody.elses")) == 4
        assert shelf.lying() == before
    finally:
        shelf.client.delete_registered_model("somebody.elses")


def test_what_was_promoted_or_given_an_alias_since_the_plan_stays(shelf: Shelf) -> None:
    for _ in range(5):
        shelf.add_version()
    plan = shelf.archive().plan()
    promoted(shelf, 1)
    shelf.client.set_registered_model_alias(MODEL, "champion", "2")
    assert shelf.archive().remove(plan).versions == 0
    assert shelf.versions() == [1, 2, 3, 4, 5]


def test_an_archiving_that_was_cut_off_is_finished_by_the_next_one(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(4):
        shelf.add_version()

    def cut(*_: object) -> None:
        raise ServerError("MLflow did not answer")

    with monkeypatch.context() as broken:
        broken.setattr(MlflowClient, "delete_model_version", cut)
        with pytest.raises(ServerError):
            shelf.remove()
    assert shelf.tracking.delete_archived_runs() == 0  # it is marked, and a version names it still
    with monkeypatch.context() as broken:
        broken.setattr(MlflowClient, "delete_run", cut)
        with pytest.raises(ServerError):
            shelf.remove()
    assert (shelf.versions(), shelf.runs()) == ([2, 3, 4], 8)
    assert shelf.remove() == Archived(0, 1, 0)
    assert (shelf.lying(), shelf.runs()) == (6, 6)


def test_a_data_set_goes_with_its_file_when_no_version_names_it_any_more(shelf: Shelf) -> None:
    with shelf.database.transaction() as connection:
        for number in (1, 2):
            shelf.objects.put(f"datasets/{number}", b"rows")
            connection.execute(
                "insert into dataset_versions (id, name, version, digest, object_name, rows, clusters, time_basis, "
                "span_from, span_until) values (%s, %s, %s, %s, %s, 1, 1, 'date', '', '')",
                (new_id(), MODEL, number, f"digest {number}", f"datasets/{number}"),
            )
    for _ in range(4):
        shelf.add_version()
    shelf.client.set_model_version_tag(MODEL, "1", "data.digest", "digest 1")
    assert [one.version for one in shelf.archive().plan().datasets] == [1]
    assert shelf.remove().datasets == 1
    assert list(shelf.objects.list("datasets/")) == ["datasets/2"]
    with shelf.database.transaction() as connection:
        left = connection.execute("select version from dataset_versions").fetchall()
    assert [row["version"] for row in left] == [2]


def test_runs_whose_job_is_over_are_ended_and_what_goes_on_goes_on(shelf: Shelf) -> None:
    def plan(ending: Ending | None) -> UUID:
        with shelf.database.transaction() as connection:
            run = job_runs.plan(connection, "training.train", {}, "ada")
            assert run is not None
            if ending is not None:
                job_runs.end_unheld(connection, run.id, ending)
        return run.id

    over, going = plan(Ending("failed", "lost")), plan(None)
    names = {"over": name_of(over), "going": name_of(going), "by hand": "nimble-ant-7"}
    runs = {what: shelf.client.create_run(shelf.experiment, run_name=name).info.run_id for what, name in names.items()}
    child = shelf.client.create_run(shelf.experiment, tags={"mlflow.parentRunId": runs["over"]}).info.run_id
    shelf.client.create_model_version(MODEL, f"runs:/{runs['over']}/model", runs["over"])
    experiment = shelf.client.get_experiment(shelf.experiment).name

    def reap(after: timedelta) -> list[str]:
        return end_lost_runs(shelf.database, shelf.tracking, [experiment, "nothing"], datetime.now(UTC) + after)

    assert reap(timedelta()) == [runs["over"]]
    found = {one.info.run_id: one for one in shelf.client.search_runs([shelf.experiment])}
    for run_id in (runs["over"], child):
        assert (found[run_id].info.status, found[run_id].data.tags["failure"]) == ("KILLED", f"its job {over} is over")
    assert {found[runs[what]].info.status for what in ("going", "by hand")} == {"RUNNING"}
    assert shelf.versions() == []  # what it had registered is taken back
    assert reap(timedelta()) == []
    assert reap(timedelta(hours=25)) == [runs["by hand"]]
