"""An import writes what is new, keeps what changed, and does all of it or nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import psycopg
import pytest
from clocks import move_clock

from forecastle.records.issues import IssueChange, IssueRecord, as_of
from forecastle.store.database import Database
from forecastle.store.issues import ImportCounts, import_issues, read_issues
from forecastle.store.tenants import get_project

START = datetime(2024, 1, 1, tzinfo=UTC)

FULL = IssueRecord(
    project_key="A",
    key="A-1",
    ordinal=0,
    time_basis="date",
    created_at=START,
    completed_at=START + timedelta(days=2),
    title="Rename the button",
    description="Größe, 日本, 'quotes' and\ttabs\\n",
    issue_type="Story",
    component="admin",
    priority="high",
    reporter="Rita",
    assignee="Ada",
    story_points=3.0,
    story_points_known_at=START + timedelta(days=1),
    effort_hours=4.5,
    estimate_hours=0.1,
)


def issue(key: str, project: str = "A", title: str = "An issue") -> IssueRecord:
    return IssueRecord(project_key=project, key=key, ordinal=0, time_basis="ordinal", title=title)


def load(database: Database, issues: Sequence[IssueRecord]) -> ImportCounts:
    with database.transaction() as connection:
        return import_issues(connection, issues)


def stored(database: Database) -> list[IssueRecord]:
    with database.transaction() as connection:
        return list(read_issues(connection))


def test_an_issue_comes_back_as_it_was_imported(database: Database) -> None:
    load(database, [FULL])
    (found,) = stored(database)
    with database.transaction() as connection:
        project = get_project(connection, "A")
    assert replace(found, project_key="A") == FULL
    assert found.project_key == str(project.id)
    assert project.issues == 1


def test_importing_the_same_again_changes_nothing(database: Database) -> None:
    issues = [FULL, *(issue(f"A-{number}") for number in range(2, 6))]
    assert load(database, issues) == ImportCounts(new=5, changed=0, unchanged=0)
    before = stored(database)
    assert load(database, issues) == ImportCounts(new=0, changed=0, unchanged=5)
    assert stored(database) == before


def test_a_changed_issue_keeps_what_its_fields_held_before(database: Database) -> None:
    load(database, [FULL])
    later = replace(FULL, title="Rename the label", assignee="Bob", priority=None, story_points=5.0)
    assert load(database, [later]) == ImportCounts(new=0, changed=1, unchanged=0)
    (found,) = stored(database)
    assert {change.field: (change.before, change.after) for change in found.changes} == {
        "title": ("Rename the button", "Rename the label"),
        "assignee": ("Ada", "Bob"),
        "priority": ("high", None),
        "story_points": ("3", "5"),
    }
    assert replace(found, project_key="A", changes=()) == later
    assert all(change.changed_at > FULL.completed_at for change in found.changes)


def test_an_outcome_that_arrives_is_no_change_of_what_was_known(database: Database) -> None:
    unknown = {"story_points": None, "story_points_known_at": None, "effort_hours": None, "completed_at": None}
    load(database, [replace(FULL, **unknown)])
    assert load(database, [FULL]).changed == 1
    (found,) = stored(database)
    assert (found.story_points, found.changes) == (3.0, ())


def test_new_issues_follow_those_that_are_there_in_the_order_given(database: Database) -> None:
    load(database, [issue("A-7"), issue("B-1", "B"), issue("A-2")])
    load(database, [issue("A-9"), issue("A-2", title="Changed"), issue("A-1"), issue("B-2", "B")])
    found = [(record.ordinal, record.key) for record in stored(database)]
    assert found == [(0, "A-7"), (1, "A-2"), (2, "A-9"), (3, "A-1"), (0, "B-1"), (1, "B-2")]


def test_an_import_that_fails_in_the_middle_leaves_nothing(database: Database) -> None:
    load(database, [issue("A-1")])
    with pytest.raises(psycopg.errors.UniqueViolation):
        load(database, [issue("A-1", title="Changed"), issue("B-1", "B"), issue("C-1", "C"), issue("C-1", "C")])
    (found,) = stored(database)
    assert (found.key, found.title, found.changes) == ("A-1", "An issue", ())
    with database.transaction() as connection:
        assert connection.execute("select count(*) as n from projects").fetchone() == {"n": 1}


def test_one_project_is_read_where_one_is_asked_for(database: Database) -> None:
    load(database, [issue("A-1"), issue("B-1", "B")])
    with database.transaction() as connection:
        (found,) = read_issues(connection, get_project(connection, "B").id)
    assert found.key == "B-1"


def test_an_import_of_nothing_is_an_import(database: Database) -> None:
    assert load(database, []) == ImportCounts(0, 0, 0)


def test_an_issue_said_to_be_made_after_a_change_that_was_seen_can_still_be_read(database: Database) -> None:
    made = datetime(2025, 1, 1, tzinfo=UTC)
    first = IssueRecord(project_key="A", key="A-1", ordinal=0, time_basis="date", created_at=made, title="One")
    later = datetime.now(UTC) + timedelta(days=365)
    for issue in (first, replace(first, title="Two"), replace(first, title="Two", created_at=later)):
        with database.transaction() as connection:
            import_issues(connection, [issue])
    with database.transaction() as connection:
        (read,) = read_issues(connection)
    assert read.created_at == later
    assert [change.changed_at for change in read.changes if change.field == "title"] == [later]


def held(by: str) -> IssueChange:
    return IssueChange(field="assignee", before=None, after=by, changed_at=START)


def test_changes_that_an_issue_brings_come_back_and_the_same_import_changes_nothing(database: Database) -> None:
    own = replace(FULL, changes=(held("Ada"),))
    assert load(database, [own]) == ImportCounts(new=1, changed=0, unchanged=0)
    assert load(database, [own]) == ImportCounts(new=0, changed=0, unchanged=1)
    (found,) = stored(database)
    assert replace(found, project_key="A") == own
    assert as_of(found, START).assignee == "Ada"


def test_a_later_import_may_bring_the_evidence_of_who_held_an_issue_from_the_start(database: Database) -> None:
    load(database, [FULL])
    assert as_of(stored(database)[0], START).assignee is None
    assert load(database, [replace(FULL, changes=(held("Ada"),))]).changed == 1
    (found,) = stored(database)
    assert found.changes == (held("Ada"),)
    assert as_of(found, START).assignee == "Ada"


def test_who_is_said_later_to_have_held_an_issue_from_the_start_does_not_replace_who_was_seen(
    database: Database,
) -> None:
    load(database, [replace(FULL, changes=(held("Ada"),))])
    assert load(database, [replace(FULL, assignee="Bob", changes=(held("Bob"),))]).changed == 1
    (found,) = stored(database)
    assert [(change.before, change.after) for change in found.changes] == [(None, "Ada"), ("Ada", "Bob")]
    assert as_of(found, START).assignee == "Ada"
    assert found.assignee == "Bob"


def test_changes_stay_in_their_order_although_the_clock_was_set_back(database: Database) -> None:
    for title in ("first", "second", "third"):
        load(database, [replace(FULL, title=title)])
        move_clock(database, -timedelta(days=2))
    (found,) = stored(database)
    assert [(change.before, change.after) for change in found.changes] == [("first", "second"), ("second", "third")]
