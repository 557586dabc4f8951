"""What is in production is loaded from ledger and objects, and followed without polling."""

from __future__ import annotations

import json
import math
import queue
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest

from forecastle.access.principals import Principal
from forecastle.errors import IntegrityError, NothingServesError, ServerError
from forecastle.registry import following, replacing, serving
from forecastle.registry.cache import BUDGET_BYTES, LIFETIME_SECONDS, ModelCache
from forecastle.registry.declaration import ModelType
from forecastle.registry.loading import Loaded, load_serving
from forecastle.registry.promotions import Promoter
from forecastle.registry.served import approved_files
from forecastle.registry.serving import ServingModels
from forecastle.registry.training import Fitted
from forecastle.store import database as database_module
from forecastle.store.database import Database
from forecastle.store.notifications import list_notifications
from forecastle.store.objects import Objects

DEADLINE = 20.0


class WatchedCache(ModelCache):
    """Tells of every version that is let serve."""

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self.served: queue.Queue[str] = queue.Queue()

    def put(self, model_name: str, loaded: Loaded, is_project: bool) -> bool:
        done = super().put(model_name, loaded, is_project)
        self.served.put(loaded.version.label)
        return done

    def wait_for(self, label: str) -> None:
        """Until this version serves. Raises queue.Empty at the deadline."""
        while self.served.get(timeout=DEADLINE) != label:
            pass


class Watched(ServingModels):
    """One whose cache tells what serves, and whose clock is the test's."""

    def __init__(self, *given: Any, budget: int = BUDGET_BYTES) -> None:
        self.now = 0.0
        self.cache = WatchedCache(budget, lambda: self.now)
        super().__init__(*given, self.cache)

    def reasons(self) -> list[str]:
        return [refusal.reason for refusal in self.statistics().refused]

    def labels(self) -> set[str]:
        return {version.label for version in self.statistics().cache.versions}


@pytest.fixture
def promoter(database: Database, objects: Objects, make_aliases: Any, fitted: Fitted) -> Promoter:
    """Versions 1, 2 and 3 are bundles that differ in their manifest.

    Version 7 was made with other feature code, version 8 loads and answers nothing, version 9 is no bundle.
    """
    versions = {}
    for number in (1, 2, 3):
        manifest = replace(fitted.bundle.manifest, dataset_digest=f"dataset {number}")
        files = replace(fitted.bundle, manifest=manifest).files()
        versions[number] = {f"bundle/{name}": content for name, content in files.items()} | {"model/MLmodel": b"x"}
    versions[7] = {**versions[1], "bundle/manifest.json": of_other_code(versions[1]["bundle/manifest.json"])}
    versions[8] = {**versions[1], "bundle/model.json": without_numbers(versions[1]["bundle/model.json"])}
    versions[9] = {"bundle/manifest.json": b"{}"}
    return Promoter(database, objects, make_aliases(versions), lambda name, found: None)


def of_other_code(manifest: bytes) -> bytes:
    return json.dumps({**json.loads(manifest), "feature_digest": "of another code"}).encode()


def without_numbers(model: bytes) -> bytes:
    """Not a number among the weights, wherever one stands."""

    def changed(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: changed(item) for name, item in value.items()}
        if isinstance(value, list):
            return [changed(item) for item in value]
        return math.nan if isinstance(value, float) else value

    return json.dumps(changed(json.loads(model))).encode()


@pytest.fixture
def make_models(database: Database, objects: Objects, model_type: ModelType) -> Iterator[Callable[..., Watched]]:
    made: list[Watched] = []

    def make(**given: Any) -> Watched:
        made.append(Watched(database, objects, {model_type.name: model_type}, **given))
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
    monkeypatch.setattr(following, "POLL_SECONDS", 3_600.0)
    models = make_models()
    promoter.promote(model_type.name, 1, reviewer, "first")
    models.start()
    models.cache.wait_for(f"{model_type.name}/1")
    promoter.promote(model_type.name, 2, reviewer, "second")
    models.cache.wait_for(f"{model_type.name}/2")
    promoter.rollback(model_type.name, reviewer, "wrong")
    models.cache.wait_for(f"{model_type.name}/1")
    assert dataset(models, model_type) == "dataset 1"


