"""What the query for known outcomes keeps to; that it equals what training knows is tested with the registry."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
from clocks import move_clock

from forecastle.errors import NotFoundError
from forecastle.records.issues import IssueRecord
from forecastle.records.outcomes import NONE_KNOWN, Case, Outcomes
from forecastle.store.database import Connection, Database
from forecastle.store.issues import import_issues
from forecastle.store.outcomes import Asked, Looking, ProjectOutcomes, known_outcomes
from forecastle.store.tenants import get_project
from forecastle.store.unlearning import mark_period, withdraw_period

START = datetime(2024, 1, 1, tzinfo=UTC)
FAR = datetime(2100, 1, 1, tzinfo=UTC)
GROUPS = (("component", ("component",)), ("assignee_type", ("assignee", "issue_type")), ("urgent", ("priority",)))
EFFORT = Looking("delivery.effort", "effort_hours", "completed_at", GROUPS, estimates=True, cases=True)
POINTS = Looking("delivery.story_points", "story_points", "story_points_known_at", (), estimates=False, cases=False)


def undated(project: str, values: Sequence[float | None], **shared: Any) -> list[IssueRecord]:
    return [
        IssueRecord(
            project_key=project, key=f"{project}-{number}", ordinal=number, time_basis="ordinal",
            title=f"Issue {number}", effort_hours=value, story_points=value, **shared,
        )
        for number, value in enumerate(values)
    ]  # fmt: skip


def dated(project: str, hours: Sequence[int], **shared: Any) -> list[IssueRecord]:
    """Issues that were completed at these hours, and took as many."""
    return [
        IssueRecord(
            project_key=project, key=f"{project}-{number}", ordinal=number, time_basis="date", title=f"Issue {number}",
            created_at=START, completed_at=START + timedelta(hours=hour), effort_hours=float(hour), **shared,
        )
        for number, hour in enumerate(hours)
    ]  # fmt: skip


def keep(database: Database, *issues: IssueRecord) -> None:
    with database.transaction() as connection:
        import_issues(connection, issues)


def ask(
    database: Database,
    projects: Sequence[str],
    moment: datetime = FAR,
    groups: Sequence[Asked] = (),
    looking: Looking = EFFORT,
) -> tuple[dict[str, ProjectOutcomes], dict[Asked, Outcomes]]:
    with database.transaction() as connection:
        return known_outcomes(connection, looking, projects, groups, moment)


def test_projects_are_asked_for_by_key_or_id_and_unknown_ones_are_absent(database: Database) -> None:
    keep(database, *undated("A", [3.0]), *undated("B", [5.0]))
    by_key, _ = ask(database, ["A", "nowhere"])
    assert set(by_key) == {"A"}
    by_id, _ = ask(database, [by_key["A"].project, "B"])
    assert by_id[by_key["A"].project] == by_key["A"]
    assert by_id["B"].outcomes.recent == (5.0,)


def test_estimates_and_completed_issues_stand_beside_the_outcomes_they_belong_to(database: Database) -> None:
    first, second, third = dated("A", [5, 3, 4])
    keep(database, first, replace(second, estimate_hours=2.5), third)
    found = ask(database, ["A"])[0]["A"]
    assert found.outcomes.recent == (3.0, 4.0, 5.0)
    assert found.outcomes.estimates[0] == 2.5
    assert all(math.isnan(estimate) for estimate in found.outcomes.estimates[1:])
    assert found.cases == (Case("A-1", "Issue 1", 3.0), Case("A-2", "Issue 2", 4.0), Case("A-0", "Issue 0", 5.0))


def test_what_is_not_looked_at_is_not_there(database: Database) -> None:
    keep(database, *undated("A", [1.0, 2.0], estimate_hours=4.0))
    found = ask(database, ["A"], looking=POINTS)[0]["A"]
    assert (found.outcomes, found.cases) == (Outcomes(2, 1.5, 1.5, (1.0, 2.0)), ())


@pytest.mark.parametrize("values", [[2.0], [1.0, 4.0], [9.0, 1.0, 4.0], [4.0, 1.0, 1.0, 9.0]])
def test_mean_and_median_are_over_all_outcomes(database: Database, values: list[float]) -> None:
    keep(database, *undated("A", [*values, None]))
    found = ask(database, ["A"])[0]["A"].outcomes
    ordered, half = sorted(values), len(values) // 2
    assert found.count == len(values)
    assert found.mean == pytest.approx(sum(values) / len(values))
    assert found.median == (ordered[half] + ordered[-half - 1]) / 2


def test_groups_are_found_by_what_their_issues_share(database: Database) -> None:
    long = "x" * 150
    keep(
        database,
        *dated("A", [1, 2, 3], component="web", assignee="ada", issue_type="Bug", priority="High"),
        *dated("B", [4], component="web", assignee="ada", issue_type="Task"),
        *dated("C", [5], component=f"{long}1"),
        *dated("D", [6], component=f"{long}2"),
    )
    asked = [
        Asked("A", "component", ("web",)), Asked("A", "assignee_type", ("ada", "Bug")), Asked("A", "urgent", ("High",)),
        Asked("B", "component", ("web",)), Asked("B", "assignee_type", ("ada", "Bug")), Asked("B", "urgent", ("High",)),
        Asked("A", "assignee_type", ("nobody", "Bug")), Asked("A", "component", ("WEB",)),
        Asked("C", "component", (f"{long}1",)), Asked("C", "component", (f"{long}2",)),
    ]  # fmt: skip
    _, found = ask(database, ["A", "B", "C"], groups=asked)
    assert {each: outcomes.recent for each, outcomes in found.items()} == {
        asked[0]: (1.0, 2.0, 3.0), asked[1]: (1.0, 2.0, 3.0), asked[2]: (1.0, 2.0, 3.0), asked[3]: (4.0,),
        asked[8]: (5.0,),
    }  # fmt: skip


def test_groups_are_found_in_their_index(database: Database) -> None:
    """Not by reading all the project's issues, once there are many."""
    keep(database, *(issue for p in "ABC" for issue in dated(p, range(1, 1_500), component="x", assignee="ada")))
    with database.transaction() as connection:
        connection.execute("analyze issues")
        plan = _plan(connection, [Asked("A", "component", ("x",)), Asked("A", "assignee_type", ("ada", "Bug"))])
    assert "issues_by_effort_of_component" in plan
    assert "issues_by_effort_of_assignee" in plan
    assert "Seq Scan on issues" not in plan


