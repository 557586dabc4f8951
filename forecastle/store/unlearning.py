"""Periods whose rows teach no more, and are known no more."""

from __future__ import annotations

from dataclasses import dataclass, fields
from datetime import datetime
from typing import LiteralString
from uuid import UUID

from psycopg import sql

from forecastle.errors import InputError, NotFoundError
from forecastle.records.issues import MOMENT_FIELDS
from forecastle.store.database import Connection
from forecastle.store.identifiers import new_id


@dataclass(frozen=True)
class UnlearnedPeriod:
    """From `from_at` up to, and without, `until_at`; of one project, or of all where there is none."""

    id: UUID
    model_type: str
    project_id: UUID | None
    from_at: datetime
    until_at: datetime
    reason: str
    marked_by: str
    marked_at: datetime
    withdrawn_by: str | None
    withdrawn_at: datetime | None


_COLUMNS: LiteralString = ", ".join(item.name for item in fields(UnlearnedPeriod))


def mark_period(
    connection: Connection,
    model_type: str,
    project: UUID | None,
    from_at: datetime,
    until_at: datetime,
    reason: str,
    by: str,
) -> UnlearnedPeriod:
    """Let no row of the period teach from the next training on, nor be known to what serves from now on.

    Raises InputError where it ends before it begins.
    """
    if from_at >= until_at:
        raise InputError("a period to be unlearned begins before it ends: look at --from and --until")
    row = connection.execute(
        "insert into unlearned_periods (id, model_type, project_id, from_at, until_at, reason, marked_by) "
        f"values (%s, %s, %s, %s, %s, %s, %s) returning {_COLUMNS}",
        (new_id(), model_type, project, from_at, until_at, reason, by),
    ).fetchone()
    assert row is not None
    return UnlearnedPeriod(**row)


def withdraw_period(connection: Connection, period: UUID, by: str) -> UnlearnedPeriod:
    """Let its rows teach again from the next training on, and be known from now on. Raises NotFoundError."""
    row = connection.execute(
        "update unlearned_periods set withdrawn_at = clock_timestamp(), withdrawn_by = %s "
        f"where id = %s and withdrawn_at is null returning {_COLUMNS}",
        (by, period),
    ).fetchone()
    if row is None:
        raise NotFoundError("no period with this id is marked; `forecastle retrain periods` lists them")
    return UnlearnedPeriod(**row)


def marked_periods(connection: Connection, model_type: str | None = None) -> list[UnlearnedPeriod]:
    """Periods that are marked now, of one model type or of all, oldest first."""
    rows = connection.execute(
        f"select {_COLUMNS} from unlearned_periods where withdrawn_at is null "
        "and (%(name)s::text is null or model_type = %(name)s) order by marked_at, id",
        {"name": model_type},
    )
    return [UnlearnedPeriod(**row) for row in rows]


def unlearned_condition(known_field: str, marked: sql.SQL | None = None) -> sql.Composed:
    """That a row of `issues` was asked, or its outcome became known, in a marked period; one without dates never was.

    Takes the parameter `model_type`; `marked` is a further condition on the `period`. Raises NotFoundError for a field
    that holds no moment.
    """
    if known_field not in MOMENT_FIELDS:
        raise NotFoundError(f"no outcome is known at {known_field}")
    return _UNLEARNED.format(known_at=sql.Identifier("issues", known_field), marked=marked or sql.SQL("true"))


def unlearned_at(model_type: str) -> sql.Composed:
    """The periods of a row of `projects` that were marked at the parameter `moment`, as one multirange or null."""
    return _MARKED_AT.format(model_type=sql.Literal(model_type))


def marked_next(model_type: str) -> sql.Composed:
    """When a period of a row of `found` is marked or withdrawn, first after `moment`: clocks of others may be ahead."""
    return _MARKED_NEXT.format(model_type=sql.Literal(model_type))


def unlearned_issues(
    connection: Connection, model_type: str, known_field: str, project: UUID | None = None
) -> set[tuple[str, str]]:
    """The project's id and the key of every issue that teaches no more."""
    query = sql.SQL(
        "select project_id::text as project, key from issues where {} "
        "and (%(project)s::uuid is null or project_id = %(project)s::uuid)"
    ).format(unlearned_condition(known_field))
    rows = connection.execute(query, {"model_type": model_type, "project": project})
    return {(row["project"], row["key"]) for row in rows}


_UNLEARNED = sql.SQL("""exists (
    select from unlearned_periods as period
    where period.model_type = %(model_type)s and period.withdrawn_at is null and {marked}
        and issues.time_basis = 'date'
        and (period.project_id is null or period.project_id = issues.project_id)
        and (issues.created_at >= period.from_at and issues.created_at < period.until_at
            or {known_at} >= period.from_at and {known_at} < period.until_at))""")

_MARKED_AT = sql.SQL("""(
    select range_agg(tstzrange(from_at, until_at)) from unlearned_periods
    where model_type = {model_type} and (project_id is null or project_id = projects.id)
        and marked_at <= %(moment)s and (withdrawn_at is null or withdrawn_at > %(moment)s))""")

_MARKED_NEXT = sql.SQL("""(
    select min(at) from unlearned_periods cross join lateral (values (marked_at), (withdrawn_at)) as mark (at)
    where model_type = {model_type} and (project_id is null or project_id = found.id) and at > %(moment)s)""")
