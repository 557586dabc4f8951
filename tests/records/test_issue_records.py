"""as_of shows what was known, and nothing else."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forecastle.errors import InputError
from forecastle.records.issues import IssueChange, IssueRecord, Moment, as_of

START = datetime(2024, 1, 1, tzinfo=UTC)
FIELDS = ["title", "description", "priority", "assignee", "story_points", "estimate_hours", "status"]
OUTCOMES = ["story_points", "story_points_known_at", "effort_hours", "completed_at", "assignee"]

hours = st.integers(0, 40)
texts = st.one_of(st.none(), st.sampled_from(["a", "b", "c", "3", "5"]))
edits = st.lists(st.tuples(hours, st.sampled_from(FIELDS), texts), max_size=6)
outcomes = st.fixed_dictionaries(
    {
        "completed": st.one_of(st.none(), hours),
        "points_known": st.one_of(st.none(), hours),
        "effort_hours": st.one_of(st.none(), st.floats(0.1, 99)),
        "story_points": st.one_of(st.none(), st.floats(0, 99)),
        "assignee": texts,
    }
)


def at(hour: int | None) -> datetime | None:
    return None if hour is None else START + timedelta(hours=hour)


def history(first: dict, edits: list, dated: bool) -> tuple[dict, tuple[IssueChange, ...]]:
    """The final text of every edited field and the changes which led there from `first`."""
    state, changes = dict(first), []
    for hour, field, text in sorted(edits, key=lambda edit: edit[0]):
        when = {"changed_at": at(hour)} if dated else {"ordinal": hour}
        changes.append(IssueChange(field=field, before=state.get(field), after=text, **when))
        state[field] = text
    return state, tuple(changes)


def issue(first: dict, edits: list, result: dict, dated: bool) -> IssueRecord:
    state, changes = history(first, edits, dated)
    edited = {change.field for change in changes}
    number = {name: float(state[name]) if (state.get(name) or "x").isdigit() else None for name in FIELDS}
    known = (
        {
            "created_at": START,
            "completed_at": at(result["completed"]),
            "story_points_known_at": at(result["points_known"]),
        }
        if dated
        else {}
    )
    return IssueRecord(
        project_key="P",
        key="P-1",
        ordinal=0,
        time_basis="date" if dated else "ordinal",
        title=state["title"] or "",
        description=state["description"],
        priority=state["priority"],
        assignee=state["assignee"] if "assignee" in edited else result["assignee"],
        story_points=number["story_points"] if "story_points" in edited else result["story_points"],
        estimate_hours=number["estimate_hours"],
        effort_hours=result["effort_hours"],
        changes=changes,
        **known,
    )


def moment_of(hour: int, dated: bool) -> Moment:
    return START + timedelta(hours=hour) if dated else hour


firsts = st.fixed_dictionaries(dict.fromkeys(FIELDS, texts))


@given(firsts, edits, outcomes, edits, outcomes, hours)
def test_nothing_that_became_known_later_has_any_influence_on_a_dated_issue(
    first: dict, some: list, result: dict, other: list, other_result: dict, hour: int
) -> None:
    past = [edit for edit in some if edit[0] <= hour]
    for mark in ("completed", "points_known"):
        if result[mark] is not None and result[mark] <= hour:
            other_result[mark] = result[mark]
            known = "effort_hours" if mark == "completed" else "story_points"
            other_result[known], other_result["assignee"] = result[known], result["assignee"]
        else:
            other_result[mark] = None if other_result[mark] is None else hour + 1 + other_result[mark]
    held = any(edit[1] == "assignee" for edit in (*some, *other))
    future = [edit for edit in some if edit[0] > hour]
    other_future = [(hour + 1 + late, field, text) for late, field, text in other if field != "assignee" or held]
    # Whether a field has a history at all must not differ: without one, the assignee is the final one.
    if any(edit[1] in ("assignee", "story_points") for edit in (*some, *other)):
        keep = [(hour + 1, name, first[name]) for name in ("assignee", "story_points")]
        future, other_future = [*keep, *future], [*keep, *other_future]
    one = issue(first, past + future, result, dated=True)
    two = issue(first, past + other_future, other_result, dated=True)
    assert as_of(one, moment_of(hour, True)) == as_of(two, moment_of(hour, True))


@given(firsts, edits, outcomes, outcomes)
def test_outcomes_of_the_row_itself_have_no_influence_on_an_undated_issue(
    first: dict, some: list, result: dict, other_result: dict
) -> None:
    one, two = (issue(first, some, outcome, dated=False) for outcome in (result, other_result))
    if not any(change.field in ("assignee", "story_points") for change in one.changes):
        assert as_of(one, 0) == as_of(two, 0)
    assert as_of(one, 0).effort_hours is None
    assert as_of(one, 0).story_points is None


@given(firsts, edits, outcomes, st.booleans(), hours)
def test_asking_twice_changes_nothing(first: dict, some: list, result: dict, dated: bool, hour: int) -> None:
    once = as_of(issue(first, some, result, dated), moment_of(hour, dated))
    assert as_of(once, moment_of(hour, dated)) == once


@given(firsts, edits, outcomes, st.booleans(), hours, hours)
def test_going_back_in_two_steps_is_going_back_at_once(
    first: dict, some: list, result: dict, dated: bool, hour: int, other: int
) -> None:
    whole, early, late = issue(first, some, result, dated), min(hour, other), max(hour, other)
    assert as_of(as_of(whole, moment_of(late, dated)), moment_of(early, dated)) == as_of(whole, moment_of(early, dated))


@given(firsts, outcomes, st.booleans(), hours, hours)
def test_a_later_moment_knows_at_least_as_much(first: dict, result: dict, dated: bool, hour: int, other: int) -> None:
    whole = issue(first, [], result, dated)
    early = as_of(whole, moment_of(min(hour, other), dated))
    late = as_of(whole, moment_of(max(hour, other), dated))
    for name in OUTCOMES:
        assert getattr(early, name) in (None, getattr(late, name))


@given(firsts, edits, outcomes, hours, hours)
def test_a_later_moment_keeps_every_change_that_an_earlier_one_knew(
    first: dict, some: list, result: dict, hour: int, other: int
) -> None:
    whole = issue(first, some, result, dated=True)
    known = as_of(whole, moment_of(min(hour, other), True)).changes
    later = as_of(whole, moment_of(max(hour, other), True)).changes
    assert [change for change in known if change in whole.changes] == [
        change for change in later if change in known and change in whole.changes
    ]


def dated(**values: object) -> IssueRecord:
    record = IssueRecord(project_key="P", key="P-1", ordinal=3, time_basis="date", title="t", created_at=START)
    return replace(record, **values)


def test_a_later_change_is_reverted_and_an_earlier_one_kept() -> None:
    early = IssueChange(field="priority", before="low", after="high", changed_at=at(1))
    late = IssueChange(field="priority", before="high", after="urgent", changed_at=at(9))
    shown = as_of(dated(priority="urgent", changes=(early, late)), at(5) or START)
    assert (shown.priority, shown.changes) == ("high", (early,))


def test_outcomes_appear_when_they_are_known() -> None:
    done = dated(completed_at=at(8), effort_hours=4.0, story_points=3.0, story_points_known_at=at(2), assignee="x")
    before, after = as_of(done, START + timedelta(hours=7)), as_of(done, START + timedelta(hours=8))
    assert (before.story_points, before.effort_hours, before.completed_at, before.assignee) == (
        3.0,
        None,
        None,
        None,
    )
    assert after == done


def test_story_points_without_a_known_moment_are_never_shown_for_a_dated_issue() -> None:
    assert as_of(dated(story_points=3.0), datetime(2999, 1, 1, tzinfo=UTC)).story_points is None


def test_the_first_assignee_is_known_when_a_later_change_tells() -> None:
    moved = IssueChange(field="assignee", before="ann", after="ben", changed_at=at(9))
    shown = as_of(dated(assignee="ben", changes=(moved,)), START)
    assert shown.assignee == "ann"
    assert shown.changes == (IssueChange(field="assignee", before=None, after="ann", changed_at=START),)


def test_an_undated_outcome_counts_as_known_at_the_next_row() -> None:
    row = IssueRecord(project_key="P", key="P-1", ordinal=3, time_basis="ordinal", title="t", story_points=5.0)
    assert as_of(row, 3).story_points is None
    assert as_of(row, 4).story_points == 5.0


def test_a_correction_without_a_place_in_time_does_not_hide_an_undated_outcome() -> None:
    change = IssueChange(field="story_points", before=None, after="5.0", changed_at=at(9))
    row = IssueRecord(
        project_key="P",
        key="P-1",
        ordinal=3,
        time_basis="ordinal",
        title="t",
        story_points=5.0,
        changes=(change,),
    )
    assert as_of(row, 4).story_points == 5.0
    assert as_of(row, 3).story_points is None


@pytest.mark.parametrize("moment", [3, datetime(2024, 1, 2), START - timedelta(seconds=1)])  # noqa: DTZ001
def test_a_dated_issue_refuses_an_ordinal_a_naive_moment_and_one_before_its_creation(moment: Moment) -> None:
    with pytest.raises(InputError):
        as_of(dated(), moment)


@pytest.mark.parametrize("moment", [START, 2])
def test_an_undated_issue_refuses_a_datetime_and_an_earlier_row(moment: Moment) -> None:
    row = IssueRecord(project_key="P", key="P-1", ordinal=3, time_basis="ordinal", title="t")
    with pytest.raises(InputError):
        as_of(row, moment)


def test_changes_out_of_order_are_refused() -> None:
    changes = tuple(IssueChange(field="title", before="a", after="b", changed_at=at(hour)) for hour in (5, 2))
    with pytest.raises(InputError, match="order"):
        dated(changes=changes)


def test_a_dated_issue_without_a_creation_or_with_a_naive_date_is_refused() -> None:
    with pytest.raises(InputError, match="created_at"):
        dated(created_at=None)
    with pytest.raises(InputError, match="zone"):
        dated(completed_at=datetime(2024, 1, 2))  # noqa: DTZ001
