"""An import that brings an outcome tells it to the predictions that asked for it in time."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from predictions import a_prediction, some_project

from forecastle.records.issues import IssueRecord
from forecastle.registry.ground_truth import Said, record_truths
from forecastle.store.database import Connection, Database
from forecastle.store.ground_truth import truths_of
from forecastle.store.identifiers import new_id
from forecastle.store.issues import import_issues
from forecastle.store.predictions import StoredPrediction, insert_predictions

CREATED = datetime(2024, 1, 1, tzinfo=UTC)
DONE = CREATED + timedelta(days=10)


@pytest.fixture
def project(database: Database) -> UUID:
    with database.transaction() as connection:
        return some_project(connection)


def dated(key: str = "A-7", **changed: Any) -> IssueRecord:
    fields: dict[str, Any] = {"project_key": "A", "ordinal": 0, "time_basis": "date", "created_at": CREATED}
    return IssueRecord(**{**fields, "key": key, "title": "An issue", **changed})


def undated(key: str = "A-7", **changed: Any) -> IssueRecord:
    return dated(key, **{"time_basis": "ordinal", "created_at": None, **changed})


def bring(database: Database, *issues: IssueRecord) -> None:
    with database.transaction() as connection:
        import_issues(connection, issues)


def predicted(
    database: Database, project: UUID, day: float = 0, key: str = "A-7", target: str = "effort_hours"
) -> StoredPrediction:
    model_type = {"effort_hours": "delivery.effort", "story_points": "delivery.story_points"}[target]
    prediction = a_prediction(
        project, model_type=model_type, target=target, issue_key=key, moment=CREATED + timedelta(days=day)
    )
    with database.transaction() as connection:
        insert_predictions(connection, [prediction])
    return prediction


def values(database: Database, prediction: StoredPrediction) -> list[float]:
    """The value that counts, then those of before."""
    with database.transaction() as connection:
        return [truth.value for truth in truths_of(connection, prediction.family, prediction.id)]


def test_the_outcome_of_a_completed_issue_reaches_the_prediction_about_it_and_no_other(
    database: Database, project: UUID
) -> None:
    about = predicted(database, project)
    others = [predicted(database, project, key="A-8"), predicted(database, project, target="story_points")]
    bring(database, dated(), dated("A-8"))
    assert values(database, about) == []
    bring(database, dated(effort_hours=12, completed_at=DONE), dated("A-8"))
    assert values(database, about) == [12]
    assert [values(database, other) for other in others] == [[], []]
    with database.transaction() as connection:
        (truth,) = truths_of(connection, "delivery", about.id)
    assert (truth.source, truth.known_at) == ("import", DONE)


def test_an_issue_that_is_new_with_its_outcome_counts_too(database: Database, project: UUID) -> None:
    about = predicted(database, project)
    bring(database, dated(effort_hours=12, completed_at=DONE))
    assert values(database, about) == [12]


def test_the_same_import_again_changes_nothing_and_a_corrected_one_adds_a_row(
    database: Database, project: UUID
) -> None:
    about = predicted(database, project)
    for hours in (12, 12, 15, 15, 12):
        bring(database, dated(effort_hours=hours, completed_at=DONE))
    assert values(database, about) == [12, 12, 15]


def test_a_prediction_that_was_asked_after_the_outcome_was_known_gets_none(database: Database, project: UUID) -> None:
    before, after = predicted(database, project, 9), predicted(database, project, 11)
    bring(database, dated(effort_hours=12, completed_at=DONE))
    bring(database, dated(effort_hours=13, completed_at=DONE + timedelta(days=5)))
    assert values(database, before) == [13, 12]
    assert values(database, after) == []


def test_of_an_issue_without_dates_the_import_says_when_it_is_known(database: Database, project: UUID) -> None:
    before = predicted(database, project, target="story_points")
    bring(database, undated(story_points=3))
    after = predicted(database, project, 100_000, target="story_points")
    bring(database, undated(story_points=3, title="Edited"))
    bring(database, undated(story_points=5, title="Edited"))
    assert values(database, before) == [5, 3]
    assert values(database, after) == []


def test_a_dated_outcome_of_which_nobody_knows_when_it_was_known_is_told_to_none(
    database: Database, project: UUID
) -> None:
    about = predicted(database, project, target="story_points")
    bring(database, dated(story_points=3))
    assert values(database, about) == []


def test_an_import_that_fails_tells_nobody(database: Database, project: UUID) -> None:
    about = predicted(database, project)

    def fails_at_last(connection: Connection) -> None:
        import_issues(connection, [dated(effort_hours=12, completed_at=DONE)])
        raise RuntimeError

    with pytest.raises(RuntimeError):
        database.retrying(fails_at_last)
    assert values(database, about) == []


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(events=st.lists(st.tuples(st.booleans(), st.integers(1, 3).map(float)), min_size=1, max_size=8))
def test_whatever_the_order_what_somebody_said_last_outranks_every_import(
    database: Database, project: UUID, events: list[tuple[bool, float]]
) -> None:
    key = str(new_id())
    about = predicted(database, project, key=key)
    for is_import, value in events:
        if is_import:
            bring(database, dated(key, effort_hours=value, completed_at=DONE))
        else:
            record_truths(database, [Said(about.id, value, "manual")], "ada")
    said = [value for is_import, value in events if not is_import]
    imported = [value for is_import, value in events if is_import]
    assert values(database, about)[0] == (said or imported)[-1]
    changes = sum(sum(a != b for a, b in zip([None, *seen], seen, strict=False)) for seen in (said, imported))
    assert len(values(database, about)) == changes
