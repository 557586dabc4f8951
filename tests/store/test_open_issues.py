"""Issues that nobody has completed."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from forecastle.errors import NotFoundError
from forecastle.generator.issues import Portfolio, generate_issues
from forecastle.store.database import Database
from forecastle.store.issues import import_issues
from forecastle.store.open_issues import count_open, read_open
from forecastle.store.tenants import get_project


def test_open_issues_come_once_and_in_pieces_with_what_they_say(database: Database) -> None:
    made = [
        replace(issue, story_points=None, reporter="ada", assignee="bob", estimate_hours=2.5)
        if issue.ordinal % 2
        else issue
        for issue in generate_issues(Portfolio(projects=2, issues=20))
    ]
    made[1] = replace(
        made[1],
        time_basis="date",
        created_at=datetime(2024, 1, 1, tzinfo=UTC),
        completed_at=datetime(2024, 1, 2, tzinfo=UTC),
    )
    with database.transaction() as connection:
        import_issues(connection, made)
        project = get_project(connection, "DEMO1").id
        expected = {issue.key: issue for issue in made if issue.story_points is None and issue.completed_at is None}
        for asked in (None, project):
            found, after = [], None
            while piece := read_open(connection, "story_points", asked, after, rows=3):
                assert len(piece) <= 3
                found += piece
                after = piece[-1].id
            keys = [key for key, issue in expected.items() if asked is None or issue.project_key == "DEMO1"]
            assert sorted(issue.key for issue in found) == sorted(keys)
            assert count_open(connection, "story_points", asked) == len(keys)
        for issue in found:
            known = expected[issue.key]
            assert issue.asked == {
                **{name: getattr(known, name) for name in ("title", "issue_type", "component", "priority", "reporter")},
                "description": known.description or "",
                "assignee": "bob",
                "estimate_hours": 2.5,
                "project_id": "DEMO1",
            }


def test_an_outcome_that_is_none_is_refused(database: Database) -> None:
    with database.transaction() as connection, pytest.raises(NotFoundError):
        count_open(connection, "title", None)
