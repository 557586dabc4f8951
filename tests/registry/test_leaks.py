"""Nothing that became known later reaches a row, a version or an answer."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from generated import every_model_type, quick, rows_for
from hypothesis import given, settings
from hypothesis import strategies as st

from forecastle.records.issues import IssueChange, IssueRecord
from forecastle.records.outcomes import Known
from forecastle.registry.dataset import read_rows, rows_of_issues
from forecastle.registry.declaration import ModelType, Scorer, resolve
from forecastle.registry.evaluation import evaluate
from forecastle.registry.examples import Extracted, Row, extract_all
from forecastle.registry.training import HELD_BACK_SHARE, fit
from forecastle.store.database import Database
from forecastle.store.issues import import_issues
from projects import get_model_type

START = datetime(2024, 1, 1, tzinfo=UTC)
STORY_POINTS, EFFORT = get_model_type("delivery.story_points"), get_model_type("delivery.effort")
OUTCOME_FIELDS = {"story_points", "story_points_known_at", "effort_hours", "completed_at", "target"}

outcomes = st.sampled_from([1.0, 2.0, 3.0, 5.0, 8.0, 13.0])
estimates = st.sampled_from([None, 2.0, 4.0])
kinds = st.sampled_from(["Bug", "Story"])
words = st.sampled_from(["Fix the button", "Fix the importer", "Rewrite the billing"])
dated = st.lists(
    st.tuples(st.sampled_from("AB"), st.integers(0, 30), st.integers(0, 40), outcomes, words, kinds, estimates),
    min_size=1,
    max_size=25,
)
undated = st.lists(st.tuples(st.sampled_from("AB"), outcomes, words, kinds, estimates), min_size=1, max_size=25)
Dated = tuple[str, int, int, float, str, str, float | None]
Undated = tuple[str, float, str, str, float | None]


def dated_issues(drawn: Sequence[Dated]) -> list[IssueRecord]:
    """Issues that were created at some hour and whose outcome was known some hours later, maybe none."""
    return [
        IssueRecord(
            project_key=project,
            key=f"{project}-{number}",
            ordinal=number,
            time_basis="date",
            created_at=START + timedelta(hours=created),
            completed_at=START + timedelta(hours=created + delay),
            story_points_known_at=START + timedelta(hours=created + delay),
            title=title,
            description="",
            issue_type=kind,
            component=kind,
            reporter=kind,
            story_points=value,
            effort_hours=value,
            estimate_hours=estimate,
        )
        for number, (project, created, delay, value, title, kind, estimate) in enumerate(drawn)
    ]


def undated_issues(drawn: Sequence[Undated]) -> list[IssueRecord]:
    return [
        IssueRecord(
            project_key=project,
            key=f"{project}-{number}",
            ordinal=number,
            time_basis="ordinal",
            title=title,
            description="",
            issue_type=kind,
            component=kind,
            story_points=value,
            effort_hours=value,
            estimate_hours=estimate,
        )
        for number, (project, value, title, kind, estimate) in enumerate(drawn)
    ]


def elsewhere(drawn: Sequence[Undated]) -> list[IssueRecord]:
    """Undated issues of projects of their own."""
    return undated_issues([(project + "2", *rest) for project, *rest in drawn])


def some(hours: int = 20) -> list[IssueRecord]:
    return dated_issues([("A", hour, hour % 7, 3.0, "An issue", "Bug", None) for hour in range(hours)])


def seen(extracted: Extracted, key: str) -> list[str]:
    """What a row shows a trainer, in every view; compared as text, since NaN equals nothing."""
    return [
        str((view, example.request, example.known, example.features))
        for view, examples in extracted.views.items()
        for example in examples
        if example.key == key
    ]


def assert_not_seen(issues: Sequence[IssueRecord], pick: int, hidden: Callable[[Row, Row], bool]) -> None:
    """Targets that are hidden from the picked row change nothing that it shows, whatever the model type."""
    for model_type in (STORY_POINTS, EFFORT):
        rows = rows_of_issues(model_type, issues).rows
        chosen = rows[pick % len(rows)]
        altered = [replace(row, target=99.0) if hidden(row, chosen) else row for row in rows]
        shown = seen(extract_all(model_type, rows), chosen.key)
        assert len(shown) >= 1
        assert seen(extract_all(model_type, altered), chosen.key) == shown


def known_later(row: Row, chosen: Row) -> bool:
    return row.known_at > chosen.asked_at


def its_own(row: Row, chosen: Row) -> bool:
    return row is chosen


@settings(max_examples=50)
@given(dated, st.integers(0, 100))
def test_targets_known_later_reach_no_dated_row_no_group_and_no_case(drawn: list[Dated], pick: int) -> None:
    assert_not_seen(dated_issues(drawn), pick, known_later)


@settings(max_examples=50)
@given(undated, st.integers(0, 100))
def test_targets_known_later_reach_no_undated_row_no_group_and_no_case(drawn: list[Undated], pick: int) -> None:
    assert_not_seen(undated_issues(drawn), pick, known_later)


@settings(max_examples=50)
@given(dated, undated, st.integers(0, 100))
def test_targets_known_later_reach_no_row_where_some_have_dates(
    drawn: list[Dated], others: list[Undated], pick: int
) -> None:
    assert_not_seen([*dated_issues(drawn), *elsewhere(others)], pick, known_later)


@settings(max_examples=50)
@given(dated, st.integers(0, 100))
def test_a_dated_row_never_sees_its_own_target_even_one_known_at_its_creation(drawn: list[Dated], pick: int) -> None:
    assert_not_seen(dated_issues(drawn), pick, its_own)


@settings(max_examples=50)
@given(dated, undated, st.integers(0, 100))
def test_no_row_sees_its_own_target_where_some_have_dates(drawn: list[Dated], others: list[Undated], pick: int) -> None:
    assert_not_seen([*dated_issues(drawn), *elsewhere(others)], pick, its_own)


@settings(max_examples=50)
@given(dated, st.integers(0, 100))
def test_targets_of_other_projects_reach_no_row(drawn: list[Dated], pick: int) -> None:
    assert_not_seen(dated_issues(drawn), pick, lambda row, chosen: row.cluster != chosen.cluster)


@settings(max_examples=50)
@given(dated, st.integers(0, 100))
def test_what_was_known_of_a_row_is_what_was_known_by_then_and_nothing_else(drawn: list[Dated], pick: int) -> None:
    """The other way round: a target that was known does reach the row, in its groups and cases too."""
    for model_type in (STORY_POINTS, EFFORT):
        rows = rows_of_issues(model_type, dated_issues(drawn)).rows
        chosen = rows[pick % len(rows)]
        last = extract_all(model_type, rows).views[list(model_type.views)[-1]]
        (example,) = (one for one in last if one.key == chosen.key)
        earlier = [row for row in rows if row.cluster == chosen.cluster and row.known_at <= chosen.asked_at]
        of_type = [row for row in earlier if row.request["issue_type"] == chosen.request["issue_type"]]
        known = example.known
        assert sorted(known.project.recent) == sorted(row.target for row in earlier)
        assert sorted(known.group("issue_type").recent) == sorted(row.target for row in of_type)
        assert sorted(case.key for case in known.cases) == sorted(row.key for row in earlier)


@given(dated)
def test_in_mixed_data_a_dated_outcome_is_known_no_earlier_than_it_was(drawn: list[Dated]) -> None:
    issues = dated_issues(drawn)
    mixed = [*issues, *undated_issues([("Z", 1.0, "An issue", "Bug", None)])]
    rows = rows_of_issues(STORY_POINTS, mixed).rows
    by_key = {issue.key: issue for issue in issues}
    asked = [(row, by_key[row.key]) for row in rows if row.key in by_key]
    for row, issue in asked:
        for other, other_issue in asked:
            if other.cluster == row.cluster and other.known_at <= row.asked_at and other is not row:
                assert other_issue.story_points_known_at <= issue.created_at


@settings(max_examples=40)
@given(dated)
def test_a_version_learns_only_from_what_was_known_at_its_cut(drawn: list[Dated]) -> None:
    extracted = extract_all(EFFORT, rows_of_issues(EFFORT, dated_issues(drawn)).rows)
    cut = extracted.views["unestimated"].cut_at(1 - HELD_BACK_SHARE)
    earlier = extracted.known_by(cut)
    assert all(row.asked_at < cut and row.known_at <= cut for row in earlier.rows)
    for view, examples in extracted.views.items():
        taught = examples.known_by(cut)
        assert [example.key for example in taught] == [example.key for example in earlier.views[view]]
        assert all(example.asked_at < cut and example.known_at <= cut for example in taught)
        assert all(example.asked_at >= cut for example in examples.asked_between(cut, float("inf")))


@every_model_type
def test_rows_of_the_store_are_the_rows_of_its_issues(database: Database, model_type: ModelType) -> None:
    issues = some()
    with database.transaction() as connection:
        import_issues(connection, issues)
    found = read_rows(database, model_type)
    expected = rows_of_issues(model_type, issues)
    assert found.time_basis == expected.time_basis == "date"
    assert [replace(row, cluster="A") for row in found.rows] == list(expected.rows)


@every_model_type
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

    recording = replace(quick(model_type), answer_many=f"{planted(answer_many=recorded)}:answer_many")
    rows = list(rows_for(model_type, projects=2, issues=140))
    if model_type is STORY_POINTS:
        # Outcomes that come in late, as in a tracker; every other one with a delay of its own.
        rows = [replace(row, known_at=row.known_at + (0.05 if n % 2 else 0.0)) for n, row in enumerate(rows)]
    turn = sorted(row.asked_at for row in rows)[int(0.69 * len(rows))]
    # Between two refits: neither a version nor an answer before it may look beyond.
    evaluate(recording, rows)
    first, answers = answers, {}
    evaluate(recording, [replace(row, target=13.0) if row.known_at > turn else row for row in rows])
    before = {key: said for key, said in first.items() if key[1] <= turn}
    assert len(before) > 50
    assert {rule for said in before.values() for (_, _, _, rule, _) in said} & {"linear_text", "blend", "shrinkage"}
    assert {key: said for key, said in answers.items() if key[1] <= turn} == before
    assert answers != first  # the alteration does reach the answers after it


@every_model_type
def test_a_scorer_is_handed_the_request_the_cluster_and_known_outcomes_alone(
    model_type: ModelType, planted: Callable[..., str]
) -> None:
    assert list(inspect.signature(Scorer.extract).parameters) == ["self", "request", "cluster", "known"]
    handed: list[tuple[Mapping[str, Any], str, Known]] = []

    class Curious:
        def extract(self, request: Mapping[str, Any], cluster: str, known: Known) -> None:
            handed.append((request, cluster, known))

    issues = [replace(issue, assignee="ada", completed_at=START + timedelta(days=90)) for issue in some(10)]
    curious = replace(model_type, scorer=f"{planted(SCORER=Curious())}:SCORER")
    extract_all(curious, rows_of_issues(model_type, issues).rows)
    assert len(handed) == len(issues)  # without an estimate, no other view sees them
    for request, cluster, known in handed:
        assert set(request) <= set(model_type.request_type().model_fields)
        assert not set(request) & (OUTCOME_FIELDS | {"assignee"})  # the final assignee, exported at the completion
        assert cluster == "A"
        assert isinstance(known, Known)


@every_model_type
def test_no_request_has_an_outcome_field(model_type: ModelType) -> None:
    assert not set(model_type.request_type().model_fields) & OUTCOME_FIELDS


CHANGED = [("title", "As it was asked", "As it was done"), ("component", "search", "billing"),
           ("issue_type", "Bug", "Story"), ("estimate_hours", "2.0", "16.0"), ("priority", "Low", "High"),
           ("assignee", "ada", "grace"), ("reporter", "ada", "grace")]  # fmt: skip


@every_model_type
@pytest.mark.parametrize("field, before, after", CHANGED)
def test_what_changed_later_does_not_reach_the_request(
    model_type: ModelType, field: str, before: str, after: str
) -> None:
    plain, later = some(1)[0], START + timedelta(hours=3)
    change = IssueChange(field=field, before=before, after=after, changed_at=later)
    final = float(after) if field == "estimate_hours" else after
    plain = replace(plain, completed_at=START + timedelta(hours=10), story_points_known_at=START + timedelta(hours=10))
    (row,) = rows_of_issues(model_type, [replace(plain, **{field: final}, changes=(change,))]).rows
    if field in model_type.request_type().model_fields:
        assert str(row.request[field]) == before
    assert after not in str(row.request).replace(plain.title, "")


@every_model_type
def test_an_edit_counts_in_groups_from_its_own_moment_on(model_type: ModelType) -> None:
    first, *others = some(12)
    done, edited = START + timedelta(hours=1), START + timedelta(hours=8)
    change = IssueChange(field="issue_type", before="Bug", after="Epic", changed_at=edited)
    changed = replace(first, completed_at=done, story_points_known_at=done, issue_type="Epic", changes=(change,))
    extracted = extract_all(model_type, rows_of_issues(model_type, [changed, *others]).rows)
    left_out = {
        example.asked_at < edited.timestamp(): example.known.project.count - example.known.group("issue_type").count
        for example in extracted.views[list(model_type.views)[-1]]
    }
    assert left_out == {True: 0, False: 1}


def test_a_title_changed_at_the_creation_is_the_title_that_was_asked(model_type: ModelType) -> None:
    (plain,) = some(1)
    change = IssueChange(field="title", before="Draft", after="Asked", changed_at=plain.created_at)
    (row,) = rows_of_issues(model_type, [replace(plain, title="Asked", changes=(change,))]).rows
    assert row.request["title"] == "Asked"


@every_model_type
@pytest.mark.parametrize("dates", [True, False])
def test_a_text_that_a_later_import_changed_does_not_reach_the_request(
    database: Database, model_type: ModelType, dates: bool
) -> None:
    (issue,) = some(1) if dates else undated_issues([("A", 3.0, "An issue", "Bug", None)])
    for version in (issue, replace(issue, title="Renamed when it was done", description="took three days")):
        with database.transaction() as connection:
            import_issues(connection, [version])
    (row,) = read_rows(database, model_type).rows
    assert (row.request["title"], row.request["description"]) == (issue.title, "")


@every_model_type
def test_held_back_targets_change_nothing_that_serves(model_type: ModelType) -> None:
    rows = sorted(rows_for(model_type), key=lambda row: row.asked_at)
    cut = rows[int((1 - HELD_BACK_SHARE) * len(rows))].asked_at
    altered = [replace(row, target=99.0) if row.asked_at >= cut or row.known_at > cut else row for row in rows]
    assert altered != rows
    learned = quick(model_type)
    files, others = (fit(learned, extract_all(learned, each)).bundle.files() for each in (rows, altered))
    assert others == files
