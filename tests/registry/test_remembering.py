"""What is remembered of outcomes is what the store says, for as long as nothing changes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
from processes import await_that

from forecastle.features.similarity import IndexedCases, similar_cases
from forecastle.records.issues import IssueRecord
from forecastle.registry import remembering as module
from forecastle.registry.history import StoredHistory, remembering
from forecastle.registry.remembering import Announcements
from forecastle.store.database import Database
from forecastle.store.issues import import_issues
from forecastle.store.unlearning import mark_period, withdraw_period
from projects import get_model_type

EFFORT = get_model_type("delivery.effort")
START = datetime(2024, 1, 1, tzinfo=UTC)
DAY = timedelta(days=1)


def issue(number: int, hours: float, **changed: Any) -> IssueRecord:
    made = IssueRecord(
        project_key="P", key=f"P-{number}", ordinal=number, time_basis="date", title=f"Issue {number}",
        issue_type="Bug", assignee="ada", effort_hours=hours, created_at=START, completed_at=START + timedelta(hours=1),
    )  # fmt: skip
    return replace(made, **changed)


def keep(database: Database, *issues: IssueRecord) -> None:
    with database.transaction() as connection:
        import_issues(connection, issues)


@pytest.fixture
def announcements(database: Database) -> Iterator[Announcements]:
    made = Announcements(database)
    made.start()
    await_that(lambda: made.version is not None)
    yield made
    made.stop()


@pytest.fixture
def queries(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many projects each query asked for."""
    counted: list[int] = []
    original = module.known_outcomes

    def counting(connection: Any, looking: Any, projects: Any, groups: Any, moment: Any) -> Any:
        counted.append(len(projects))
        return original(connection, looking, projects, groups, moment)

    monkeypatch.setattr(module, "known_outcomes", counting)
    return counted


def ask(history: StoredHistory, project: str = "P", moment: datetime | None = None, **request: Any) -> Any:
    return history.known([{"project_id": project, **request}], moment or datetime.now(UTC))[0]


def test_what_was_read_once_is_not_read_again_and_is_what_the_store_says(
    database: Database, announcements: Announcements, queries: list[int]
) -> None:
    before = announcements.version
    keep(database, issue(1, 2.0), issue(2, 4.0, project_key="Q"))
    await_that(lambda: announcements.version != before)
    history, stored = remembering(database, EFFORT, announcements), StoredHistory(database, EFFORT)
    for _ in range(2):
        assert ask(history, issue_type="Bug") == ask(stored, issue_type="Bug")
        assert ask(history, issue_type="Task") == ask(stored, issue_type="Task")
        assert ask(history) == ask(stored)
    assert queries == [1, 1]  # a group that is asked for first is read, with its project
    both = [{"project_id": "P", "issue_type": "Bug"}, {"project_id": "Q"}]
    now = datetime.now(UTC)
    assert history.recalled(both[1], now) is None
    assert history.known(both, now) == stored.known(both, now)
    assert queries == [1, 1, 1]
    assert [history.recalled(each, now) for each in both] == stored.known(both, now)
    assert history.recalled({**both[0], "component": "never asked for"}, now) is None
    assert history.recalled(both[0], datetime(2000, 1, 1, tzinfo=UTC)) is None


def test_a_change_is_heard_and_read(database: Database, announcements: Announcements) -> None:
    history = remembering(database, EFFORT, announcements)
    keep(database, issue(1, 2.0))
    await_that(lambda: ask(history) is not None)
    keep(database, issue(2, 4.0), issue(3, 6.0))
    await_that(lambda: ask(history)[1].project.recent == (2.0, 4.0, 6.0))
    keep(database, issue(1, 8.0))
    await_that(lambda: sorted(ask(history)[1].project.recent) == [4.0, 6.0, 8.0])
    with database.transaction() as connection:
        connection.execute("update people set name = 'somebody'")
    await_that(lambda: ask(history, assignee="ada")[1].groups == {})
    with database.transaction() as connection:
        connection.execute("update projects set key = 'R'")
    await_that(lambda: ask(history) is None and ask(history, "R") is not None)
    with database.transaction() as connection:
        connection.execute("delete from issues where key = 'P-2'")
    await_that(lambda: ask(history, "R")[1].project.count == 2)


def test_what_a_change_elsewhere_leaves_as_it_was_stays_with_what_was_made_of_it(
    database: Database, announcements: Announcements, queries: list[int]
) -> None:
    keep(database, issue(1, 2.0))
    history = remembering(database, EFFORT, announcements)
    before = ask(history, issue_type="Bug")[1]
    asked = len(queries)
    keep(database, issue(2, 4.0, project_key="Q"))
    await_that(lambda: ask(history, issue_type="Bug") and len(queries) > asked)
    after = ask(history, issue_type="Bug")[1]
    assert (after.project, after.cases) == (before.project, before.cases)
    assert after.project is before.project
    assert after.cases is before.cases
    assert after.group("issue_type") is before.group("issue_type")
    keep(database, issue(1, 2.0, title="Another title"))
    await_that(lambda: ask(history)[1].cases[0].title == "Another title")
    assert similar_cases(("another",), ask(history)[1].cases)


