"""The jobs that decide: every registered model once a tick, and a policy that promotes only what it may."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest
from shop import DAY, EFFORT, Shop, issues
from versions import Aliases

import projects
from forecastle.registry.promotions import VersionFiles
from forecastle.settings import Settings
from forecastle.store import job_runs
from forecastle.store import promotions as ledger
from forecastle.store.database import Database
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


@pytest.mark.parametrize(
    "told, block, auto, said",
    [
        ({"gate.verdict": "PROMOTE"}, {}, True, "; promoted by its policy"),
        ({"gate.verdict": "HOLD"}, {}, True, "; not promoted by its policy: its gate says HOLD"),
        (
            {"gate.verdict": "PROMOTE"},
            {"promotion.block": "audit"},
            True,
            "; not promoted by its policy: somebody blocks",
        ),
        ({"gate.verdict": "PROMOTE"}, {}, False, ""),
    ],
)
def test_what_a_decision_had_trained_is_promoted_where_policy_gate_and_people_allow_it(
    shop: Shop, own_storage: Settings, monkeypatch: pytest.MonkeyPatch, told: Any, block: Any, auto: bool, said: str
) -> None:
    model_type = replace(EFFORT, retraining=replace(EFFORT.retraining, auto_promote=auto))
    monkeypatch.setattr(projects, "get_model_type", lambda name: model_type)
    monkeypatch.setattr(retraining, "loadable", lambda model_types: lambda name, found: None)
    decision = shop.decide()
    provenance = {"run_id": "trained", "data.digest": "d", **told}
    files = VersionFiles(7, {"bundle/manifest.json": b"{}"}, provenance)
    registry = Registry({7: files}, told=told, block=block)
    with shop.database.transaction() as connection:
        assert decision.training_run is not None
        training = job_runs.get_run(connection, decision.training_run)
    work = Work(own_storage, shop.database, training)
    assert retraining.promote_trained(work, registry, "trained").startswith(said)  # type: ignore[arg-type]
    with shop.database.transaction() as connection:
        serves = ledger.serving(connection)
    assert [step.promotion.to_version for step in serves.values()] == (
        [7] if said == "; promoted by its policy" else []
    )
    if serves:
        promotion = serves[EFFORT.name].promotion
        assert (promotion.actor, promotion.reason.startswith("retraining decision ")) == ("auto_promote", True)


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
