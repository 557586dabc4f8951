"""The partitions of predictions and their ground truth: one a family and month of UTC, by the moment in the id.

They are made ahead; where one is missing all the same, whoever writes a prediction makes it. There is no default
partition: what stood in it would have to be moved, under a lock that predictions wait for.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

import psycopg
from psycopg import sql

from forecastle.errors import ConfigurationError, ConflictError, ServerError
from forecastle.store.database import Connection

MONTHS_AHEAD = 2
MAKING_TIMEOUT_MS = 2_000
"""Making a month waits for an import that runs; predictions do not wait for either."""
DROPPING_TIMEOUT_MS = 500
"""Dropping a month waits for whoever reads or writes predictions, and who comes after it waits too."""


@dataclass(frozen=True)
class Month:
    """The predictions of one family and month; `name` is the month as `2026_11`."""

    family: str
    name: str

    @property
    def tables(self) -> tuple[sql.Identifier, sql.Identifier]:
        """Those of predictions and of ground truth."""
        suffix = f"{self.family}_{self.name}"
        return sql.Identifier(f"predictions_{suffix}"), sql.Identifier(f"ground_truth_{suffix}")


def make_months_ahead(connection: Connection, moment: datetime | None = None) -> int:
    """Make the month of `moment` (the database's now) and those to come, for every family; returns how many were new.

    Raises ServerError where a lock is not to be had in time, ConfigurationError where the role may not.
    """
    with _making(connection):
        rows = connection.execute(
            "select make_prediction_month(right(relname, -length('predictions_')), "
            "date_trunc('month', coalesce(%(moment)s, now()), 'UTC') + ahead * interval '1 month') as made "
            "from pg_inherits join pg_class on oid = inhrelid, generate_series(0, %(ahead)s) as ahead "
            "where inhparent = 'predictions'::regclass",
            {"moment": moment, "ahead": MONTHS_AHEAD},
        ).fetchall()
    return sum(row["made"] for row in rows)


def make_months_of(connection: Connection, ids: list[tuple[str, UUID]]) -> None:
    """Make the months of these families and ids where they are missing. Raises as `make_months_ahead`."""
    with _making(connection):
        for family, identifier in ids:
            connection.execute("select make_prediction_month(%s, moment_of_id(%s))", (family, identifier))


@contextmanager
def _making(connection: Connection) -> Iterator[None]:
    _set_lock_timeout(connection, MAKING_TIMEOUT_MS)
    try:
        yield
    except psycopg.errors.LockNotAvailable as error:
        raise ServerError("a month of predictions could not be made while an import runs; try again") from error
    except psycopg.errors.InsufficientPrivilege as error:
        raise ConfigurationError(
            "a month of predictions is missing and the role of DATABASE_URL may not make it: "
            "run `forecastle migrate` every month as the role that owns the tables"
        ) from error


def list_months(connection: Connection, family: str, before: datetime | None = None) -> list[Month]:
    """The months of a family, the oldest first; with `before` only those that end by then."""
    # Materialized, as otherwise names of other tables may be read as months before they are left out.
    rows = connection.execute(
        "with months as materialized (select right(relname, -length(%(parent)s) - 1) as name from pg_inherits "
        "join pg_class on oid = inhrelid where inhparent = to_regclass(%(parent)s)) "
        "select name from months cross join lateral (select to_date(name, 'YYYY_MM') as first_day) as parsed "
        "where %(before)s::timestamptz is null "
        "or (first_day + interval '1 month') at time zone 'UTC' <= %(before)s order by first_day",
        {"parent": f"predictions_{family}", "before": before},
    )
    return [Month(family, row["name"]) for row in rows]


def drop_month(connection: Connection, month: Month, before: datetime) -> int | None:
    """Drop a month with its ground truth; returns how many predictions are gone.

    None where a prediction in it was made since `before` by the database's clock: then an app's clock was wrong,
    and the month stays. Raises ConflictError where the month is in use.
    """
    predictions, truth = month.tables
    gone = _value(connection, sql.SQL("select count(*) as value from {}").format(predictions))
    _set_lock_timeout(connection, DROPPING_TIMEOUT_MS)
    try:
        # In the order in which ground truth is written: first its own table, then the prediction's.
        parents = sql.Identifier(f"ground_truth_{month.family}"), sql.Identifier(f"predictions_{month.family}")
        connection.execute(sql.SQL("lock table only {}, only {} in access exclusive mode").format(*parents))
        younger = sql.SQL("select exists (select from {} where created_at >= %s) as value").format(predictions)
        if _value(connection, younger, before):
            return None
        connection.execute(sql.SQL("drop table {}, {}").format(truth, predictions))
    except psycopg.errors.LockNotAvailable as error:
        raise ConflictError("the month is in use; it is dropped at the next try") from error
    return gone


def _value(connection: Connection, query: sql.Composed, *values: object) -> int:
    row = connection.execute(query, values).fetchone()
    assert row is not None
    return int(row["value"])


def _set_lock_timeout(connection: Connection, milliseconds: int) -> None:
    connection.execute("select set_config('lock_timeout', %s, true)", (str(milliseconds),))
