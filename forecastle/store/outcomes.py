"""What is known of projects and of groups of their issues at a moment, read in one query."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any

from psycopg import RawCursor, sql
from psycopg.rows import dict_row

from forecastle.errors import NotFoundError
from forecastle.records.issues import MOMENT_FIELDS, OUTCOME_FIELDS
from forecastle.records.outcomes import NONE_KNOWN, RECENT, ROLLING, Case, Outcomes
from forecastle.store.database import Connection
from forecastle.store.unlearning import marked_next, unlearned_at

CHANNEL = "forecastle_outcomes"
"""Where the database announces changes of what is read here."""


@dataclass(frozen=True)
class Looking:
    """What is looked at: the outcome, the field that says since when it is known, and what groups issues share.

    `model_type` says whose periods to be unlearned are left out. `target` is one of OUTCOME_FIELDS, `known_field` one
    of MOMENT_FIELDS; `groups` are a name and fields of SHARED each. Raises NotFoundError for others.
    """

    model_type: str
    target: str
    known_field: str
    groups: tuple[tuple[str, tuple[str, ...]], ...]
    estimates: bool
    cases: bool

    def __post_init__(self) -> None:
        if self.target not in OUTCOME_FIELDS or self.known_field not in MOMENT_FIELDS:
            raise NotFoundError(f"no outcomes are kept for {self.target}, known at {self.known_field}")
        if unknown := {field for _, fields in self.groups for field in fields} - SHARED.keys():
            raise NotFoundError(f"no issues are grouped by {', '.join(sorted(unknown))}; by: {', '.join(SHARED)}")


@dataclass(frozen=True)
class Asked:
    """One group of one project: `project` as it was asked for, the group's name, and what its issues share."""

    project: str
    group: str
    key: tuple[Any, ...]


@dataclass(frozen=True)
class ProjectOutcomes:
    """The id of a project, its outcomes, and its latest completed issues, where they are looked at.

    `changes_at` is the first moment at which something else is known of what is stored already; None if there is none.
    """

    project: str
    outcomes: Outcomes
    cases: Sequence[Case]
    changes_at: datetime | None


def known_outcomes(
    connection: Connection, looking: Looking, projects: Sequence[str], groups: Sequence[Asked], moment: datetime
) -> tuple[dict[str, ProjectOutcomes], dict[Asked, Outcomes]]:
    """What is known at `moment` of projects, by the id or key they are asked for with, and of groups.

    Undated rows are known once imported (at a moment that is now all of them are, whatever the clock said then), and
    stand before dated ones, as in training. Issues count as they look now, without those of periods that were marked
    to be unlearned at `moment`. A project that does not exist and a group without outcomes are absent.
    """
    parameters: dict[str, Any] = {"projects": list(projects), "moment": moment}
    for number, (name, fields) in enumerate(looking.groups):
        places = [place for place, asked in enumerate(groups) if asked.group == name]
        parameters[f"places_{number}"] = places
        parameters[f"projects_{number}"] = [groups[place].project for place in places]
        for part in range(len(fields)):
            parameters[f"keys_{number}_{part}"] = [groups[place].key[part] for place in places]
    found: dict[str, ProjectOutcomes] = {}
    of_groups: dict[Asked, Outcomes] = {}
    query, names = _query(looking)
    # A raw cursor takes the statement as it is; others would look through its text at every request.
    with RawCursor(connection, row_factory=dict_row) as cursor:
        rows = cursor.execute(query, [parameters[name] for name in names], prepare=True, binary=True).fetchall()
    for row in rows:
        if row["place"] is None:
            found[row["name"]] = _project(row, looking)
        else:
            of_groups[groups[row["place"]]] = Outcomes.of_latest(_latest(row["values"]), _estimates(row, looking))
    return found, of_groups


def _project(row: Mapping[str, Any], looking: Looking) -> ProjectOutcomes:
    if not row["count"]:
        return ProjectOutcomes(str(row["id"]), NONE_KNOWN, (), row["changes_at"])
    values = _latest(row["values"])
    outcomes = Outcomes(row["count"], row["mean"], row["median"], values, _estimates(row, looking))
    titles = zip(reversed(row["keys"]), reversed(row["titles"]), values, strict=True) if looking.cases else ()
    return ProjectOutcomes(str(row["id"]), outcomes, tuple(Case(*case) for case in titles), row["changes_at"])


def _latest(newest_first: Sequence[float]) -> tuple[float, ...]:
    return tuple(reversed(newest_first))


def _estimates(row: Mapping[str, Any], looking: Looking) -> tuple[float, ...]:
    return tuple(value or math.nan for value in reversed(row["estimates"])) if looking.estimates else ()


@lru_cache
def _query(looking: Looking) -> tuple[bytes, tuple[str, ...]]:
    """The statement, with its parameters as $1, $2, … and their names in this order."""
    text = _named_query(looking)
    places = {name: place for place, name in enumerate(dict.fromkeys(_PARAMETER.findall(text)), 1)}
    numbered = _PARAMETER.sub(lambda found: b"$%d" % places[found[1]], text)
    return numbered, tuple(name.decode() for name in places)


_PARAMETER = re.compile(rb"%\((\w+)\)s")


