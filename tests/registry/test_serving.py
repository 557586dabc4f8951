"""What is in production is loaded from ledger and objects, and followed without polling."""

from __future__ import annotations

import queue
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest

from forecastle.access.principals import Principal
from forecastle.errors import IntegrityError, NothingServesError, ServerError
from forecastle.registry import serving as serving_module
from forecastle.registry.declaration import ModelType
from forecastle.registry.promotions import Promoter
from forecastle.registry.serving import ServingModels, load_serving
from forecastle.registry.training import Fitted
from forecastle.store import database as database_module
from forecastle.store.database import Database
from forecastle.store.notifications import list_notifications
from forecastle.store.objects import Objects

DEADLINE = 20.0


class Watched(ServingModels):
    """Tells of every refresh what serves after it."""

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self.refreshed: queue.Queue[set[str]] = queue.Queue()

    def refresh(self) -> None:
        super().refresh()
        self.refreshed.put({version.label for version in self._serving.values()})

    def wait_for(self, *labels: str) -> None:
        """Until these versions serve. Raises queue.Empty at the deadline."""
        while self.refreshed.get(timeout=DEADLINE) != set(labels):
            pass


@pytest.fixture
def promoter(database: Database, objects: Objects, make_aliases: Any, fitted: Fitted) -> Promoter:
    """Versions 1, 2 and 3 are bundles that differ in their manifest; version 9 is none."""
    versions = {}
    for number in (1, 2, 3):
        manifest = replace(fitted.bundle.manifest, dataset_digest=f"dataset {number}")
        files = replace(fitted.bundle, manifest=manifest).files()
        versions[number] = {f"bundle/{name}": content for name, content in files.items()} | {"model/MLmodel": b"x"}
    versions[9] = {"bundle/manifest.json": b"{}"}
    return Promoter(database, objects, make_aliases(versions), lambda name, found: None)


@pytest.fixture
def make_models(database: Database, objects: Objects, model_type: ModelType) -> Iterator[Callable[[], Watched]]:
    made: list[Watched] = []

    def make() -> Watched:
        made.append(Watched(database, objects, {model_type.name: model_type}))
        return made[-1]

    yield make
    for models in made:
        models.stop()


def dataset(models: ServingModels, model_type: ModelType, cluster: str = "a") -> str:
    bundle = models.for_cluster(model_type, cluster).predictor.bundle
    assert bundle is not None
    return bundle.manifest.dataset_digest


