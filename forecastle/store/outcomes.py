"""The known outcomes of projects at a moment, read in one query."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from psycopg import sql

from forecastle.errors import NotFoundError
from forecastle.records.issues import MOMENT_FIELDS, OUTCOME_FIELDS
from forecastle.records.outcomes import NONE_KNOWN, RECENT, Outcomes
from forecastle.store.database import Connection


def projects_with_outcomes(
    connection: Connection, target: str, known_field: str, projects: Sequence[str], moment: datetime
) -> dict[str, tuple[UUID, Outcomes]]:
    """The id and the outcomes known at `moment` of each project, by the id or key it was asked for with.

    `target` is one of OUTCOME_FIELDS, `known_field` one of MOMENT_FIELDS. Undated rows are known once imported (at a
    moment that is now all of them are, whatever the clock said then), and stand before dated ones, as in training. A
    project that does not exist is absent. Raises NotFoundError for another field.
    """
    if target not in OUTCOME_FIELDS or known_field not in MOMENT_FIELDS:
        raise NotFoundError(f"no outcomes are kept for {target}, known at {known_field}")
    names = {"outcome": sql.Identifier(target), "known_at": sql.Identifier(known_field)}
    rows = connection.execute(_QUERY.format(**names), {"projects": list(projects), "moment": moment, "recent": RECENT})
    return {row["name"]: (row["id"], _outcomes(row)) for row in rows}


_QUERY = sql.SQL("""
select asked.name, projects.id, known.count, known.mean, known.median, known.recent
from unnest(%(projects)s::text[]) as asked (name)
join projects on projects.key = asked.name or projects.id::text = asked.name
cross join lateral (
    select count(*) as count, avg(value) as mean,
        percentile_cont(0.5) within group (order by value) as median,
        (array_agg(value order by known_at desc nulls last, ordinal desc))[:%(recent)s] as recent
    from (
        select {outcome} as value, {known_at} as known_at, ordinal from issues
        where project_id = projects.id and {outcome} is not null
            and case time_basis
                when 'ordinal' then imported_at <= %(moment)s or %(moment)s > now() - interval '1 minute'
                else {known_at} <= %(moment)s end
    ) as outcomes
) as known""")


def _outcomes(row: dict[str, object]) -> Outcomes:
    if not row["count"]:
        return NONE_KNOWN
    recent = row["recent"]
    assert isinstance(recent, list)
    return Outcomes(
        count=int(str(row["count"])),
        mean=float(str(row["mean"])),
        median=float(str(row["median"])),
        recent=tuple(reversed(recent)),
    )
