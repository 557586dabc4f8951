"""Organisations, workspaces and projects."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import LiteralString
from uuid import UUID

from psycopg import sql

from forecastle.errors import NotFoundError
from forecastle.store.database import Connection
from forecastle.store.identifiers import new_id

DEFAULT_ORGANISATION = "default"
DEFAULT_WORKSPACE = "default"


@dataclass(frozen=True)
class Project:
    id: UUID
    key: str
    issues: int


def default_organisation(connection: Connection) -> UUID:
    """The organisation of an installation that names none, made on first use."""
    return _named(
        connection,
        "insert into organisations (id, name) values (%s, %s) on conflict (name) do nothing",
        "select id from organisations where name = %s",
        (DEFAULT_ORGANISATION,),
    )


def default_workspace(connection: Connection) -> UUID:
    """The workspace of an installation that names none, made on first use."""
    return _named(
        connection,
        "insert into workspaces (id, organisation_id, name) values (%s, %s, %s) on conflict do nothing",
        "select id from workspaces where organisation_id = %s and name = %s",
        (default_organisation(connection), DEFAULT_WORKSPACE),
    )


def _named(connection: Connection, insert: LiteralString, select: LiteralString, values: tuple[object, ...]) -> UUID:
    row = connection.execute(select, values).fetchone()
    if row is None:
        connection.execute(insert, (new_id(), *values))
        row = connection.execute(select, values).fetchone()
    assert row is not None
    return UUID(str(row["id"]))


def ensure_projects(connection: Connection, workspace: UUID, keys: Iterable[str]) -> dict[str, UUID]:
    """The ids of the projects with these keys, making those that do not exist."""
    return _ensure(connection, "projects", "key", workspace, keys)


def ensure_people(connection: Connection, workspace: UUID, names: Iterable[str]) -> dict[str, UUID]:
    """The ids of the people with these names in the tracker, making those that do not exist."""
    return _ensure(connection, "people", "name", workspace, names)


def _ensure(connection: Connection, table: str, column: str, workspace: UUID, values: Iterable[str]) -> dict[str, UUID]:
    wanted = sorted(set(values))
    names = {"table": sql.Identifier(table), "column": sql.Identifier(column)}
    insert = sql.SQL("insert into {table} (id, workspace_id, {column}) values (%s, %s, %s) on conflict do nothing")
    select = sql.SQL("select id, {column} as name from {table} where workspace_id = %s and {column} = any(%s)")
    with connection.cursor() as cursor:
        cursor.executemany(insert.format(**names), [(new_id(), workspace, value) for value in wanted])
    return {row["name"]: row["id"] for row in connection.execute(select.format(**names), (workspace, wanted))}


def list_projects(connection: Connection) -> list[Project]:
    return _projects(connection, None)


def get_project(connection: Connection, id_or_key: str) -> Project:
    """A project by its id or its key. Raises NotFoundError."""
    for project in _projects(connection, id_or_key):
        return project
    raise NotFoundError("no project with this id or key; `forecastle projects` lists them")


def _projects(connection: Connection, id_or_key: str | None) -> list[Project]:
    rows = connection.execute(
        "select projects.id, projects.key, count(issues.id) as issues from projects "
        "left join issues on issues.project_id = projects.id "
        "where %(name)s::text is null or projects.key = %(name)s or projects.id::text = %(name)s "
        "group by projects.id order by projects.key",
        {"name": id_or_key},
    )
    return [Project(row["id"], row["key"], row["issues"]) for row in rows]
