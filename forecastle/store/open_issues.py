"""Issues that nobody has completed, and whose outcome is not known: what there is to predict."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from psycopg import sql

from forecastle.errors import NotFoundError
from forecastle.records.issues import OUTCOME_FIELDS
from forecastle.store.database import Connection


@dataclass(frozen=True)
class OpenIssue:
    """`asked` is what an issue says, by the names of its record; `project_id` is its project's key."""

    id: UUID
    key: str
    asked: dict[str, Any]


_FIRST = UUID(int=0)
_OPEN = """from issues join projects on projects.id = issues.project_id
    where issues.completed_at is null and issues.{} is null
        and (%(project)s::uuid is null or issues.project_id = %(project)s::uuid)"""
_READ = """select issues.id, issues.key, projects.key as project_id, issues.title, issues.description,
    issues.issue_type, issues.component, issues.priority, issues.estimate_hours,
    (select name from people where id = reporter_id) as reporter,
    (select name from people where id = assignee_id) as assignee
"""


def count_open(connection: Connection, target: str, project: UUID | None) -> int:
    """How many issues (of one project, where given) are open. Raises NotFoundError for no outcome."""
    query = sql.SQL("select count(*) as number " + _OPEN).format(_outcome(target))
    row = connection.execute(query, {"project": project}).fetchone()
    return int(row["number"]) if row else 0


def read_open(
    connection: Connection, target: str, project: UUID | None, after: UUID | None, rows: int
) -> list[OpenIssue]:
    """The next open issues behind `after`, in the order of their ids. Raises NotFoundError for no outcome."""
    text = _READ + _OPEN + " and issues.id > %(after)s order by issues.id limit %(rows)s"
    parameters = {"project": project, "after": after or _FIRST, "rows": rows}
    found = connection.execute(sql.SQL(text).format(_outcome(target)), parameters)
    return [OpenIssue(row.pop("id"), row.pop("key"), row) for row in found]


def _outcome(target: str) -> sql.Identifier:
    if target not in OUTCOME_FIELDS:
        raise NotFoundError(f"no outcomes are kept for {target}")
    return sql.Identifier(target)