def test_a_period_to_be_unlearned_is_known_no_more_and_known_again(
    database: Database, announcements: Announcements
) -> None:
    history = remembering(database, EFFORT, announcements)
    keep(database, issue(1, 2.0), issue(2, 4.0, completed_at=START + timedelta(days=9)))
    await_that(lambda: ask(history) is not None)
    with database.transaction() as connection:
        period = mark_period(connection, EFFORT.name, None, START + DAY, START + 10 * DAY, "wrong", "ada")
    await_that(lambda: ask(history)[1].project.recent == (2.0,))
    with database.transaction() as connection:
        withdraw_period(connection, period.id, "ada")
    await_that(lambda: ask(history)[1].project.recent == (2.0, 4.0))


def test_what_becomes_known_later_counts_from_that_moment_on(
    database: Database, announcements: Announcements, queries: list[int]
) -> None:
    later = datetime.now(UTC) + timedelta(hours=1)
    keep(
        database,
        issue(1, 2.0),
        issue(2, 4.0, completed_at=later),
        issue(3, 6.0, completed_at=later + timedelta(hours=1)),
    )
    history = remembering(database, EFFORT, announcements)
    moments = [later - timedelta(minutes=1), later - timedelta(seconds=1), later, later + timedelta(minutes=1)]
    await_that(lambda: ask(history, moment=moments[0]) is not None)
    assert [ask(history, moment=moment)[1].project.count for moment in moments] == [1, 1, 2, 2]
    assert ask(history, moment=moments[0])[1].project.count == 1, "an earlier moment is asked of the store"


def test_nothing_is_remembered_while_nothing_is_heard(database: Database, queries: list[int]) -> None:
    announcements = Announcements(database)  # not started: nobody listens
    history = remembering(database, EFFORT, announcements)
    keep(database, issue(1, 2.0))
    for count in (1, 2):
        assert not isinstance(ask(history)[1].cases, IndexedCases), "nothing else will be held against them"
        assert len(queries) == count
    assert history.recalled({"project_id": "P"}, datetime.now(UTC)) is None


def test_a_connection_that_is_cut_off_is_not_trusted_and_comes_again(
    database: Database, database_url: str, announcements: Announcements, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep(database, issue(1, 2.0))
    history, lost = remembering(database, EFFORT, announcements), []
    monkeypatch.setattr(announcements._follower, "_lost", lambda: (lost.append(True), announcements._lost()))
    await_that(lambda: ask(history) is not None)
    with psycopg.connect(database_url, autocommit=True) as admin:
        admin.execute(
            "select pg_terminate_backend(pid) from pg_stat_activity "
            "where datname = current_database() and application_name = 'forecastle_outcomes'"
        )
        await_that(lambda: bool(lost))
    keep(database, issue(2, 4.0))
    assert ask(history)[1].project.count == 2
    await_that(lambda: announcements.version is not None)
    assert ask(history)[1].project.count == 2


def test_what_was_read_while_something_changed_is_read_again(
    database: Database, announcements: Announcements, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep(database, issue(1, 2.0))
    history = remembering(database, EFFORT, announcements)
    original = module.known_outcomes

    def meanwhile(*words: Any) -> Any:
        found = original(*words)
        monkeypatch.setattr(module, "known_outcomes", original)
        before = announcements.version
        keep(database, issue(2, 4.0))
        await_that(lambda: announcements.version != before)
        return found

    monkeypatch.setattr(module, "known_outcomes", meanwhile)
    assert ask(history)[1].project.count == 1
    assert ask(history)[1].project.count == 2


def test_more_projects_and_groups_than_are_remembered_are_read_anew(
    database: Database, announcements: Announcements, queries: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MOST_REMEMBERED", 3 * module.PROJECT_WEIGHT)
    monkeypatch.setattr(module, "MOST_GROUPS", 2)
    keep(database, *(issue(number, 1.0, project_key=f"P{number}") for number in range(9)))
    history, stored = remembering(database, EFFORT, announcements), StoredHistory(database, EFFORT)
    for number in (*range(9), *range(9)):
        for kind in ("Bug", "Task", "Epic", "Story"):
            assert ask(history, f"P{number}", issue_type=kind) == ask(stored, f"P{number}", issue_type=kind)
    (memory,) = [history.memory]
    assert memory is not None
    assert memory._weight == sum(found.weight for found in memory._projects.values()) <= module.MOST_REMEMBERED
    assert all(len(found.groups) <= 3 for found in memory._projects.values())
