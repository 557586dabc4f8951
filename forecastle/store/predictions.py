"""What was answered: one durable row a prediction."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

import psycopg
from psycopg.abc import Buffer
from psycopg.copy import Writer
from psycopg.types.json import Jsonb
from pydantic_core import to_json

from forecastle.errors import NotFoundError
from forecastle.store.database import Connection, Database
from forecastle.store.prediction_months import make_months_of


class StoredPrediction(NamedTuple):
    """A prediction and everything its passport shows; `latency_ms` is measured until the row is about to be written.

    A tuple, since a frozen dataclass of so many fields takes as long to make as its row takes to be written. The last
    four are what a replay needs, and None in rows of before they were kept: the view that answered, what its method
    said in the target's unit (NaN where it had nothing to go by), the features without their text, and what was known.
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
    method: str
    latency_ms: float
    issue_key: str | None = None
    """The issue that was asked about, where the request named it: its outcome finds the prediction."""
    target: str | None = None
    """The field of the record whose outcome was asked for; the four numbers below are in its unit, before rounding."""
    value: float | None = None
    low: float | None = None
    high: float | None = None
    baseline: float | None = None
    """What the reference baseline said; None where nothing was known."""
    view: str | None = None
    estimate: float | None = None
    vector: bytes | None = None
    known: bytes | None = None

    @property
    def family(self) -> str:
        return self.model_type.partition(".")[0]


_COLUMNS = StoredPrediction._fields
_TYPES = {
    **dict.fromkeys(_COLUMNS, "text"),
    **dict.fromkeys(("id", "project_id"), "uuid"),
    **dict.fromkeys(("request", "answer"), "jsonb"),
    **dict.fromkeys(("latency_ms", "estimate", "value", "low", "high", "baseline"), "float8"),
    **dict.fromkeys(("vector", "known"), "bytea"),
    "model_version": "int4",
    "moment": "timestamptz",
}
_REQUEST, _ANSWER = (_COLUMNS.index(name) for name in ("request", "answer"))
_SENT = [
    psycopg.adapters.types.get_oid(kind)
    for kind in ("text", *({**_TYPES, "request": "bytea", "answer": "bytea"}[name] for name in _COLUMNS))
]
_NAMES = ", ".join(("family", *_COLUMNS))
COPY = f"copy predictions ({_NAMES}) from stdin (format binary)".encode()
"""Takes the content of `as_copied`."""
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
    with connection.cursor() as cursor, cursor.copy(COPY) as copy:
        _write(copy, predictions)


def as_copied(connection: Connection, predictions: Sequence[StoredPrediction]) -> bytes:
    """What COPY is sent for these predictions; nothing is sent.

    Raises psycopg.DataError, ValueError and TypeError where one of them cannot be kept.
    """
    pieces = _Pieces()
    with psycopg.Copy(connection.cursor(), binary=True, writer=pieces) as copy:
        _write(copy, predictions)
    return b"".join(pieces.written)


class _Pieces(Writer):
    def __init__(self) -> None:
        self.written: list[Buffer] = []

    def write(self, data: Buffer) -> None:
        self.written.append(data)


def _write(copy: psycopg.Copy, predictions: Sequence[StoredPrediction]) -> None:
    copy.set_types(_SENT)
    for prediction in predictions:
        copy.write_row(_sent(prediction))


def insert_predictions(connection: Connection, predictions: Sequence[StoredPrediction]) -> None:
    """Write predictions whose months are there; writing one again, under the same id, changes nothing."""
    with connection.cursor() as cursor:
        cursor.executemany(_INSERT, [_inserted(prediction) for prediction in predictions])


def _inserted(prediction: StoredPrediction) -> list[Any]:
    values = [Jsonb(value, dumps=to_json) if isinstance(value, dict) else value for value in prediction]
    return [prediction.family, *values]


def _sent(prediction: StoredPrediction) -> list[Any]:
    """What COPY sends, family first."""
    values = [prediction.family, *prediction]
    values[_REQUEST + 1], values[_ANSWER + 1] = _as_jsonb(prediction.request), _as_jsonb(prediction.answer)
    return values


def _as_jsonb(value: dict[str, Any]) -> bytes:
    """As PostgreSQL takes it in binary: a version, and the text."""
    return b"\x01" + to_json(value)


def get_prediction(connection: Connection, prediction_id: UUID) -> StoredPrediction:
    """One prediction; reads the one month of each family that the id can be in. Raises NotFoundError."""
    row = connection.execute("select * from predictions where id = %s", (prediction_id,)).fetchone()
    if row is None:
        raise NotFoundError("no prediction with this id")
    return StoredPrediction(**{name: row[name] for name in _COLUMNS})