def test_all_outcomes_of_a_project_are_read_from_their_index_alone_also_where_some_are_to_be_unlearned(
    database: Database, database_url: str
) -> None:
    keep(database, *(issue for p in "ABC" for issue in dated(p, range(1, 1_500))))
    with database.transaction() as connection:
        mark_period(connection, EFFORT.model_type, None, START, START + timedelta(days=1), "wrong", "ada")
    with psycopg.connect(database_url, autocommit=True) as cleaning:
        cleaning.execute("vacuum analyze issues")
    with database.transaction() as connection:
        plan = _plan(connection, [])
    assert "Index Only Scan using issues_by_effort_value" in plan
    assert "Index Scan using issues_by_effort on" in plan


def test_a_mark_counts_from_the_moment_on_at_which_it_was_made_and_until_it_is_withdrawn(database: Database) -> None:
    keep(database, *dated("A", [2, 4, 6], component="web"), *dated("B", [4]))
    web, hour = Asked("A", "component", ("web",)), timedelta(hours=1)
    marked, withdrawn, now = START + timedelta(days=10), START + timedelta(days=20), datetime.now(UTC)

    def known(moment: datetime) -> tuple[float, ...]:
        projects, groups = ask(database, ["A", "B"], moment, [web])
        of_project = projects["A"]
        assert (of_project.outcomes.count, projects["B"].outcomes.count) == (len(of_project.outcomes.recent), 1)
        assert [case.value for case in of_project.cases] == list(of_project.outcomes.recent) == list(groups[web].recent)
        return of_project.outcomes.recent

    def changes_at(moment: datetime) -> datetime | None:
        return ask(database, ["A"], moment)[0]["A"].changes_at

    with database.transaction() as connection:
        project = get_project(connection, "A").id
        period = mark_period(connection, EFFORT.model_type, project, START + 4 * hour, START + 5 * hour, "wrong", "ada")
        mark_period(connection, POINTS.model_type, None, START, START + 9 * hour, "of another model type", "ada")
        connection.execute("update unlearned_periods set marked_at = %s", (marked,))
    assert known(marked - hour) == (2.0, 4.0, 6.0)
    assert known(marked) == known(withdrawn) == known(now) == (2.0, 6.0)
    with database.transaction() as connection:
        withdraw_period(connection, period.id, "ada")
        connection.execute("update unlearned_periods set withdrawn_at = %s where id = %s", (withdrawn, period.id))
    assert known(withdrawn - hour) == (2.0, 6.0)
    assert known(marked - hour) == known(withdrawn) == known(now) == (2.0, 4.0, 6.0)
    assert [changes_at(moment) for moment in (marked - hour, marked, withdrawn)] == [marked, withdrawn, None]