def test_a_promotion_whose_notice_was_lost_is_found_by_polling(
    make_models: Callable[[], Watched],
    promoter: Promoter,
    reviewer: Principal,
    model_type: ModelType,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(following, "POLL_SECONDS", 0.05)
    monkeypatch.setattr(serving.ledger, "CHANNEL", "nobody_speaks_here")
    models = make_models()
    models.start()
    promoter.promote(model_type.name, 1, reviewer, "first")
    models.cache.wait_for(f"{model_type.name}/1")


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


def test_an_alert_that_could_not_be_written_is_written_at_the_next_look(
    make_models: Callable[[], Watched],
    promoter: Promoter,
    reviewer: Principal,
    model_type: ModelType,
    database: Database,
    objects: Objects,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def is_away(work: object) -> None:
        raise ServerError("PostgreSQL is away")

    models = make_models()
    step = promoter.promote(model_type.name, 1, reviewer, "first")
    (manifest,) = (file for file in step.promotion.files if file.name == "bundle/manifest.json")
    objects.put(manifest.object_name, objects.get(manifest.object_name) + b" ")
    with monkeypatch.context() as away:
        away.setattr(database, "retrying", is_away)
        models.refresh()
        assert [reason for reason in models.reasons() if "was changed after its approval" in reason]
    assert alerts(database) == []
    for _ in range(2):  # told once
        models.refresh()
    assert alerts(database) == [("file_tampered", model_type.name, 1)]


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


def test_while_s3_is_away_nothing_is_refused_and_the_log_says_what_is_not_looked_at(
    make_models: Callable[[], Watched],
    promoter: Promoter,
    reviewer: Principal,
    model_type: ModelType,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    promoter.promote(model_type.name, 1, reviewer, "first")
    models = make_models()
    models.refresh()
    promoter.promote(model_type.name, 2, reviewer, "second")
    models.now += LIFETIME_SECONDS
    with monkeypatch.context() as away:
        away.setattr(Objects, "get", lambda *_: (_ for _ in ()).throw(ServerError("S3 did not answer")))
        for look in (models.refresh, models.check_again):
            with pytest.raises(ServerError):
                look()
    assert models.reasons() == []
    assert "delivery.story_points/2 is not loaded yet: S3 did not answer" in caplog.text
    assert "the files of delivery.story_points/1 cannot be looked at now" in caplog.text
    assert dataset(models, model_type) == "dataset 1"
    models.refresh()
    assert dataset(models, model_type) == "dataset 2"


@pytest.mark.parametrize(
    ("version", "reason"),
    [(7, "made with other feature code"), (8, "does not answer the model type's example"), (9, "is no bundle")],
)
def test_what_does_not_load_or_answer_its_example_replaces_nothing_and_is_told(
    make_models: Callable[[], Watched],
    promoter: Promoter,
    reviewer: Principal,
    model_type: ModelType,
    caplog: pytest.LogCaptureFixture,
    version: int,
    reason: str,
) -> None:
    models = make_models()
    promoter.promote(model_type.name, 1, reviewer, "first")
    models.refresh()
    promoter.promote(model_type.name, version, reviewer, "broken")
    for _ in range(2):
        models.refresh()
    assert models.for_cluster(model_type, "a").label == f"{model_type.name}/1"
    (refusal,) = models.statistics().refused
    assert refusal.label == f"{model_type.name}/{version}"
    assert reason in refusal.reason
    assert sum(reason in record.getMessage() for record in caplog.records) == 1
    promoter.promote(model_type.name, 2, reviewer, "mended")
    models.refresh()
    assert models.labels() == {f"{model_type.name}/2"}
    assert models.statistics().refused == ()


def test_a_version_with_a_missing_file_is_not_loaded(
    make_models: Callable[[], Watched],
    promoter: Promoter,
    reviewer: Principal,
    model_type: ModelType,
    objects: Objects,
) -> None:
    step = promoter.promote(model_type.name, 1, reviewer, "first")
    (skill,) = (file for file in step.promotion.files if file.name == "bundle/skill.json")
    objects.delete(skill.object_name)
    models = make_models()
    models.refresh()
    with pytest.raises(NothingServesError, match=r"not loaded: .*skill\.json is missing"):
        models.for_cluster(model_type, "a")


def test_where_production_is_not_loaded_at_the_start_the_version_before_it_serves(
    make_models: Callable[[], Watched], promoter: Promoter, reviewer: Principal, model_type: ModelType
) -> None:
    for version in (1, 2, 9):
        promoter.promote(model_type.name, version, reviewer, "promoted")
    models = make_models()
    models.start()
    assert models.for_cluster(model_type, "a").label == f"{model_type.name}/2"
    assert "is no bundle" in models.reasons()[0]


def test_files_are_held_against_the_ledger_again_after_an_hour(
    make_models: Callable[[], Watched],
    promoter: Promoter,
    reviewer: Principal,
    model_type: ModelType,
    objects: Objects,
    caplog: pytest.LogCaptureFixture,
) -> None:
    step = promoter.promote(model_type.name, 1, reviewer, "first")
    models = make_models()
    models.refresh()
    (manifest,) = (file for file in step.promotion.files if file.name == "bundle/manifest.json")
    content = objects.get(manifest.object_name)
    objects.put(manifest.object_name, content + b" ")
    models.now += LIFETIME_SECONDS - 1
    models.check_again()
    assert models.reasons() == []
    models.now += 1
    for _ in range(2):
        models.check_again()
    assert "manifest.json was changed after its approval" in models.reasons()[0]
    assert sum("was changed" in record.getMessage() for record in caplog.records) == 1
    assert dataset(models, model_type) == "dataset 1"
    objects.put(manifest.object_name, content)
    models.check_again()
    assert models.reasons() == []


def test_the_check_comes_by_itself(
    make_models: Callable[[], Watched],
    promoter: Promoter,
    reviewer: Principal,
    model_type: ModelType,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    looked = threading.Event()
    monkeypatch.setattr(following, "POLL_SECONDS", 0.05)
    monkeypatch.setattr(replacing, "approved_files", lambda *given: looked.set() or approved_files(*given))
    promoter.promote(model_type.name, 1, reviewer, "first")
    models = make_models()
    models.refresh()
    models.now += LIFETIME_SECONDS
    models.start()
    assert looked.wait(DEADLINE)


def test_projects_versions_are_loaded_when_they_are_asked_for_and_dropped_where_memory_runs_short(
    make_models: Callable[..., Watched], promoter: Promoter, reviewer: Principal, model_type: ModelType
) -> None:
    name = model_type.name
    promoter.promote(name, 1, reviewer, "everybody's")
    for project in ("a", "b", "c"):
        promoter.promote(f"{name}.{project}", 2, reviewer, "its own")
    models = make_models()
    models.refresh()
    size = models.statistics().cache.size_bytes
    models = make_models(budget=size * 7 // 2)
    models.refresh()
    assert models.labels() == {f"{name}/1"}
    for project in ("a", "b", "a", "c", "d"):
        models.now += 1
        own = f"{name}/1" if project == "d" else f"{name}.{project}/2"
        assert models.for_cluster(model_type, project).label == own
    assert models.labels() == {f"{name}/1", f"{name}.a/2", f"{name}.c/2"}
    assert models.for_cluster(model_type, "b").label == f"{name}.b/2"
    assert models.statistics().cache.evictions == 2
    assert models.statistics().in_production == 4


def test_a_promotion_of_a_projects_version_is_followed_where_it_is_loaded_and_costs_nothing_where_it_is_not(
    make_models: Callable[[], Watched], promoter: Promoter, reviewer: Principal, model_type: ModelType
) -> None:
    names = [f"{model_type.name}.{project}" for project in ("a", "b")]
    for name in names:
        promoter.promote(name, 1, reviewer, "its own")
    models = make_models()
    models.start()
    models.for_cluster(model_type, "a")
    for name in names:
        promoter.promote(name, 2, reviewer, "its next")
    models.cache.wait_for(f"{names[0]}/2")
    assert models.labels() == {f"{names[0]}/2"}


def test_many_who_ask_for_what_is_not_loaded_wait_for_one_load(
    make_models: Callable[[], Watched],
    promoter: Promoter,
    reviewer: Principal,
    model_type: ModelType,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    promoter.promote(f"{model_type.name}.a", 1, reviewer, "its own")
    models = make_models()
    models.refresh()
    monkeypatch.setattr(serving, "WAIT_SECONDS", DEADLINE)
    asked, loads = threading.Barrier(8), []

    def load(*given: Any) -> Loaded:
        loads.append(1)
        asked.wait(DEADLINE)  # the seven others are here, and have found nothing loaded
        return load_serving(*given)

    def ask(number: int) -> Any:
        if number:
            asked.wait(DEADLINE)
        return models.for_cluster(model_type, "a")

    monkeypatch.setattr(replacing, "load_serving", load)
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(ask, range(8)))
    assert len(loads) == 1
    assert len(set(map(id, found))) == 1


def test_a_load_that_takes_long_holds_up_neither_other_models_nor_for_ever_those_who_ask_for_it(
    make_models: Callable[[], Watched],
    promoter: Promoter,
    reviewer: Principal,
    model_type: ModelType,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    promoter.promote(model_type.name, 1, reviewer, "everybody's")
    promoter.promote(f"{model_type.name}.slow", 2, reviewer, "its own")
    promoter.promote(f"{model_type.name}.quick", 3, reviewer, "its own")
    models = make_models()
    models.refresh()
    go_on = threading.Event()

    def load(objects: Objects, model_type: ModelType, step: Any) -> Loaded:
        if step.promotion.model_name.endswith(".slow"):
            assert go_on.wait(DEADLINE)
        return load_serving(objects, model_type, step)

    monkeypatch.setattr(replacing, "load_serving", load)
    monkeypatch.setattr(serving, "WAIT_SECONDS", 0.05)
    assert dataset(models, model_type, "slow") == "dataset 1"
    monkeypatch.setattr(serving, "WAIT_SECONDS", DEADLINE)
    assert dataset(models, model_type, "quick") == "dataset 3"
    go_on.set()
    models.cache.wait_for(f"{model_type.name}.slow/2")
    assert dataset(models, model_type, "slow") == "dataset 2"


def test_the_first_version_of_all_is_waited_for_in_one_flight_by_all_who_ask_and_not_for_ever(
    make_models: Callable[[], Watched],
    promoter: Promoter,
    reviewer: Principal,
    model_type: ModelType,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    models = make_models()
    models.start()
    begun, go_on, loads = threading.Event(), threading.Event(), []

    def load(*given: Any) -> Loaded:
        loads.append(1)
        begun.set()
        assert go_on.wait(DEADLINE)
        return load_serving(*given)

    monkeypatch.setattr(replacing, "load_serving", load)
    promoter.promote(model_type.name, 1, reviewer, "the first")
    assert begun.wait(DEADLINE)
    monkeypatch.setattr(serving, "WAIT_SECONDS", 0.05)
    with pytest.raises(ServerError, match="not loaded yet"):
        models.for_cluster(model_type, "a")
    monkeypatch.setattr(serving, "WAIT_SECONDS", DEADLINE)
    with ThreadPoolExecutor(8) as pool:
        asked = [pool.submit(dataset, models, model_type, "a") for _ in range(8)]
        go_on.set()
        assert {each.result(DEADLINE) for each in asked} == {"dataset 1"}
    assert len(loads) == 1


def test_where_only_a_slow_load_could_answer_it_is_said_that_trying_again_helps(
    make_models: Callable[[], Watched],
    promoter: Promoter,
    reviewer: Principal,
    model_type: ModelType,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    promoter.promote(f"{model_type.name}.a", 1, reviewer, "its own")
    models = make_models()
    models.refresh()
    go_on = threading.Event()
    monkeypatch.setattr(
        replacing, "load_serving", lambda *given: load_serving(*given) if go_on.wait(DEADLINE) else None
    )
    monkeypatch.setattr(serving, "WAIT_SECONDS", 0.0)
    with pytest.raises(ServerError, match="not loaded yet"):
        models.for_cluster(model_type, "a")
    go_on.set()
    models.cache.wait_for(f"{model_type.name}.a/1")


def test_a_projects_version_that_is_refused_is_left_alone_for_a_while_and_everybodys_answers(
    make_models: Callable[[], Watched],
    promoter: Promoter,
    reviewer: Principal,
    model_type: ModelType,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    promoter.promote(model_type.name, 1, reviewer, "everybody's")
    promoter.promote(f"{model_type.name}.a", 9, reviewer, "no bundle")
    models = make_models()
    models.refresh()
    loads = []
    monkeypatch.setattr(replacing, "load_serving", lambda *given: loads.append(1) or load_serving(*given))
    for _ in range(3):
        assert dataset(models, model_type, "a") == "dataset 1"
    assert len(loads) == 1
    assert models.statistics().refused[0].label == f"{model_type.name}.a/9"
    monkeypatch.setattr(serving, "RETRY_SECONDS", 0.0)
    promoter.promote(f"{model_type.name}.a", 2, reviewer, "mended")
    models.refresh()
    assert dataset(models, model_type, "a") == "dataset 2"


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
