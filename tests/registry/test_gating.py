"""The gate in the road: which rows decide, against whom, once; and what a reviewer is told."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from versions import Aliases

from forecastle.access.principals import Principal
from forecastle.generator.issues import Portfolio, generate_issues
from forecastle.monitoring.decision import Replacement
from forecastle.monitoring.policies import GatePolicy
from forecastle.monitoring.verdict import Verdict
from forecastle.registry.aliases import VersionFiles
from forecastle.registry.dataset import TrainingRows, digest_of_rows, rows_of_issues, save_version
from forecastle.registry.declaration import ModelType
from forecastle.registry.examples import Extracted, extract_all
from forecastle.registry.gate_page import differences_by_project, gate_section
from forecastle.registry.gating import Gated, gate_candidate
from forecastle.registry.incumbents import find_incumbents
from forecastle.registry.promotions import Promoter
from forecastle.registry.training import DatasetInfo, Fitted, fit
from forecastle.registry.walking import Budget
from forecastle.store.database import Database
from forecastle.store.datasets import find_by_digest
from forecastle.store.gate_looks import Look, add_look, find_verdict, looked_at
from forecastle.store.objects import Objects
from forecastle.store.promotions import confirmed_steps
from forecastle.store.retraining import data_of
from projects import get_model_type

NAME = "delivery.story_points"
DAY = timedelta(days=1)
Decide = Callable[..., Gated]


@pytest.fixture(scope="module")
def gated_type() -> ModelType:
    """Story points, decided on from few rows on."""
    return replace(get_model_type(NAME), gate=GatePolicy(metric="mae", margin=0.05, least_rows=30))


@pytest.fixture(scope="module")
def found() -> TrainingRows:
    return rows_of_issues(get_model_type(NAME), generate_issues(Portfolio(projects=3, issues=120)))


@pytest.fixture(scope="module")
def rows(gated_type: ModelType, found: TrainingRows) -> Extracted:
    return extract_all(gated_type, found.rows)


@pytest.fixture
def version(database: Database, objects: Objects, found: TrainingRows) -> DatasetInfo:
    saved = save_version(database, objects, NAME, found)
    return DatasetInfo(saved.digest, saved.time_basis)


@pytest.fixture(scope="module")
def candidate(gated_type: ModelType, found: TrainingRows, rows: Extracted) -> Fitted:
    return fit(gated_type, rows, DatasetInfo(digest_of_rows(found), found.time_basis), budget=Budget(trials=1))


@pytest.fixture
def decide(database: Database, objects: Objects, gated_type: ModelType, rows: Extracted) -> Decide:
    def ask(fitted: Fitted, failures: int = 0) -> Gated:
        incumbents = find_incumbents(database, objects, gated_type, NAME)
        return gate_candidate(database, gated_type, NAME, rows, fitted, incumbents, failures)

    return ask


def promote(database: Database, objects: Objects, reviewer: Principal, files: dict[str, bytes]) -> None:
    kept = VersionFiles(1, {f"bundle/{name}": content for name, content in files.items()}, {})
    provenance = {"run_id": "r", "data.digest": "d", "git.commit": "c", "feature.digest": "f"}
    aliases = Aliases({1: replace(kept, provenance=provenance)})
    Promoter(database, objects, aliases, lambda name, version: None).promote(NAME, 1, reviewer, "the first one")


def worsened(fitted: Fitted, factor: float = 3.0) -> Fitted:
    """The same version, had it answered that many times as much."""
    answers = []
    for answer in fitted.answers:
        settled: Any = replace(answer.settled, value=answer.settled.value * factor)  # type: ignore[type-var]
        answers.append(replace(answer, settled=settled, low=0.0, high=1_000.0))
    return replace(fitted, answers=answers)


def test_where_nothing_serves_the_best_baseline_stands_in_and_the_rows_are_used_up(
    decide: Decide, candidate: Fitted
) -> None:
    gated = decide(candidate)
    measured = gated.decision.measured
    assert measured.stands_in
    assert measured.rows == len(candidate.held_back) == len(gated.used)
    assert (gated.changes, gated.churn) == ([], [])


def test_rows_that_taught_what_serves_are_left_out(
    decide: Decide,
    database: Database,
    objects: Objects,
    reviewer: Principal,
    version: DatasetInfo,
    gated_type: ModelType,
    rows: Extracted,
    candidate: Fitted,
) -> None:
    promote(database, objects, reviewer, candidate.bundle.files())
    shorter = fit(gated_type, rows.known_by(0.9), version, budget=Budget(trials=1))  # holds back what taught
    gated = decide(replace(shorter, bundle=shorter.bundle))
    taught = {(row.cluster, row.key) for row in rows.rows if row.asked_at < candidate.bundle.manifest.trained_until}
    held_back = {(row.cluster, row.key) for row in shorter.held_back}
    assert held_back & taught
    assert gated.decision.measured.rows == len(held_back - taught)


def test_the_same_version_again_changes_no_answer_and_is_not_worse(
    decide: Decide,
    database: Database,
    objects: Objects,
    reviewer: Principal,
    version: DatasetInfo,
    candidate: Fitted,
) -> None:
    promote(database, objects, reviewer, candidate.bundle.files())
    gated = decide(candidate)
    found = gated.decision.measured.production
    assert (found.name, found.found.difference, found.found.high) == ("version 1", 0.0, 0.0)
    assert [(churn.rows, churn.changed) for churn in gated.churn] == [(len(candidate.held_back), 0.0)]
    assert gated.changes == []
    assert gated.decision.verdict is not Verdict.PROMOTE


def test_a_worse_candidate_is_rejected_with_the_answers_that_would_change_most(
    decide: Decide,
    database: Database,
    objects: Objects,
    reviewer: Principal,
    version: DatasetInfo,
    candidate: Fitted,
) -> None:
    promote(database, objects, reviewer, candidate.bundle.files())
    gated = decide(worsened(candidate))
    assert gated.decision.verdict is Verdict.REJECT
    differences = [abs(change.candidate - change.production) for change in gated.changes]
    assert differences == sorted(differences, reverse=True)
    assert len(differences) == 20
    assert all(found.low > 0 for found in differences_by_project(gated).values() if found.rows >= 10)
    page = "".join(gate_section(gated, {}))
    assert "REJECT" in page
    assert gated.changes[0].key in page


def test_what_a_gate_has_looked_at_decides_nothing_again(decide: Decide, database: Database, candidate: Fitted) -> None:
    gated = decide(candidate)
    look = Look(NAME, 1, "run", str(gated.decision.verdict), gated.decision.as_json(), gated.used)
    with database.transaction() as connection:
        add_look(connection, look)
        assert looked_at(connection, NAME) == set(gated.used)
    again = decide(candidate)
    assert again.decision.verdict is Verdict.NOT_ENOUGH_DATA
    assert (again.decision.measured.rows, list(again.used)) == (0, [])


@pytest.mark.parametrize("days, replacement", [(29, None), (31, Replacement.AGE)])
def test_what_serves_is_as_old_as_its_data_however_late_it_was_promoted(
    decide: Decide,
    database: Database,
    objects: Objects,
    reviewer: Principal,
    version: DatasetInfo,
    candidate: Fitted,
    days: int,
    replacement: Replacement | None,
) -> None:
    promote(database, objects, reviewer, candidate.bundle.files())
    with database.transaction() as connection:
        step = confirmed_steps(connection, NAME)[-1]
        connection.execute("update dataset_versions set digest = 'd', created_at = now() - %s", (days * DAY,))
        data = data_of(connection, step.promotion)
    assert data is not None
    assert int(data.days_at(datetime.now(UTC))) == days
    assert decide(candidate).decision.replacement is replacement


def test_a_production_of_other_feature_code_asks_for_a_replacement_and_the_baseline_stands_in(
    decide: Decide,
    database: Database,
    objects: Objects,
    reviewer: Principal,
    version: DatasetInfo,
    candidate: Fitted,
) -> None:
    files = candidate.bundle.files()
    manifest = {**json.loads(files["manifest.json"]), "feature_digest": "0" * 64}
    promote(database, objects, reviewer, {**files, "manifest.json": json.dumps(manifest).encode()})
    gated = decide(candidate)
    assert gated.decision.replacement is Replacement.FEATURE_CODE
    assert gated.decision.measured.stands_in
    assert "cannot answer here" in gated.notes[0]


def test_a_production_whose_data_are_damaged_is_named_and_the_baseline_stands_in(
    decide: Decide,
    database: Database,
    objects: Objects,
    reviewer: Principal,
    version: DatasetInfo,
    candidate: Fitted,
) -> None:
    promote(database, objects, reviewer, candidate.bundle.files())
    with database.transaction() as connection:
        saved = find_by_digest(connection, NAME, version.digest)
    assert saved is not None
    objects.put(saved.object_name, b"no Parquet")
    damaged = decide(candidate)
    objects.delete(saved.object_name)
    gone = decide(candidate)
    for gated, why in ((damaged, "is damaged"), (gone, "is gone")):
        assert gated.decision.measured.stands_in
        assert why in gated.notes[0]


def test_a_verdict_belongs_to_the_run_as_numbers_of_versions_may_begin_again(database: Database) -> None:
    with database.transaction() as connection:
        for run, verdict in (("first", "PROMOTE"), ("second", "REJECT")):
            add_look(connection, Look(NAME, 1, run, verdict, {}, ()))
        assert [find_verdict(connection, run) for run in ("first", "second", "third")] == ["PROMOTE", "REJECT", None]


def test_data_that_broke_the_suite_are_rejected(decide: Decide, candidate: Fitted) -> None:
    gated = decide(candidate, failures=2)
    assert gated.decision.verdict is Verdict.REJECT
    assert "data validation" in gated.decision.reasons[0]
