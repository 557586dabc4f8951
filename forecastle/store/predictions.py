"""What was answered: one durable row a prediction."""

from __future__ import annotations

from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any
from uuid import UUID

from psycopg.types.json import Jsonb

from forecastle.errors import NotFoundError
from forecastle.store.database import Connection


@dataclass(frozen=True)
class StoredPrediction:
    """A prediction and everything its passport shows; `latency_ms` is measured until the row is about to be written."""

    id: UUID
    model_type: str
    model_name: str
    model_version: int
    alias: str
    run_id: str
    dataset_digest: str
    git_commit: str
    feature_digest: str
    bundle_digest: str
    project_id: UUID
    principal: str
    moment: datetime
    input_digest: str
    request: dict[str, Any]
    history: dict[str, Any]
    answer: dict[str, Any]
    method: str
    latency_ms: float


_COLUMNS = tuple(item.name for item in fields(StoredPrediction))
_INSERT = (
    f"insert into predictions ({', '.join(_COLUMNS)}) values ({', '.join(['%s'] * len(_COLUMNS))}) "  # noqa: S608
    "on conflict (id) do nothing"
).encode()


def insert_predictions(connection: Connection, predictions: list[StoredPrediction]) -> None:
    """Write predictions; writing one again, under the same id, changes nothing."""
    with connection.cursor() as cursor:
        cursor.executemany(_INSERT, [_values(prediction) for prediction in predictions])


def _values(prediction: StoredPrediction) -> list[Any]:
    values = (getattr(prediction, name) for name in _COLUMNS)
    return [Jsonb(value) if isinstance(value, dict) else value for value in values]


def get_prediction(connection: Connection, prediction_id: UUID) -> StoredPrediction:
    """One prediction. Raises NotFoundError."""
    row = connection.execute("select * from predictions where id = %s", (prediction_id,)).fetchone()
    if row is None:
        raise NotFoundError("no prediction with this id")
    return StoredPrediction(**{name: row[name] for name in _COLUMNS})
