"""A clock that was moved, as far as the store can tell: all that it wrote lies as much further off."""

from __future__ import annotations

from datetime import timedelta

from psycopg import sql

from forecastle.store.database import Database

_WRITTEN = {
    "job_runs": (
        *("planned_at", "sent_at", "started_at", "heartbeat_at"),
        *("lease_until", "cancel_requested_at", "ended_at"),
    ),
    "issues": ("imported_at",),
    "issue_changes": ("changed_at",),
    "predictions": ("created_at",),
}


def move_clock(database: Database, by: timedelta) -> None:
    """As if PostgreSQL's clock had been moved forward by this much; back where it is negative."""
    with database.transaction() as connection:
        for table, columns in _WRITTEN.items():
            moves = [sql.SQL("{0} = {0} - %(by)s").format(sql.Identifier(column)) for column in columns]
            statement = sql.SQL("update {} set {}").format(sql.Identifier(table), sql.SQL(", ").join(moves))
            connection.execute(statement, {"by": by})