def test_a_promotion_is_followed_without_polling(
    make_models: Callable[[], Watched],
    promoter: Promoter,
    reviewer: Principal,
    model_type: ModelType,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(serving_module, "POLL_SECONDS", 3_600.0)
    models = make_models()
    models.start()
    for _ in range(2):  # at the start, and once the thread listens
        assert models.refreshed.get(timeout=DEADLINE) == set()
    promoter.promote(model_type.name, 1, reviewer, "first")
    models.wait_for(f"{model_type.name}/1")
    promoter.promote(model_type.name, 2, reviewer, "second")
    models.wait_for(f"{model_type.name}/2")
    promoter.rollback(model_type.name, reviewer, "wrong")
    models.wait_for(f"{model_type.name}/1")
    assert dataset(models, model_type) == "dataset 1"


def test_a_promotion_whose_notice_was_lost_is_found_by_polling(
    make_models: Callable[[], Watched],
    promoter: Promoter,
    reviewer: Principal,
    model_type: ModelType,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(serving_module, "POLL_SECONDS", 0.05)
    monkeypatch.setattr(serving_module.ledger, "CHANNEL", "nobody_speaks_here")
    models = make_models()
    models.start()
    promoter.promote(model_type.name, 1, reviewer, "first")
    models.wait_for(f"{model_type.name}/1")


def test_what_serves_at_the_start_is_loaded_before_the_start_returns(
    make_models: Callable[[], Watched], promoter: Promoter, reviewer: Principal, model_type: ModelType
) -> None:
    promoter.promote(model_type.name, 1, reviewer, "first")
    models = make_models()
    models.start()
    assert models.for_cluster(model_type, "a").label == f"{model_type.name}/1"


def test_with_nothing_in_production_nothing_serves(make_models: Callable[[], Watched], model_type: ModelType) -> None:
    models = make_models()
    models.refresh()
    with pytest.raises(NothingServesError, match="forecastle models promote"):
        models.for_cluster(model_type, "a")


def test_a_tampered_version_is_not_loaded_and_the_old_one_goes_on_serving(
    make_models: Callable[[], Watched],
    promoter: Promoter,
    reviewer: Principal,
    model_type: ModelType,
    database: Database,
    objects: Objects,
    caplog: pytest.LogCaptureFixture,
) -> None:
    models = make_models()
    promoter.promote(model_type.name, 1, reviewer, "first")
    models.refresh()
    step = promoter.promote(model_type.name, 2, reviewer, "second")
    (manifest,) = (file for file in step.promotion.files if file.name == "bundle/manifest.json")
    objects.put(manifest.object_name, objects.get(manifest.object_name) + b" ")
    with pytest.raises(IntegrityError, match=r"manifest\.json was changed"):
        load_serving(objects, model_type, step)
    for _ in range(2):
        models.refresh()
    assert models.for_cluster(model_type, "a").label == f"{model_type.name}/1"
    assert sum("was changed after its approval" in record.message for record in caplog.records) == 1
    assert alerts(database) == [("file_tampered", model_type.name, 1)]
    another = make_models()  # started since, it refuses the same version
    another.refresh()
    assert alerts(database) == [("file_tampered", model_type.name, 2)]
    promoter.rollback(model_type.name, reviewer, "tampered")
    models.refresh()
    promoter.promote(model_type.name, 2, reviewer, "the approved files are back")
    models.refresh()
    assert alerts(database) == []


def alerts(database: Database) -> list[tuple[str, str, int]]:
    """Kind, subject and how often it was raised, of what is open."""
    with database.transaction() as connection:
        found = list_notifications(connection, is_open=True)
    return [(told.kind, told.subject, told.times) for told, _ in found]


def test_a_version_that_is_no_bundle_holds_up_no_other_model(
    make_models: Callable[[], Watched], promoter: Promoter, reviewer: Principal, model_type: ModelType
) -> None:
    promoter.promote(model_type.name, 9, reviewer, "no bundle")
    promoter.promote(f"{model_type.name}.own", 2, reviewer, "its own")
    models = make_models()
    models.refresh()
    assert dataset(models, model_type, "own") == "dataset 2"
    with pytest.raises(NothingServesError):
        models.for_cluster(model_type, "another")
    promoter.promote(model_type.name, 1, reviewer, "mended")
    models.refresh()
    assert dataset(models, model_type, "another") == "dataset 1"


def test_a_projects_own_version_answers_before_everybodys(
    make_models: Callable[[], Watched], promoter: Promoter, reviewer: Principal, model_type: ModelType
) -> None:
    promoter.promote(model_type.name, 1, reviewer, "everybody's")
    promoter.promote(f"{model_type.name}.own", 2, reviewer, "its own")
    models = make_models()
    models.refresh()
    assert dataset(models, model_type, "own") == "dataset 2"
    assert dataset(models, model_type, "another") == "dataset 1"


def test_models_of_an_unknown_type_are_left_alone(
    make_models: Callable[[], Watched], promoter: Promoter, reviewer: Principal, model_type: ModelType
) -> None:
    promoter.promote("delivery.unheard_of", 1, reviewer, "of a newer Forecastle")
    models = make_models()
    models.refresh()
    with pytest.raises(NothingServesError):
        models.for_cluster(model_type, "a")


def test_a_refresh_that_finds_nothing_new_loads_nothing(
    make_models: Callable[[], Watched], promoter: Promoter, reviewer: Principal, model_type: ModelType
) -> None:
    promoter.promote(model_type.name, 1, reviewer, "first")
    models = make_models()
    models.refresh()
    loaded = models.for_cluster(model_type, "a")
    models.refresh()
    assert models.for_cluster(model_type, "a") is loaded


def test_the_start_survives_a_database_that_is_not_there(
    objects: Objects, model_type: ModelType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database_module, "POOL_TIMEOUT_SECONDS", 0.3)
    with Database("postgresql://nobody@127.0.0.1:1/none") as nowhere:
        models = ServingModels(nowhere, objects, {model_type.name: model_type})
        with pytest.raises(ServerError):
            models.refresh()
        models.stop()
        models.start()
        with pytest.raises(NothingServesError):
            models.for_cluster(model_type, "a")
