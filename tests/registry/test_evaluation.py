"""Walking through time as the product would have, and saying honestly how it went."""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from generated import every_model_type, issues_for, quick, rows_for

from forecastle.records.issues import IssueRecord
from forecastle.registry.dataset import rows_of_issues
from forecastle.registry.declaration import ModelType
from forecastle.registry.evaluation import FIRST_ROWS, evaluate
from forecastle.registry.examples import Row
from projects import get_model_type


@pytest.fixture(scope="module")
def model_type() -> ModelType:
    """One that is trained at once: what is tested here is the walk."""
    return quick(get_model_type("delivery.story_points"))


@pytest.fixture(scope="module")
def rows(model_type: ModelType) -> tuple[Row, ...]:
    return rows_for(model_type, projects=2, issues=160)


def test_every_row_behind_the_first_ones_of_its_cluster_is_scored(model_type: ModelType, rows: tuple[Row, ...]) -> None:
    told: list[tuple[int, int]] = []
    found = evaluate(model_type, rows, lambda done, total: told.append((done, total)))
    assert [(result.cluster, result.rows) for result in found.clusters] == [
        ("DEMO1", 160 - FIRST_ROWS),
        ("DEMO2", 160 - FIRST_ROWS),
    ]
    assert told[-1] == (len(rows), len(rows))
    assert found.refits == 6  # after 20 % to 90 % of the rows: before, there are fewer than 50


def test_a_model_that_knows_the_words_beats_the_best_baseline(model_type: ModelType, rows: tuple[Row, ...]) -> None:
    for result in evaluate(model_type, rows).clusters:
        assert result.served < result.baselines[result.best_baseline] == min(result.baselines.values())
        assert result.against_best.difference < 0
        assert not result.clearly_worse
        assert math.isclose(sum(result.served_by.values()), 1.0)
        assert result.rank_correlation > 0.3


@every_model_type
def test_no_walk_says_less_than_it_was_asked(model_type: ModelType) -> None:
    rows = rows_for(model_type, projects=2, issues=130)
    found = evaluate(quick(model_type), rows)
    assert sum(result.rows for result in found.clusters) + found.without_baseline == len(rows) - 2 * FIRST_ROWS
    for result in found.clusters:
        assert set(result.baselines) == set(model_type.baselines)
        assert math.isclose(sum(result.served_by.values()), 1.0)
        assert all(math.isfinite(loss) for loss in (result.served, *result.baselines.values()))
        assert 0 <= result.coverage.low <= result.coverage.share <= result.coverage.high <= 1


def test_no_rows_are_an_empty_evaluation(model_type: ModelType) -> None:
    found = evaluate(model_type, [])
    assert (found.clusters, found.refits) == ((), 0)
    assert math.isnan(found.macro(lambda result: result.served))


@pytest.mark.timeout(60)
def test_outcomes_that_all_come_late_are_answered_with_numbers(model_type: ModelType, rows: tuple[Row, ...]) -> None:
    late = [replace(row, known_at=row.known_at + 10) for row in rows]
    found = evaluate(model_type, late)
    assert found.refits == 0
    assert all(math.isfinite(result.served) for result in found.clusters)


def test_an_issue_without_a_description_is_answered(model_type: ModelType) -> None:
    issues = [replace(issue, description=None) for issue in issues_for(model_type, 1, 80)]
    (result,) = evaluate(model_type, rows_of_issues(model_type, issues).rows).clusters
    assert result.rows == 80 - FIRST_ROWS


def test_a_project_whose_outcomes_come_late_hides_no_other(model_type: ModelType) -> None:
    """Rows of which nothing can be compared are counted, and the figures of the others are numbers."""
    start = datetime(2025, 1, 1, tzinfo=UTC)
    issues = [
        IssueRecord(
            project_key=project,
            key=f"{project}-{number}",
            ordinal=number,
            time_basis="date",
            created_at=start + timedelta(hours=number),
            completed_at=start + timedelta(hours=number + delay),
            title=f"Issue {number}",
            story_points=float(1 + number % 3),
            story_points_known_at=start + timedelta(hours=number + delay),
        )
        for project, delay in (("late", 10_000), ("soon", 1))
        for number in range(120)
    ]
    found = evaluate(model_type, rows_of_issues(model_type, issues).rows)
    assert found.without_baseline == 70
    assert [result.cluster for result in found.clusters] == ["soon"]
    assert all(math.isfinite(loss) for loss in found.clusters[0].baselines.values())
