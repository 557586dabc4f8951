"""Predictions as tests write them."""

from __future__ import annotations

import secrets
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from forecastle.records.issues import IssueRecord
from forecastle.store.database import Connection
from forecastle.store.identifiers import new_id
from forecastle.store.issues import import_issues
from forecastle.store.predictions import StoredPrediction
from forecastle.store.tenants import get_project


def some_project(connection: Connection) -> UUID:
    """The id of the project A, which has one issue."""
    issue = IssueRecord(project_key="A", key="A-1", ordinal=0, time_basis="ordinal", title="An issue")
    import_issues(connection, [issue])
    return get_project(connection, "A").id


def id_at(moment: datetime) -> UUID:
    """A UUIDv7 made at this moment."""
    milliseconds = (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1)
    return UUID(int=milliseconds << 80 | 7 << 76 | secrets.randbits(12) << 64 | 2 << 62 | secrets.randbits(62))


def a_prediction(project_id: UUID, **changed: Any) -> StoredPrediction:
    """A prediction of story points, made now, with these fields changed."""
    fields: dict[str, Any] = {
        "id": new_id(),
        "model_type": "delivery.story_points",
        "model_name": "delivery.story_points",
        "model_version": 3,
        "alias": "production",
        "run_id": "run",
        "dataset_digest": "d",
        "git_commit": "c",
        "feature_digest": "f",
        "bundle_digest": "b",
        "project_id": project_id,
        "principal": "ada",
        "moment": datetime(2024, 1, 1, tzinfo=UTC),
        "input_digest": "i",
        "request": {"title": "Größe", "nested": {"a": [1, None]}},
        "answer": {"recommended_points": 3.0},
        "target": "story_points",
        "value": 3.0,
        "low": 1.0,
        "high": 5.0,
        "baseline": 2.0,
        "method": "linear_text",
        "latency_ms": 1.25,
        "view": "all",
        "estimate": 3.2,
        "vector": b"\x00numbers",
        "known": b"known",
    }
    return StoredPrediction(**fields | changed)


def write_truth(connection: Connection, prediction: StoredPrediction) -> None:
    """Write a known outcome of a prediction."""
    connection.execute(
        "insert into ground_truth (family, prediction_id, id, value, source, known_at, recorded_by) "
        "values (%s, %s, %s, 1, 's', now(), 'ada')",
        (prediction.family, prediction.id, new_id()),
    )
