"""What a decision had trained goes to production without a person where the policy says so, on a real MLflow."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path

import pytest
from versions import forget_ledgers

import projects
from forecastle.access.principals import Role, add_user
from forecastle.generator.issues import Portfolio, generate_issues
from forecastle.records.issues import IssueRecord
from forecastle.registry.mlflow_rest import MlflowRest, Version
from forecastle.registry.retraining import Asked, decide
from forecastle.registry.served import NEVER_MOVED, head_of
from forecastle.settings import Settings
from forecastle.store import job_runs
from forecastle.store import promotions as ledger
from forecastle.store.database import Database, temporary_database
from forecastle.store.gate_looks import find_head
from forecastle.store.issues import import_issues
from forecastle.store.job_runs import JobRun
from forecastle.store.migrate import migrate
from forecastle.store.promotions import LedgerStep
from jobs.child import call

pytestmark = pytest.mark.slow

MODEL_TYPE = projects.get_model_type("delivery.story_points")
NAME = MODEL_TYPE.name
NOISY = Portfolio(projects=60, issues=47, noise=1.2)
"""So noisy that seven more issues a project teach hardly anything: the next version is neither better nor worse."""
OLD = 40


@dataclass(frozen=True)
class Shop:
    """An installation whose policy promotes story points."""

    settings: Settings
    database: Database

    def bring(self, issues: list[IssueRecord]) -> None:
        with self.database.transaction() as connection:
            import_issues(connection, issues)

    def train_as_decided(self) -> str:
        """A decision, the training that it plans, and what the run of that says; a week is over since the last one."""
        with self.database.transaction() as connection:
            moment = job_runs.now(connection) + timedelta(days=8)
        decision = decide(self.database, projects.discover(), NAME, Asked("rita", moment=moment))
        assert decision.training_run is not None, decision
        with self.database.transaction() as connection:
            held = job_runs.take_lease(connection, decision.training_run, "tested", 600)
        assert held is not None
        return self._run(held)

    def _run(self, held: JobRun) -> str:
        ending = call("jobs.training:train", replace(self.settings, job_run=str(held.id)), held.id)
        with self.database.transaction() as connection:
            assert job_runs.end(connection, held, ending)
        assert ending.outcome == "succeeded", ending
        return ending.detail

    def steps(self) -> list[LedgerStep]:
        with self.database.transaction() as connection:
            return ledger.confirmed_steps(connection, NAME)

    def at(self, alias: str) -> Version:
        return MlflowRest.of(self.settings).version_at_alias(NAME, alias)

    def head_at_gate(self, version: Version) -> str | None:
        with self.database.transaction() as connection:
            return find_head(connection, version.run_id)


@pytest.fixture
def shop(servers: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Shop]:
    policy = replace(MODEL_TYPE.retraining, auto_promote=True)
    monkeypatch.setattr(projects, "get_model_type", lambda name: replace(MODEL_TYPE, retraining=policy))
    with temporary_database(servers.require_database_url(), "auto_promotion") as url, Database(url, 4) as database:
        migrate(database)
        with database.transaction() as connection:
            add_user(connection, "rita", Role.ADMIN)
        artifacts = f"{servers.artifacts}/auto-promotion"
        settings = replace(servers, database_url=url, home=tmp_path, artifacts=artifacts, api_key=None)
        forget_ledgers(MlflowRest.of(settings))
        yield Shop(settings, database)
        for alias in ("production", "previous", "staging"):
            MlflowRest.of(settings).remove_alias(NAME, alias)
        forget_ledgers(MlflowRest.of(settings))


def test_a_policy_promotes_on_promote_in_its_own_name_and_leaves_what_is_held_in_staging(shop: Shop) -> None:
    issues = list(generate_issues(NOISY))
    shop.bring([issue for issue in issues if issue.ordinal < OLD])
    assert shop.train_as_decided().endswith("; promoted by its policy")
    first = shop.at("production")
    assert (first.tags["gate.verdict"], first.tags["trained_by"]) == ("PROMOTE", "rita")
    assert shop.head_at_gate(first) == NEVER_MOVED
    (step,) = shop.steps()
    moved = step.promotion
    assert (moved.to_version, moved.actor, moved.verdict) == (first.version, "auto_promote", "PROMOTE")
    assert (moved.overridden, moved.trained_by_actor, moved.single_user_mode) == (False, False, False)
    assert moved.reason.startswith("retraining decision ")

    shop.bring(issues)
    assert shop.train_as_decided().endswith("; not promoted by its policy: its gate says HOLD")
    held = shop.at("staging")
    assert (held.version, held.tags["gate.verdict"]) == (first.version + 1, "HOLD")
    assert shop.head_at_gate(held) == head_of(shop.steps())
    assert shop.at("production").version == first.version
    assert len(shop.steps()) == 1
