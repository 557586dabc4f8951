"""What was answered: one durable row a prediction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from datetime import datetime
from typing import Any
from uuid import UUID

import psycopg
from psycopg.types.json import Jsonb
from pydantic_core import to_json

from forecastle.errors import NotFoundError
from forecastle.store.database import Connection, Database
from forecastle.store.prediction_months import make_months_of


@dataclass(frozen=True)
class StoredPrediction:
    """A prediction and everything its passport shows; `latency_ms` is measured until the row is about to be written.

    The last four are what a replay needs, and None in rows of before they were kept: the view that answered, what its
    method said in the target's unit (NaN where it had nothing to go by), the features without their text, and what
    was known.
    """

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
    answer: dict[str, Any]
    issue_key: str | None = field(default=None, kw_only=True)
    """The issue that was asked about, where the request named it: its outcome finds the prediction."""
    target: str | None = field(default=None, kw_only=True)
    """The field of the record whose outcome was asked for; the four numbers below are in its unit, before rounding."""
    value: float | None = field(default=None, kw_only=True)
    low: float | None = field(default=None, kw_only=True)
    high: float | None = field(default=None, kw_only=True)
    baseline: float | None = field(default=None, kw_only=True)
    """What the reference baseline said; None where nothing was known."""
    method: str
    latency_ms: float
    view: str | None = None
    estimate: float | None = None
    vector: bytes | None = None
    known: bytes | None = None

    @property
    def family(self) -> str:
        return self.model_type.partition(".")[0]


_COLUMNS = tuple(item.name for item in fields(StoredPrediction))
_TYPES = {
    **dict.fromkeys(_COLUMNS, "text"),
    **dict.fromkeys(("id", "project_id"), "uuid"),
    **dict.fromkeys(("request", "answer"), "jsonb"),
    **dict.fromkeys(("latency_ms", "estimate", "value", "low", "high", "baseline"), "float8"),
    **dict.fromkeys(("vector", "known"), "bytea"),
    "model_version": "int4",
    "moment": "timestamptz",
}
_NAMES = ", ".join(("family", *_COLUMNS))
_COPY = f"copy predictions ({_NAMES}) from stdin (format binary)".encode()
_INSERT = (
    f"insert into predictions ({_NAMES}) "  # noqa: S608 - names of our own fields
    f"values ({', '.join(['%s'] * (len(_COLUMNS) + 1))}) on conflict (family, id) do nothing"
).encode()


def write_predictions(database: Database, predictions: list[StoredPrediction]) -> None:
    """Write predictions in a transaction of their own, which is tried again as `Database.retrying` does.

    Where nobody has made their month ahead, it is made first. Raises ServerError, ConfigurationError.
    """
    try:
        database.retrying(lambda connection: insert_predictions(connection, predictions))
    except psycopg.errors.CheckViolation as error:
        if not lacks_a_month(error):
            raise
        database.retrying(lambda connection: make_months(connection, predictions))
        database.retrying(lambda connection: insert_predictions(connection, predictions))


def lacks_a_month(error: psycopg.errors.CheckViolation) -> bool:
    """Whether it is a missing partition, which has no name, and not a check of the row."""
    return error.diag.constraint_name is None


def make_months(connection: Connection, predictions: Sequence[StoredPrediction]) -> None:
    """Make the months of these predictions where they are missing. Raises ServerError, ConfigurationError."""
    make_months_of(connection, [(prediction.family, prediction.id) for prediction in predictions])


def copy_predictions(connection: Connection, predictions: Sequence[StoredPrediction]) -> None:
    """Write predictions that were never sent before and whose months are there: three times as fast as one by one."""
    with connection.cursor() as cursor, cursor.copy(_COPY) as copy:
        copy.set_types(["text", *_TYPES.values()])
        for prediction in predictions:
            copy.write_row(_values(prediction))


def insert_predictions(connection: Connection, predictions: Sequence[StoredPrediction]) -> None:
    """Write predictions whose months are there; writing one again, under the same id, changes nothing."""
    with connection.cursor() as cursor:
        cursor.executemany(_INSERT, [_values(prediction) for prediction in predictions])


def _values(prediction: StoredPrediction) -> list[Any]:
    values = [prediction.family, *(getattr(prediction, name) for name in _COLUMNS)]
    return [Jsonb(value, dumps=to_json) if isinstance(value, dict) else value for value in values]


def get_prediction(connection: Connection, prediction_id: UUID) -> StoredPrediction:
    """One prediction; reads the one month of each family that the id can be in. Raises NotFoundError."""
    row = connection.execute("select * from predictions where id = %s", (prediction_id,)).fetchone()
    if row is None:
        raise NotFoundError("no prediction with this id")
    return StoredPrediction(**{name: row[name] for name in _COLUMNS})
