"""The jobs that decide: every registered model once a tick, and a policy that promotes only what it may."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest
from shop import DAY, EFFORT, Shop, issues
from versions import Aliases

import projects
from forecastle.monitoring.decision import Replacement
from forecastle.registry.aliases import VersionFiles
from forecastle.registry.retraining import replacement_for
from forecastle.registry.served import NEVER_MOVED
from forecastle.settings import Settings
from forecastle.store import job_runs
from forecastle.store import promotions as ledger
from forecastle.store.database import Database
from forecastle.store.gate_looks import Look, add_look
from forecastle.store.job_runs import Ending
from forecastle.store.retraining import find_decision_for_training
from jobs import retraining
from jobs.child import call
from jobs.dispatcher import plan_ticks
from jobs.registry import JOBS, Work

MONDAY = datetime(2026, 11, 23, 2, tzinfo=UTC)


@pytest.fixture
def shop(database: Database) -> Shop:
    shop = Shop(database)
    shop.bring(issues(60))
    return shop


def run_job(shop: Shop, url: str, name: str = "decide_delivery", due_key: str | None = None) -> tuple[UUID, Any]:
    with shop.database.transaction() as connection:
        run = job_runs.plan(connection, f"retraining.{name}", {}, "schedule", due_key)
    assert run is not None
    return run.id, call(f"jobs.retraining:{name}", Settings(database_url=url), run.id)


def rows(shop: Shop, query: str) -> list[dict[str, Any]]:
    with shop.database.transaction() as connection:
        return connection.execute(query).fetchall()  # type: ignore[call-overload,no-any-return]


def test_delivery_is_decided_about_on_mondays_and_reliability_every_day(database: Database) -> None:
    asked = {name: JOBS[name] for name in ("retraining.decide_delivery", "retraining.decide_reliability")}
    with database.transaction() as connection:
        for day in range(8):
            plan_ticks(connection, asked, MONDAY + day * DAY)
        found = [run.due_key for run in job_runs.list_runs(connection)]
    assert sorted(key.partition("@")[2] for key in found if key and "delivery" in key) == [
        "2026-11-23T02:00Z", "2026-11-30T02:00Z"
    ]  # fmt: skip
    assert sum("reliability" in (key or "") for key in found) == 8


def test_a_tick_decides_about_every_model_type_and_plans_their_trainings_once(shop: Shop, database_url: str) -> None:
    tick = "retraining.decide_delivery@2026-11-23T02:00Z"
    run, ending = run_job(shop, database_url, due_key=tick)
    assert ending.outcome == "succeeded", ending
    assert (ending.items, ending.detail) == (
        2, "decisions of delivery: 1 CANNOT, 1 RETRAIN; `forecastle retrain why NAME`"
    )  # fmt: skip
    again = call("jobs.retraining:decide_delivery", Settings(database_url=database_url), run)
    assert again.detail == ending.detail  # the worker was lost: nothing is decided or planned anew
    assert len(rows(shop, "select * from retraining_decisions")) == 2
    (training,) = rows(shop, "select * from job_runs where name = 'training.train'")
    assert training["due_key"] == f"{tick}/delivery.effort"
    assert (training["planned_by"], training["arguments"]["model_type"]) == ("schedule", EFFORT.name)


def test_a_projects_own_model_that_serves_is_decided_about_as_well(shop: Shop, database_url: str) -> None:
    project = rows(shop, "select id from projects")[0]["id"]
    shop.promote()
    rows(shop, "insert into promotions (promotion_id, outcome, action, model_name, to_version, actor, reason, verdict, "
               "single_user_mode, files, provenance) select gen_random_uuid(), outcome, action, model_name || '.' || "
               f"'{project}', to_version, actor, reason, verdict, single_user_mode, files, provenance from promotions "
               "returning step")  # fmt: skip
    assert run_job(shop, database_url)[1].items == 3
    found = rows(shop, "select model_name from retraining_decisions order by model_name")
    assert [row["model_name"] for row in found] == [
        EFFORT.name, f"{EFFORT.name}.{project}", "delivery.story_points"
    ]  # fmt: skip


def test_a_family_without_model_types_says_so(shop: Shop, database_url: str) -> None:
    ending = run_job(shop, database_url, "decide_reliability")[1]
    assert (ending.items, ending.detail.startswith("decisions of reliability: there is no model type")) == (0, True)


@dataclass(frozen=True)
class Version:
    name: str
    version: int
    run_id: str
    tags: dict[str, str]


@dataclass
class Registry(Aliases):
    """Stands in for MLflow: one version that the run `trained` registered."""

    told: dict[str, str] = field(default_factory=dict)
    block: dict[str, str] = field(default_factory=dict)

    def list_versions(self, name: str) -> list[Version]:
        return [Version(name, 7, "trained", self.told)]

    def model_tags(self, name: str) -> dict[str, str]:
        return self.block


@dataclass(frozen=True)
class Trained:
    """What a decision had trained: version 7, whose gate said `verdict`, seeing this head of the ledger."""

    shop: Shop
    settings: Settings
    verdict: str = "PROMOTE"
    head: str | None = NEVER_MOVED
    tags: Mapping[str, str] = field(default_factory=dict)
    block: Mapping[str, str] = field(default_factory=dict)

    def work(self) -> Work:
        decision = self.shop.decide()
        assert decision.training_run is not None
        with self.shop.database.transaction() as connection:
            add_look(connection, Look(EFFORT.name, 7, "trained", self.verdict, {"head": self.head}, ()))
            return Work(self.settings, self.shop.database, job_runs.get_run(connection, decision.training_run))

    def registry(self) -> Registry:
        told = {"gate.verdict": self.verdict, **self.tags}
        files = VersionFiles(7, {"bundle/manifest.json": b"{}"}, {"run_id": "trained", "data.digest": "d", **told})
        return Registry({7: files}, told=told, block=dict(self.block))

    def promote(self, work: Work) -> str:
        return retraining.promote_trained(work, self.registry(), "trained")  # type: ignore[arg-type]

    def serves(self) -> list[tuple[int, str]]:
        """What serves, and who let it."""
        with self.shop.database.transaction() as connection:
            steps = ledger.serving(connection).values()
        return [(step.promotion.to_version, step.promotion.actor) for step in steps]


@pytest.fixture
def declare(monkeypatch: pytest.MonkeyPatch) -> Callable[[bool], None]:
    """Let the model type declare whether its policy promotes; any files can be loaded."""

    def found(auto: bool) -> None:
        model_type = replace(EFFORT, retraining=replace(EFFORT.retraining, auto_promote=auto))
        monkeypatch.setattr(projects, "get_model_type", lambda name: model_type)
        monkeypatch.setattr(retraining, "loadable", lambda model_types: lambda name, found: None)

    return found


@pytest.mark.parametrize(
    "trained, auto, said",
    [
        ({}, True, "; promoted by its policy"),
        ({"verdict": "HOLD"}, True, "; not promoted by its policy: its gate says HOLD"),
        (
            {"verdict": "HOLD", "tags": {"gate.verdict": "PROMOTE"}},  # edited in MLflow
            True,
            "; not promoted by its policy: its gate says HOLD",
        ),
        ({"block": {"promotion.block": "audit"}}, True, "; not promoted by its policy: somebody blocks it"),
        ({"head": None}, True, "; not promoted by its policy: nothing says what its gate had compared it with"),
        ({}, False, ""),
    ],
)
def test_what_a_decision_had_trained_is_promoted_where_policy_gate_and_people_allow_it(
    shop: Shop, own_storage: Settings, declare: Callable[[bool], None], trained: Any, auto: bool, said: str
) -> None:
    declare(auto)
    found = Trained(shop, own_storage, **trained)
    told = found.promote(found.work())
    assert told.startswith(said)
    assert (told == "") == (said == "")
    assert found.serves() == ([(7, "auto_promote")] if said == "; promoted by its policy" else [])


def test_a_policy_promotes_nothing_where_production_was_moved_since_the_gate_compared(
    shop: Shop, own_storage: Settings, declare: Callable[[bool], None]
) -> None:
    declare(True)
    trained = Trained(shop, own_storage)
    work = trained.work()
    shop.promote(3)
    assert trained.promote(work) == (
        "; not promoted by its policy: production of delivery.effort was moved meanwhile: look at what serves now"
    )
    assert trained.serves() == [(3, "rita")]


def test_a_policy_whose_job_begins_again_has_promoted_once(
    shop: Shop, own_storage: Settings, declare: Callable[[bool], None]
) -> None:
    declare(True)
    trained = Trained(shop, own_storage)
    work = trained.work()
    assert [trained.promote(work) for _ in range(2)] == ["; promoted by its policy"] * 2
    (step,) = rows(shop, "select reason from promotions where outcome = 'confirmed'")
    assert step["reason"].startswith("retraining decision ")


def test_a_training_that_is_tried_again_is_still_the_one_that_was_decided(shop: Shop) -> None:
    shop.promote()
    shop.bring(issues(1, start=MONDAY))
    decision = shop.decide(after=31 * DAY)
    run_id = decision.training_run
    assert replacement_for(decision) is Replacement.AGE
    with shop.database.transaction() as connection:
        for outcome in ("failed", "cancelled", "succeeded"):
            assert run_id is not None
            job_runs.end_unheld(connection, run_id, Ending(outcome, "it ended"))
            run_id = job_runs.retry(connection, run_id, "ada").id
            found = find_decision_for_training(connection, run_id)
            # What was trained is trained: again is somebody's own wish, and no reason of the decision's.
            assert found == (None if outcome == "succeeded" else decision)


def test_what_somebody_trained_for_themselves_is_never_promoted_by_a_policy(
    shop: Shop, own_storage: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        projects, "get_model_type",
        lambda name: replace(EFFORT, retraining=replace(EFFORT.retraining, auto_promote=True)),
    )  # fmt: skip
    with shop.database.transaction() as connection:
        training = job_runs.plan(connection, "training.train", {"model_type": EFFORT.name}, "dana")
    assert training is not None
    work = Work(own_storage, shop.database, training)
    assert retraining.promote_trained(work, Registry({}, told={"gate.verdict": "PROMOTE"}), "trained") == ""  # type: ignore[arg-type]
