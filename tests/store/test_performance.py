"""Sums of what was served against what came out are those of the rows, added up one by one."""

from __future__ import annotations

from collections import defaultdict
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from predictions import a_prediction, id_at

from forecastle.monitoring.sums import RealisedSums
from forecastle.registry.ground_truth import Said, record_truths
from forecastle.store.database import Database
from forecastle.store.performance import BLOCKS, Scope, Served, ServedBy, read_served
from forecastle.store.predictions import StoredPrediction, write_predictions
from forecastle.store.tenants import default_workspace, ensure_projects

NAME = "delivery.story_points"
START = datetime(2026, 1, 1, tzinfo=UTC)
number = st.integers(1, 9).map(float)


@pytest.fixture
def projects(database: Database) -> list[UUID]:
    with database.transaction() as connection:
        return sorted(ensure_projects(connection, default_workspace(connection), ["A", "B"]).values())


def asked_at(project: UUID, minute: int, **changed: Any) -> StoredPrediction:
    moment = START + timedelta(minutes=minute)
    return a_prediction(project, **{"id": id_at(moment), "moment": moment, "model_version": 1, **changed})


def write(database: Database, told: list[tuple[StoredPrediction, float | None]]) -> None:
    """Predictions with what came out of each, where it is known."""
    write_predictions(database, [prediction for prediction, _ in told])
    known_at = START + timedelta(days=1)
    said = [Said(prediction.id, truth, "manual", known_at) for prediction, truth in told if truth is not None]
    record_truths(database, said, "ada")


def read(database: Database, **scope: Any) -> dict[ServedBy, Served]:
    with database.transaction() as connection:
        return read_served(connection, Scope(NAME, **scope))


def sums(rows: list[dict[str, Any]]) -> RealisedSums:
    compared = [row for row in rows if row["baseline"] is not None]
    return RealisedSums(
        rows=len(rows),
        compared=len(compared),
        loss=sum(abs(row["value"] - row["truth"]) for row in compared),
        baseline_loss=sum(abs(row["baseline"] - row["truth"]) for row in compared),
        promised=len(rows),
        held=sum(1.0 <= row["truth"] <= 5.0 for row in rows),
    )


def cut(rows: list[dict[str, Any]]) -> list[RealisedSums]:
    """Blocks of time of the rows with a baseline and of those without, as NumPy cuts them."""
    parts: dict[int, list[RealisedSums]] = defaultdict(list)
    for has_baseline in (True, False):
        found = [row for row in rows if (row["baseline"] is not None) == has_baseline]
        for block, places in enumerate(np.array_split(np.arange(len(found)), BLOCKS)):
            if len(places):
                parts[block].append(sums([found[place] for place in places]))
    return [part for block in sorted(parts) for part in parts[block]]


def unordered(blocks: list[RealisedSums]) -> list[tuple[float, ...]]:
    return sorted(tuple(vars(block).values()) for block in blocks)


row_of = st.fixed_dictionaries(
    {
        "project": st.integers(0, 1),
        "version": st.integers(1, 2),
        "value": number,
        "baseline": st.none() | number,
        "truth": st.none() | number,
        "issue": st.none() | st.sampled_from(["A-1", "A-2"]),
    }
)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(asked=st.lists(row_of, max_size=30))
def test_sums_are_those_of_the_rows_added_up_one_by_one(
    database: Database, projects: list[UUID], asked: list[dict[str, Any]]
) -> None:
    with database.transaction() as connection:
        connection.execute("truncate predictions, ground_truth")
    expected: dict[ServedBy, list[dict[str, Any]]] = defaultdict(list)
    waiting: dict[ServedBy, int] = defaultdict(int)
    seen, told = set(), []
    for minute, row in enumerate(asked):
        project = projects[row["project"]]
        fields = {"value": row["value"], "baseline": row["baseline"], "issue_key": row["issue"]}
        told.append((asked_at(project, minute, model_version=row["version"], **fields), row["truth"]))
        keys = [ServedBy(NAME, row["version"], project), ServedBy(NAME, row["version"], None)]
        issue = (row["version"], project, row["issue"] or minute)
        for key in keys:
            waiting[key] += row["truth"] is None
            if row["truth"] is not None and issue not in seen:
                expected[key].append(row)
        seen |= {issue} if row["truth"] is not None else set()
    write(database, told)
    found = read(database)
    assert set(found) == set(waiting)
    for key, served in found.items():
        assert unordered(served.blocks) == unordered(cut(expected[key]))
        assert (served.waiting, served.asked_late) == (waiting[key], 0)


def test_what_somebody_said_counts_and_what_was_asked_late_does_not(database: Database, projects: list[UUID]) -> None:
    late = asked_at(projects[0], 1, moment=START + timedelta(days=2))
    write(database, [(asked_at(projects[0], 0), 8.0), (late, 4.0)])
    served = read(database)[ServedBy(NAME, 1, projects[0])]
    assert [block.loss for block in served.blocks] == [5.0]
    assert (served.waiting, served.asked_late) == (0, 1)


def test_a_scope_leaves_out_everything_else(database: Database, projects: list[UUID]) -> None:
    asked = [
        asked_at(projects[0], 0),
        asked_at(projects[1], 1, model_version=2),
        asked_at(projects[0], 2, model_name=f"{NAME}.own", model_version=2),
        asked_at(projects[0], 3, model_type="delivery.effort"),
    ]
    write(database, [(prediction, 3.0) for prediction in asked])
    assert {key.model_name for key in read(database)} == {NAME, f"{NAME}.own"}
    assert {key.model_name for key in read(database, model_name=f"{NAME}.own")} == {f"{NAME}.own"}
    assert {key.version for key in read(database, version=2)} == {2}
    assert {key.project for key in read(database, project=projects[1])} == {projects[1], None}
    assert {key.version for key in read(database, since=START + timedelta(minutes=1))} == {2}