def _named_query(looking: Looking) -> bytes:
    names = {
        "unlearned": unlearned_at(looking.model_type),
        "marked_next": marked_next(looking.model_type),
        "target": sql.Identifier(looking.target),
        "known_at": sql.Identifier(looking.known_field),
        "recent": sql.Literal(RECENT),
        "rolling": sql.Literal(ROLLING),
        "estimates": _column(looking.estimates, "estimate", "float8"),
        "keys": _column(looking.cases, "key", "text"),
        "titles": _column(looking.cases, "title", "text"),
    }
    for name, part in (("is_known", _IS_KNOWN), ("dated_at", _DATED_AT), ("newest_first", _NEWEST_FIRST)):
        names[name] = part.format(**names)
    parts = [_PROJECTS.format(**names)]
    for number, (_, fields) in enumerate(looking.groups):
        keys = [f"keys_{number}_{part}" for part in range(len(fields))]
        shared = [SHARED[field] for field in fields]
        parts.append(
            _GROUP.format(
                **names,
                projects=sql.Placeholder(f"projects_{number}"),
                places=sql.Placeholder(f"places_{number}"),
                arrays=sql.SQL(", ").join(
                    sql.SQL("(select {}::{})").format(sql.Placeholder(key), sql.SQL(column.array))
                    for key, column in zip(keys, shared, strict=True)
                ),
                keys_=sql.SQL(", ").join(map(sql.Identifier, keys)),
                shared=sql.SQL(" and ").join(
                    column.equals.format(key=sql.Identifier("asked", key))
                    for key, column in zip(keys, shared, strict=True)
                ),
            )
        )
    return sql.SQL("{}").format(sql.SQL(" union all ").join(parts)).as_bytes(None)


def _column(wanted: bool, name: str, kind: str) -> sql.Composable:
    """The values of a column in an array, or nothing."""
    text = "array_agg({})" if wanted else "null::{}[]"
    return sql.SQL(text).format(sql.Identifier(name) if wanted else sql.SQL(kind))


@dataclass(frozen=True)
class _Shared:
    """How an issue is found by a field: the type of an array of its values, and the comparison."""

    array: str
    equals: sql.SQL


def _text(column: str) -> _Shared:
    # The index holds the first hundred characters.
    return _Shared("text[]", sql.SQL(f"left({column}, 100) = left({{key}}, 100) and {column} = {{key}}"))


def _person(column: str) -> _Shared:
    person = "select id from people where people.workspace_id = found.workspace_id and people.name = {key}"
    return _Shared("text[]", sql.SQL(f"{column} = ({person})"))


SHARED: Mapping[str, _Shared] = {
    "issue_type": _text("issue_type"),
    "component": _text("component"),
    "priority": _text("priority"),
    "reporter": _person("reporter_id"),
    "assignee": _person("assignee_id"),
    "estimate_hours": _Shared("float8[]", sql.SQL("estimate_hours = {key}")),
}
"""The fields by which issues are grouped."""

# What became known at the creation is known right after it, as in training; the indexes stand in the same order.
_IS_KNOWN = sql.SQL("""{target} is not null and case time_basis
    when 'ordinal' then imported_at <= %(moment)s or (select %(moment)s > now() - interval '1 minute')
    else {known_at} <= %(moment)s and created_at < %(moment)s
        and (found.unlearned is null or not (created_at <@ found.unlearned or {known_at} <@ found.unlearned)) end""")
_DATED_AT = sql.SQL("(case time_basis when 'date' then greatest({known_at}, created_at) end)")
_NEWEST_FIRST = sql.SQL("""
    {dated_at} desc nulls last,
    (time_basis = 'date' and {known_at} <= created_at) desc, ordinal desc""")

_PROJECTS = sql.SQL("""
with found as materialized (
    select asked.name, projects.id, projects.workspace_id, {unlearned} as unlearned
    from unnest((select %(projects)s::text[])) as asked (name)
    join projects on projects.key = asked.name or projects.id::text = asked.name
)
select found.name, null::bigint as place, found.id, total.count, total.mean,
    (total.sorted[(total.count + 1) / 2] + total.sorted[total.count / 2 + 1]) / 2 as median,
    latest.values, latest.estimates, latest.keys, latest.titles, least((
        select min({dated_at}) from issues
        where project_id = found.id and {target} is not null and {dated_at} >= %(moment)s
    ), {marked_next}) as changes_at
from found
cross join lateral (
    select count(*) as count, avg(value) as mean, array_agg(value) as sorted
    from (select {target} as value from issues where project_id = found.id and {is_known} order by {target}) as outcomes
) as total
cross join lateral (
    select array_agg(value) as values, {estimates} as estimates, {keys} as keys, {titles} as titles
    from (
        select {target} as value, estimate_hours as estimate, key, title from issues
        where project_id = found.id and {is_known} order by {newest_first} limit {recent}
    ) as outcomes
) as latest""")

_GROUP = sql.SQL("""
select found.name, asked.place, null, null, null, null, latest.values, latest.estimates, null, null, null
from unnest((select {projects}::text[]), (select {places}::bigint[]), {arrays}) as asked (name, place, {keys_})
join found on found.name = asked.name
cross join lateral (
    select array_agg(value) as values, {estimates} as estimates
    from (
        select {target} as value, estimate_hours as estimate from issues
        where project_id = found.id and {shared} and {is_known} order by {newest_first} limit {rolling}
    ) as outcomes
) as latest
where latest.values is not null""")
