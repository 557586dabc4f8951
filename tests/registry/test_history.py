"""What the store says was known equals what training and evaluation say was known."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forecastle.errors import NotFoundError
from forecastle.features.recency import History
from forecastle.records.issues import IssueChange, IssueRecord
from forecastle.records.outcomes import NONE_KNOWN, RECENT, ROLLING, Known, Outcomes
from forecastle.registry.dataset import read_rows, rows_of_issues
from forecastle.registry.examples import histories_of
from forecastle.registry.history import StoredHistory
from forecastle.store.database import Database
from forecastle.store.issues import import_issues
from forecastle.store.tenants import get_project
from forecastle.store.unlearning import mark_period
from projects import get_model_type

EFFORT = get_model_type("delivery.effort")
POINTS = get_model_type("delivery.story_points")
START = datetime(2024, 1, 1, tzinfo=UTC)
FAR = datetime(2100, 1, 1, tzinfo=UTC)


class Drawn(NamedTuple):
    """One issue: hours since START, who and what it was, and what it was before its edits."""

    created: int
    delay: int
    hours: float | None
    points: float | None
    estimate: float | None
    issue_type: str | None
    component: str | None
    reporter: str | None
    assignee: str | None
    edits: dict[str, tuple[int, str | None]]
    """By field: how many hours after the creation it took the value it has, and what it held before."""


before = {
    "component": st.sampled_from([None, "a", "b", "a" * 200]),
    "issue_type": st.sampled_from(["Bug", "Task"]),
    "assignee": st.sampled_from([None, "ada", "bob"]),
    "estimate_hours": st.sampled_from([None, "1.0", "2.0"]),
    "title": st.sampled_from(["Draft", "Sketch"]),
}
edits = st.fixed_dictionaries(
    {}, optional={field: st.tuples(st.integers(0, 12), held) for field, held in before.items()}
)  # fmt: skip
drawn_issue = st.builds(
    Drawn,
    created=st.integers(0, 5),  # few hours: many things happen at the same moment
    delay=st.integers(0, 5),
    hours=st.one_of(st.none(), st.sampled_from([1.0, 2.0, 4.0, 8.0]), st.floats(0.01, 500)),
    points=st.sampled_from([None, 1.0, 2.0, 3.0, 5.0]),
    estimate=st.sampled_from([None, 1.0, 2.0, 4.0]),
    issue_type=st.sampled_from([None, "Bug", "Task"]),
    component=st.sampled_from([None, "a", "b", "a" * 150 + "b", "a" * 150 + "c"]),
    reporter=st.sampled_from([None, "ada", "cyd"]),
    assignee=st.sampled_from([None, "ada", "bob"]),
    edits=edits,
)
requests = st.fixed_dictionaries(
    {},
    optional={
        "issue_type": st.sampled_from(["Bug", "Task", "Epic"]),
        "component": st.sampled_from(["a", "b", "a" * 150 + "b", "c"]),
        "reporter": st.sampled_from(["ada", "cyd", "nobody"]),
        "assignee": st.sampled_from(["ada", "bob", "nobody"]),
        "estimate_hours": st.sampled_from([1.0, 2.0, 3.0]),
    },
)


def issue_of(project: str, number: int, drawn: Drawn, dated: bool) -> IssueRecord:
    created = START + timedelta(hours=drawn.created)
    done = created + timedelta(hours=drawn.delay)
    shared: dict[str, Any] = {
        "project_key": project, "key": f"{project}-{number}", "ordinal": number, "title": f"Issue {number}",
        "description": "", "issue_type": drawn.issue_type, "component": drawn.component, "reporter": drawn.reporter,
        "assignee": drawn.assignee, "estimate_hours": drawn.estimate, "effort_hours": drawn.hours,
        "story_points": drawn.points,
    }  # fmt: skip
    if not dated:
        return IssueRecord(**shared, time_basis="ordinal")
    edited = sorted(drawn.edits.items(), key=lambda item: item[1][0])
    changes = [
        IssueChange(field=field, before=held, after=None, changed_at=created + timedelta(hours=after))
        for field, (after, held) in edited
    ]
    return IssueRecord(
        **shared,
        time_basis="date",
        created_at=created,
        completed_at=None if drawn.hours is None else done,
        story_points_known_at=None if drawn.points is None else done,
        changes=tuple(changes),
    )


def keep(database: Database, issues: Sequence[IssueRecord]) -> None:
    with database.transaction() as connection:
        import_issues(connection, issues)


def walked(database: Database, project: str, model_type: Any = EFFORT) -> History:
    with database.transaction() as connection:
        identifier = get_project(connection, project).id
    return histories_of(model_type, read_rows(database, model_type, identifier).rows)[str(identifier)]


def stored(database: Database, project: str, request: Mapping[str, Any], moment: datetime, kind: Any = EFFORT) -> Known:
    (found,) = StoredHistory(database, kind).known([{**request, "project_id": project}], moment)
    assert found is not None
    return found[1]


def assert_outcomes(found: Outcomes, expected: Outcomes) -> None:
    assert (found.count, found.recent, str(found.estimates)) == (
        expected.count,
        expected.recent,
        str(expected.estimates),
    )
    if expected.count:
        assert math.isclose(found.mean, expected.mean, rel_tol=1e-9, abs_tol=1e-12)
        assert math.isclose(found.median, expected.median, rel_tol=1e-12, abs_tol=1e-12)
    else:
        assert found is NONE_KNOWN


def assert_known(found: Known, expected: Known) -> None:
    assert_outcomes(found.project, expected.project)
    assert set(found.groups) == set(expected.groups)
    for name, outcomes in found.groups.items():
        assert_outcomes(outcomes, expected.groups[name])
    assert list(found.cases) == list(expected.cases)


@pytest.mark.parametrize("model_type", [EFFORT, POINTS], ids=lambda declared: declared.name)
@pytest.mark.parametrize("edited", [False, True])
def test_dated_history_of_the_store_equals_that_of_a_walk(database: Database, model_type: Any, edited: bool) -> None:
    names = (f"P{number}" for number in count())

    @settings(max_examples=30, deadline=None)
    @given(st.lists(drawn_issue, min_size=1, max_size=25), requests, st.integers(-1, 11))
    def equal(drawn: list[Drawn], request: dict[str, Any], hour: int) -> None:
        project = next(names)
        drawn = drawn if edited else [one._replace(edits={}) for one in drawn]
        keep(database, [issue_of(project, number, one, dated=True) for number, one in enumerate(drawn)])
        changes = [one.created + after for one in drawn for after, _ in one.edits.values()]
        moment = START + timedelta(hours=max([hour, *changes]))  # the store shows issues as they look now
        asked = {name: value for name, value in request.items() if name in model_type.request_type().model_fields}
        if any(getattr(one, "hours" if model_type is EFFORT else "points") is not None for one in drawn):
            expected = walked(database, project, model_type).at(moment.timestamp(), model_type.group_keys(asked))
        else:
            expected = Known()
        assert_known(stored(database, project, asked, moment, model_type), expected)

    equal()


@pytest.mark.parametrize("model_type", [EFFORT, POINTS], ids=lambda declared: declared.name)
def test_what_is_to_be_unlearned_is_no_part_of_what_was_known(database: Database, model_type: Any) -> None:
    names = (f"P{number}" for number in count())
    hours = st.tuples(st.integers(0, 9), st.integers(1, 9))

    @settings(max_examples=30, deadline=None)
    @given(st.lists(drawn_issue, min_size=1, max_size=25), requests, st.lists(hours, min_size=1, max_size=3))
    def equal(drawn: list[Drawn], request: dict[str, Any], periods: list[tuple[int, int]]) -> None:
        project = next(names)
        issues = [issue_of(project, number, one._replace(edits={}), dated=True) for number, one in enumerate(drawn)]
        keep(database, [*issues, issue_of(f"other {project}", 0, drawn[0], dated=True)])
        for begins, length in periods:
            mark(database, model_type, project, START + timedelta(hours=begins), timedelta(hours=length))
        asked = {name: value for name, value in request.items() if name in model_type.request_type().model_fields}
        with database.transaction() as connection:
            identifier = get_project(connection, project).id
        known = histories_of(model_type, read_rows(database, model_type, identifier).rows).get(str(identifier))
        moment = START + timedelta(hours=11)
        expected = known.at(moment.timestamp(), model_type.group_keys(asked)) if known else Known()
        assert_known(stored(database, project, asked, moment, model_type), expected)

    equal()


def mark(database: Database, model_type: Any, project: str, begins: datetime, length: timedelta) -> None:
    """A period that was marked before all that happens here."""
    with database.transaction() as connection:
        found = get_project(connection, project).id
        period = mark_period(connection, model_type.name, found, begins, begins + length, "wrong", "ada")
        connection.execute("update unlearned_periods set marked_at = %s where id = %s", (START, period.id))


def test_undated_history_of_the_store_equals_that_of_a_walk(database: Database) -> None:
    names = (f"P{number}" for number in count())

    @settings(max_examples=30, deadline=None)
    @given(st.lists(drawn_issue, min_size=1, max_size=25), requests)
    def equal(drawn: list[Drawn], request: dict[str, Any]) -> None:
        project = next(names)
        known = [replace(issue_of(project, 0, drawn[0], dated=False), effort_hours=3.0)]
        known += [issue_of(project, number, one, dated=False) for number, one in enumerate(drawn[1:], start=1)]
        keep(database, known)
        expected = walked(database, project).at(1.0, EFFORT.group_keys(request))
        assert_known(stored(database, project, request, FAR), expected)
        assert stored(database, project, request, START) == Known()

    equal()


def test_only_the_latest_come_one_by_one(database: Database) -> None:
    issues = [
        issue_of("P", number, Drawn(number, 0, float(number + 1), None, 2.0, "Bug", None, None, None, {}), dated=True)
        for number in range(RECENT + 30)
    ]
    keep(database, issues)
    known = stored(database, "P", {"issue_type": "Bug"}, FAR)
    assert_known(known, walked(database, "P").at(FAR.timestamp(), EFFORT.group_keys({"issue_type": "Bug"})))
    assert known.project.count == RECENT + 30
    assert known.project.recent[-1] == RECENT + 30
    assert len(known.project.recent) == len(known.project.estimates) == len(known.cases) == RECENT
    assert len(known.groups["issue_type"].recent) == ROLLING


def plain(number: int = 0, **changed: Any) -> IssueRecord:
    issue = issue_of("P", number, Drawn(0, 10, 3.0, None, None, "Bug", "a", "cyd", None, {}), dated=True)
    return replace(issue, **changed)


def test_a_component_that_was_changed_after_the_creation_counts_from_the_change_on(database: Database) -> None:
    for hour in (5, 15):  # before the completion, and after it
        moment = START + timedelta(hours=hour)
        change = IssueChange(field="component", before="a", after="b", changed_at=moment)
        issue = plain(component="b", changes=(change,))
        (history,) = histories_of(EFFORT, rows_of_issues(EFFORT, [issue]).rows).values()

        def groups(at: float, component: str, history: History = history) -> set[str]:
            return set(history.at((START + timedelta(hours=at)).timestamp(), {"component": (component,)}).groups)

        known = max(hour, 10)
        assert groups(known, "b") == {"component"}
        assert groups(known, "a") == set()
        assert groups(known - 0.1, "b") == set()
        assert groups(known - 0.1, "a") == ({"component"} if hour == 15 else set())
        keep(database, [replace(issue, project_key=f"P{hour}")])
        assert set(stored(database, f"P{hour}", {"component": "b"}, FAR).groups) == {"component"}
        assert set(stored(database, f"P{hour}", {"component": "a"}, FAR).groups) == set()


def test_who_completed_an_issue_counts_although_nobody_knew_at_its_creation(database: Database) -> None:
    (row,) = rows_of_issues(EFFORT, [plain(assignee="ada")]).rows
    assert "assignee" not in row.request
    keep(database, [plain(assignee="ada")])
    asked = {"assignee": "ada", "issue_type": "Bug"}
    expected = walked(database, "P").at(FAR.timestamp(), EFFORT.group_keys(asked))
    assert set(expected.groups) == {"assignee", "issue_type", "assignee_type"}
    assert_known(stored(database, "P", asked, FAR), expected)


def test_edits_that_a_later_import_brings_count_from_that_import_on(database: Database) -> None:
    keep(database, [plain(completed_at=None, effort_hours=None)])
    keep(database, [plain(assignee="ada", component="b", estimate_hours=2.0, title="Done so")])
    asked = {"assignee": "ada", "component": "b", "estimate_hours": 2.0}
    now = datetime.now(UTC)
    history = walked(database, "P")
    expected = history.at(now.timestamp(), EFFORT.group_keys(asked))
    assert set(expected.groups) == {"assignee", "component", "same_estimate"}
    assert (expected.project.estimates, expected.cases[0].title) == ((2.0,), "Done so")
    assert_known(stored(database, "P", asked, now), expected)
    earlier = history.at((START + timedelta(days=30)).timestamp(), EFFORT.group_keys(asked))
    assert (earlier.groups, earlier.cases[0].title) == ({}, "Issue 0")


def test_many_requests_are_answered_in_their_order_and_unknown_projects_with_nothing(database: Database) -> None:
    issues = [
        replace(plain(number, effort_hours=float(number + 1), component="ab"[number % 2]), project_key=project)
        for project in ("A", "B")
        for number in range(4)
    ]
    keep(database, issues)
    history = StoredHistory(database, EFFORT)
    asked = [
        {"project_id": "A", "component": "a"},
        {"project_id": "nowhere", "component": "a"},
        {"project_id": "B", "component": "b"},
        {"project_id": "A", "component": "a"},
        {"project_id": "A"},
    ]
    found = history.known(asked, FAR)
    assert [each and sorted(each[1].groups) for each in found] == [
        ["component"],
        None,
        ["component"],
        ["component"],
        [],
    ]
    assert found[0] == found[3]
    assert found[0] is not None
    assert found[2] is not None
    assert found[0][1].groups["component"].recent == (1.0, 3.0)
    assert found[2][1].groups["component"].recent == (2.0, 4.0)
    by_id = history.known([{"project_id": found[0][0], "component": "a"}], FAR)
    assert by_id == [found[0]]
    assert history.known([], FAR) == []


def test_a_group_by_what_no_issue_is_found_by_is_not_found(database: Database) -> None:
    history = StoredHistory(database, replace(EFFORT, groups={"title": ("title",)}))
    with pytest.raises(NotFoundError, match="no issues are grouped by title"):
        history.known([{"project_id": "P"}], FAR)
