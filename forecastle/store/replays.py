"""What happened to a project's issues after a moment, as far as it can still be seen."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from psycopg import sql

from forecastle.store.database import Connection
from forecastle.store.outcomes import Looking


@dataclass(frozen=True)
class Later:
    """Issues with an outcome that were imported or imported anew since, and issues that were edited since."""

    imported: int
    edited: int


def changed_since(connection: Connection, looking: Looking, project_id: UUID, moment: datetime) -> Later:
    """Looks at the outcomes that a model type looks at. Reads the whole project: for a replay, not for an answer."""
    imported = sql.SQL("select count(*) as n from issues where project_id = %s and {} is not null and imported_at > %s")
    edited = (
        "select count(distinct issue_id) as n from issue_changes join issues on issues.id = issue_id "
        "where project_id = %s and changed_at > %s"
    )
    counts = [
        connection.execute(query, (project_id, moment)).fetchone()
        for query in (imported.format(sql.Identifier(looking.target)), sql.SQL(edited))
    ]
    return Later(*(row["n"] for row in counts if row is not None))