def _plan(connection: Connection, groups: Sequence[Asked]) -> str:
    """The plan of the query as it is sent, by the server's own account."""
    connection.execute("set local plan_cache_mode = force_generic_plan")
    known_outcomes(connection, EFFORT, ["A"], groups, FAR)
    row = connection.execute(
        "select name, parameter_types::text[] as types from pg_prepared_statements "
        "where starts_with(ltrim(statement, E'\\n'), 'with found as')"
    ).fetchone()
    assert row is not None
    nothing = ", ".join(["null"] * len(row["types"]))
    plan = connection.execute(f"explain execute {row['name']} ({nothing})".encode())
    return "\n".join(line["QUERY PLAN"] for line in plan)


def test_texts_longer_than_an_index_takes_are_kept_and_found(database: Database) -> None:
    longest = "".join(chr(0x4E00 + number) for number in range(20_000))  # does not compress
    keep(database, *dated("A", [7], component=longest, issue_type=longest))
    _, found = ask(database, ["A"], groups=[asked := Asked("A", "component", (longest,))])
    assert found[asked].recent == (7.0,)


def test_undated_outcomes_stand_before_dated_ones(database: Database) -> None:
    late, early = dated("A", [9, 2])
    keep(database, late, replace(undated("A", [4.0])[0], key="A-9"), early)
    assert ask(database, ["A"])[0]["A"].outcomes.recent == (4.0, 2.0, 9.0)
    assert ask(database, ["A"], START + timedelta(hours=2))[0]["A"].outcomes.recent == (2.0,)


def test_what_was_imported_before_the_clock_was_set_back_is_still_known(database: Database) -> None:
    keep(database, *undated("A", [3.0, 5.0], component="web"))
    move_clock(database, -timedelta(days=5))
    asked = Asked("A", "component", ("web",))
    projects, groups = ask(database, ["A"], datetime.now(UTC), [asked])
    assert projects["A"].outcomes.count == groups[asked].count == 2
    projects, groups = ask(database, ["A"], START, [asked])
    assert (projects["A"].outcomes, groups) == (NONE_KNOWN, {})


@pytest.mark.parametrize("target, known", [("lines_of_code", "completed_at"), ("effort_hours", "title")])
def test_an_unknown_target_is_not_found(target: str, known: str) -> None:
    with pytest.raises(NotFoundError, match="no outcomes are kept"):
        Looking("delivery.effort", target, known, (), estimates=False, cases=False)


def test_only_fields_of_an_issue_that_are_meant_for_it_make_groups() -> None:
    with pytest.raises(NotFoundError, match=r"no issues are grouped by id; by: issue_type, component"):
        Looking(
            "delivery.effort",
            "effort_hours",
            "completed_at",
            (("one", ("component", "id")),),
            estimates=False,
            cases=False,
        )
