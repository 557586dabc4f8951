"""Samples for drift: which side of a moment a row lies on, and that of texts only the length is read."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from predictions import a_prediction, id_at, some_project

from forecastle.records.issues import IssueRecord
from forecastle.store import job_runs, samples
from forecastle.store.database import Connection, Database
from forecastle.store.issues import import_issues
from forecastle.store.predictions import StoredPrediction, write_predictions
from forecastle.store.samples import AnsweringVersion, answers_of, realised_answers, sample_issues
from forecastle.store.tenants import get_project
from forecastle.store.unlearning import mark_period, withdraw_period

FIELDS = ("project_id", "title", "description", "issue_type", "estimate_hours", "assignee")
MOMENT = datetime(2026, 3, 2, tzinfo=UTC)
DAY = timedelta(days=1)
VERSION = AnsweringVersion("delivery.story_points", "delivery.story_points", 3)


def issue(key: str, created_at: datetime | None = None, **changed: object) -> IssueRecord:
    found = IssueRecord(
        project_key="A", key=key, ordinal=0, time_basis="date" if created_at else "ordinal", created_at=created_at,
        title="Größe", description="two words", issue_type="Bug", assignee="somebody",
    )  # fmt: skip
    return replace(found, **changed)  # type: ignore[arg-type]


def test_an_issue_was_asked_at_its_creation_or_when_it_was_imported(database: Database) -> None:
    with database.transaction() as connection:
        of_another = issue("B-1", MOMENT + DAY, project_key="B")
        of_one = issue("A-1", MOMENT, estimate_hours=3.0), issue("A-2", MOMENT + DAY), issue("A-3")
        import_issues(connection, [*of_one, of_another])
        project = get_project(connection, "A").id
        (before,) = sample_issues(connection, FIELDS, "until", MOMENT, project)
        assert before == {
            "estimate_hours": 3.0, "title": 5, "description": 9, "project_id": str(project), "issue_type": "Bug"
        }  # fmt: skip
        assert len(sample_issues(connection, FIELDS, "since", MOMENT, project)) == 2
        assert len(sample_issues(connection, FIELDS, "until", job_runs.now(connection), None)) == 4
        assert sample_issues(connection, FIELDS, "until", MOMENT, get_project(connection, "B").id) == []


def test_of_many_issues_the_nearest_to_the_moment_or_to_now_are_read(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(samples, "MOST_ROWS", 2)
    with database.transaction() as connection:
        import_issues(connection, [issue(f"A-{n}", MOMENT + n * DAY, title="x" * (n + 1)) for n in range(6)])
        for side, lengths in (("until", [3, 2]), ("since", [6, 5])):
            found = sample_issues(connection, ("title",), side, MOMENT + 2 * DAY, None)  # type: ignore[arg-type]
            assert [row["title"] for row in found] == lengths


def test_answers_are_those_of_one_version_between_two_moments_and_the_truth_that_counts(database: Database) -> None:
    with database.transaction() as connection:
        project = some_project(connection)
    now = datetime.now(UTC)
    versions = ((3 * DAY, 3, 3.0), (2 * DAY, 3, 5.0), (DAY, 3, 8.0), (2 * DAY, 4, 13.0))
    rows = [
        a_prediction(project, id=id_at(now - age), model_version=version, value=points, high=None)
        for age, version, points in versions
    ]
    write_predictions(database, rows)
    window = (now - 2.5 * DAY, now)
    with database.transaction() as connection:
        for row, truth in ((rows[1], 2.0), (rows[1], 6.0), (rows[3], 1.0)):
            tell(connection, row, truth)
        assert sorted(answers_of(connection, VERSION, *window)) == [5.0, 8.0]
        (realised,) = realised_answers(connection, VERSION, *window)
    assert (realised.value, realised.low, realised.high, realised.truth) == (5.0, 1.0, float("inf"), 6.0)


def test_of_an_issue_that_is_asked_every_night_the_first_answer_counts_and_none_after_its_outcome(
    database: Database,
) -> None:
    with database.transaction() as connection:
        project = some_project(connection)
    now = datetime.now(UTC)
    nights = [
        a_prediction(
            project, id=id_at(now - (5 - n) * DAY), moment=now - (5 - n) * DAY, value=float(n), issue_key="A-1"
        )
        for n in range(4)
    ]
    late = a_prediction(project, id=id_at(now - DAY), moment=now - DAY, value=9.0, issue_key="A-2")
    write_predictions(database, [*nights, late])
    with database.transaction() as connection:
        for night in nights:
            tell(connection, night, 3.0)
        tell(connection, late, 3.0, now - 2 * DAY)
        window = (now - 6 * DAY, now)
        assert sorted(answers_of(connection, VERSION, *window)) == [0.0, 9.0]
        assert [one.value for one in realised_answers(connection, VERSION, *window)] == [0.0]


def test_answers_about_what_is_to_be_unlearned_are_not_realised(database: Database) -> None:
    now = datetime.now(UTC)
    marked_from, length = now - 50 * DAY, 10 * DAY
    issues = {  # created and known
        "A-1": (60, 45), "A-2": (45, 5), "A-3": (60, 5), "A-4": (None, 45), "B-1": (60, 45)
    }  # fmt: skip
    with database.transaction() as connection:
        made = [(key, None if created is None else now - created * DAY) for key, (created, _) in issues.items()]
        import_issues(connection, [issue(key, at, project_key=key[0]) for key, at in made])
        projects = {key: get_project(connection, key).id for key in "AB"}
    asked = [
        a_prediction(projects[key[0]], id=id_at(now - 55 * DAY), moment=now - 55 * DAY, value=float(n), issue_key=key)
        for n, key in enumerate(issues)
    ]
    nobody_knows = [  # about issues that were never imported
        a_prediction(projects["A"], id=id_at(now - age * DAY), moment=now - age * DAY, value=float(age))
        for age in (55, 45)
    ]
    write_predictions(database, [*asked, *nobody_knows])
    with database.transaction() as connection:
        for prediction, (_, known) in zip(asked, issues.values(), strict=True):
            tell(connection, prediction, 3.0, now - known * DAY)
        for prediction in nobody_knows:
            tell(connection, prediction, 3.0, now - 5 * DAY)

        def realised() -> list[float]:
            return sorted(one.value for one in realised_answers(connection, VERSION, now - 56 * DAY, now))

        assert realised() == [0.0, 1.0, 2.0, 3.0, 4.0, 45.0, 55.0]
        mark_period(connection, "delivery.effort", None, marked_from, marked_from + length, "another's", "ada")
        assert len(realised()) == 7
        period = mark_period(
            connection, VERSION.model_type, projects["A"], marked_from, marked_from + length, "w", "ada"
        )
        assert realised() == [2.0, 3.0, 4.0, 55.0]
        withdraw_period(connection, period.id, "ada")
        assert len(realised()) == 7


def tell(connection: Connection, prediction: StoredPrediction, truth: float, known_at: datetime | None = None) -> None:
    connection.execute(
        "insert into ground_truth (family, prediction_id, id, value, source, known_at, recorded_by) "
        "values ('delivery', %s, gen_random_uuid(), %s, 's', coalesce(%s, now()), 'ada')",
        (prediction.id, truth, known_at),
    )
