"""Nothing that became known later reaches a row, a version or an answer."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forecastle.generator.issues import Portfolio, generate_issues
from forecastle.records.issues import IssueChange, IssueRecord
from forecastle.records.outcomes import Outcomes
from forecastle.registry.dataset import read_rows, rows_of_issues
from forecastle.registry.declaration import ModelType, Scorer, resolve
from forecastle.registry.evaluation import evaluate
from forecastle.registry.examples import Examples, Row, make_examples
from forecastle.registry.training import HELD_BACK_SHARE, fit
from forecastle.store.database import Database
from forecastle.store.issues import import_issues
from projects import get_model_type

START = datetime(2024, 1, 1, tzinfo=UTC)
STORY_POINTS = get_model_type("delivery.story_points")
OUTCOME_FIELDS = {"story_points", "story_points_known_at", "effort_hours", "completed_at", "assignee", "target"}

points = st.sampled_from([1.0, 2.0, 3.0, 5.0, 8.0, 13.0])
dated = st.lists(
    st.tuples(st.sampled_from("AB"), st.integers(0, 30), st.integers(0, 40), points), min_size=1, max_size=25
)
undated = st.lists(st.tuples(st.sampled_from("AB"), points), min_size=1, max_size=25)


def dated_issues(drawn: Sequence[tuple[str, int, int, float]]) -> list[IssueRecord]:
    """Issues that were created at some hour and whose points were set some hours later, maybe none."""
    return [
        IssueRecord(
            project_key=project,
            key=f"{project}-{number}",
            ordinal=number,
            time_basis="date",
            created_at=START + timedelta(hours=created),
            story_points_known_at=START + timedelta(hours=created + delay),
            title=f"Issue {number}",
            description="",
            story_points=value,
        )
        for number, (project, created, delay, value) in enumerate(drawn)
    ]


def undated_issues(drawn: Sequence[tuple[str, float]]) -> list[IssueRecord]:
    return [
        IssueRecord(
            project_key=project,
            key=f"{project}-{number}",
            ordinal=number,
            time_basis="ordinal",
            title="An issue",
            description="",
            story_points=value,
        )
        for number, (project, value) in enumerate(drawn)
    ]


def examples_of(rows: Sequence[Row]) -> Mapping[str, Any]:
    return {example.key: example for example in make_examples(rows, resolve(STORY_POINTS.scorer))}


def seen(example: Any) -> tuple[Any, ...]:
    """What a row shows a trainer; compared as text, since NaN equals nothing."""
    return (str(example.request), str(example.outcomes), str(example.features))


def assert_later_targets_are_not_seen(issues: Sequence[IssueRecord], pick: int) -> None:
    rows = rows_of_issues(STORY_POINTS, issues).rows
    chosen = rows[pick % len(rows)]
    altered = [replace(row, target=99.0) if row.known_at > chosen.asked_at else row for row in rows]
    assert seen(examples_of(altered)[chosen.key]) == seen(examples_of(rows)[chosen.key])


def assert_its_own_target_is_not_seen(issues: Sequence[IssueRecord], pick: int) -> None:
    rows = rows_of_issues(STORY_POINTS, issues).rows
    chosen = rows[pick % len(rows)]
    altered = [replace(row, target=99.0) if row is chosen else row for row in rows]
    assert seen(examples_of(altered)[chosen.key]) == seen(examples_of(rows)[chosen.key])


@given(dated, st.integers(0, 100))
def test_targets_known_later_reach_no_dated_row(drawn: list[tuple[str, int, int, float]], pick: int) -> None:
    assert_later_targets_are_not_seen(dated_issues(drawn), pick)


@given(undated, st.integers(0, 100))
def test_targets_known_later_reach_no_undated_row(drawn: list[tuple[str, float]], pick: int) -> None:
    assert_later_targets_are_not_seen(undated_issues(drawn), pick)


@given(dated, undated, st.integers(0, 100))
def test_targets_known_later_reach_no_row_where_some_have_dates(
    drawn: list[tuple[str, int, int, float]], others: list[tuple[str, float]], pick: int
) -> None:
    renamed = [(project + "2", value) for project, value in others]
    assert_later_targets_are_not_seen([*dated_issues(drawn), *undated_issues(renamed)], pick)


@given(dated, st.integers(0, 100))
def test_a_dated_row_never_sees_its_own_target_even_one_known_at_its_creation(
    drawn: list[tuple[str, int, int, float]], pick: int
) -> None:
    assert_its_own_target_is_not_seen(dated_issues(drawn), pick)


@given(dated, undated, st.integers(0, 100))
def test_no_row_sees_its_own_target_where_some_have_dates(
    drawn: list[tuple[str, int, int, float]], others: list[tuple[str, float]], pick: int
) -> None:
    renamed = [(project + "2", value) for project, value in others]
    assert_its_own_target_is_not_seen([*dated_issues(drawn), *undated_issues(renamed)], pick)


@given(dated)
def test_in_mixed_data_a_dated_outcome_is_known_no_earlier_than_it_was(
    drawn: list[tuple[str, int, int, float]],
) -> None:
    issues = dated_issues(drawn)
    rows = rows_of_issues(STORY_POINTS, [*issues, *undated_issues([("Z", 1.0)])]).rows
    by_key = {issue.key: issue for issue in issues}
    asked = [(row, by_key[row.key]) for row in rows if row.key in by_key]
    for row, issue in asked:
        for other, other_issue in asked:
            if other.cluster == row.cluster and other.known_at <= row.asked_at and other is not row:
                assert other_issue.story_points_known_at <= issue.created_at


@settings(max_examples=40)
@given(dated)
def test_a_version_learns_only_from_what_was_known_at_its_cut(drawn: list[tuple[str, int, int, float]]) -> None:
    rows = rows_of_issues(STORY_POINTS, dated_issues(drawn)).rows
    examples = make_examples(rows, resolve(STORY_POINTS.scorer))
    cut = examples.cut_at(1 - HELD_BACK_SHARE)
    assert all(example.asked_at < cut and example.known_at <= cut for example in examples.known_by(cut))
    assert all(example.asked_at >= cut for example in examples.asked_between(cut, float("inf")))
    assert isinstance(examples, Examples)


def test_rows_of_the_store_are_the_rows_of_its_issues(database: Database, model_type: ModelType) -> None:
    issues = dated_issues([("A", hour, hour % 7, 3.0) for hour in range(20)])
    with database.transaction() as connection:
        import_issues(connection, issues)
    found = read_rows(database, model_type)
    expected = rows_of_issues(model_type, issues)
    assert found.time_basis == expected.time_basis == "date"
    assert [replace(row, cluster="A") for row in found.rows] == list(expected.rows)


def test_altered_later_targets_change_no_earlier_answer_of_a_walk(
    model_type: ModelType, planted: Callable[..., str]
) -> None:
    answer_many = resolve(model_type.answer_many)
    answers: dict[tuple[str, float], list[Any]] = {}

    def recorded(requests: Sequence[Any], context: Any) -> list[Any]:
        found = answer_many(requests, context)
        for request, answer in zip(requests, found, strict=True):
            prediction = answer.prediction
            said = (prediction.settled.value, prediction.low, prediction.high, prediction.rule, str(answer.fields))
            answers.setdefault((request.project_id, context.moment), []).append(said)
        return found

    recording = replace(model_type, answer_many=f"{planted(answer_many=recorded)}:answer_many")
    rows = rows_of_issues(model_type, generate_issues(Portfolio(projects=2, issues=140))).rows
    # Outcomes that come in late, as in a tracker; every other one with a delay of its own.
    rows = [replace(row, known_at=row.known_at + (0.05 if number % 2 else 0.0)) for number, row in enumerate(rows)]
    turn = 0.69  # between two refits: neither a version nor an answer before it may look beyond
    evaluate(recording, rows)
    first, answers = answers, {}
    evaluate(recording, [replace(row, target=13.0) if row.known_at > turn else row for row in rows])
    before = {key: said for key, said in first.items() if key[1] <= turn}
    assert len(before) > 50
    assert {rule for said in before.values() for (_, _, _, rule, _) in said} >= {"linear_text"}
    assert {key: said for key, said in answers.items() if key[1] <= turn} == before
    assert answers != first  # the alteration does reach the answers after it


def test_a_scorer_is_handed_the_request_the_cluster_and_known_outcomes_alone(
    model_type: ModelType, planted: Callable[..., str]
) -> None:
    assert list(inspect.signature(Scorer.extract).parameters) == ["self", "request", "cluster", "outcomes"]
    handed: list[tuple[Mapping[str, Any], str, Outcomes]] = []

    class Curious:
        def extract(self, request: Mapping[str, Any], cluster: str, outcomes: Outcomes) -> None:
            handed.append((request, cluster, outcomes))

    issues = [
        replace(issue, effort_hours=4.0, assignee="ada", completed_at=START + timedelta(days=90))
        for issue in dated_issues([("A", hour, 5, 3.0) for hour in range(10)])
    ]
    make_examples(rows_of_issues(model_type, issues).rows, Curious())
    assert len(handed) == len(issues)
    for request, cluster, outcomes in handed:
        assert set(request) <= set(model_type.request_type().model_fields)
        assert not set(request) & OUTCOME_FIELDS
        assert cluster == "A"
        assert isinstance(outcomes, Outcomes)


def test_no_request_has_an_outcome_field(model_type: ModelType) -> None:
    assert not set(model_type.request_type().model_fields) & OUTCOME_FIELDS


def test_a_title_changed_later_does_not_reach_the_request(model_type: ModelType) -> None:
    (plain,) = dated_issues([("A", 0, 10, 3.0)])
    later = START + timedelta(hours=3)
    change = IssueChange(field="title", before="As it was asked", after="As it was done", changed_at=later)
    (row,) = rows_of_issues(model_type, [replace(plain, title="As it was done", changes=(change,))]).rows
    assert row.request["title"] == "As it was asked"


def test_a_title_changed_at_the_creation_is_the_title_that_was_asked(model_type: ModelType) -> None:
    (plain,) = dated_issues([("A", 0, 10, 3.0)])
    change = IssueChange(field="title", before="Draft", after="Asked", changed_at=plain.created_at)
    (row,) = rows_of_issues(model_type, [replace(plain, title="Asked", changes=(change,))]).rows
    assert row.request["title"] == "Asked"


@pytest.mark.parametrize("dates", [True, False])
def test_a_text_that_a_later_import_changed_does_not_reach_the_request(
    database: Database, model_type: ModelType, dates: bool
) -> None:
    (issue,) = dated_issues([("A", 0, 10, 3.0)]) if dates else undated_issues([("A", 3.0)])
    for version in (issue, replace(issue, title="Renamed when it was done", description="took three days")):
        with database.transaction() as connection:
            import_issues(connection, [version])
    (row,) = read_rows(database, model_type).rows
    assert (row.request["title"], row.request["description"]) == (issue.title, "")


def test_held_back_targets_change_nothing_that_serves(model_type: ModelType, examples: Examples) -> None:
    cut = examples.cut_at(1 - HELD_BACK_SHARE)
    altered = Examples(
        replace(example, target=99.0) if example.asked_at >= cut or example.known_at > cut else example
        for example in examples
    )
    files, others = (fit(model_type, each).bundle.files() for each in (examples, altered))
    assert others == files
