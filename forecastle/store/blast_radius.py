"""Which predictions a version made."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from forecastle.store.database import Connection


@dataclass(frozen=True)
class Affected:
    """Predictions of one project; moments are those at which they were asked for."""

    project_id: UUID
    project_key: str
    predictions: int
    first_at: datetime
    last_at: datetime


def affected_projects(
    connection: Connection, model_name: str, version: int, since: datetime | None = None
) -> list[Affected]:
    """How many predictions a version made in each project, most first; reads the one family, and no month that ended
    before `since`."""
    rows = connection.execute(
        "select project_id, projects.key as project_key, predictions, first_at, last_at from ("
        "select project_id, count(*) as predictions, min(moment) as first_at, max(moment) as last_at from predictions "
        "where family = split_part(%(name)s, '.', 1) and model_name = %(name)s and model_version = %(version)s "
        "and (%(since)s::timestamptz is null or id >= least_id(%(since)s)) group by project_id) as found "
        "join projects on projects.id = project_id order by predictions desc, project_key",
        {"name": model_name, "version": version, "since": since},
    )
    return [Affected(**row) for row in rows]
