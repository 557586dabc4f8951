"""Samples that drift and realised error are measured on: what was asked, what was answered, and what came out.

Bounded: of a longer stretch, the rows nearest to its end that matters.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from psycopg import sql

from forecastle.store.database import Connection

MOST_ROWS = 5_000

NUMBERS = ("estimate_hours", "title", "description")
"""Fields of an issue that are numbers, or texts whose length is one."""
WORDS = ("project_id", "issue_type", "component", "priority")
"""Fields of an issue that are one of few words."""


@dataclass(frozen=True)
class AnsweringVersion:
    """A version of a registered model that answered."""

    model_type: str
    model_name: str
    version: int

    @property
    def family(self) -> str:
        return self.model_type.partition(".")[0]


@dataclass(frozen=True)
class RealisedAnswer:
    """What was answered, the interval that was promised, and what came out, in the target's unit."""

    value: float
    low: float
    high: float
    truth: float


def sample_issues(
    connection: Connection,
    fields: Sequence[str],
    side: Literal["until", "since"],
    moment: datetime,
    project: UUID | None,
) -> list[dict[str, float | str | None]]:
    """The latest issues that were asked up to `moment`, or after it: those of `fields` that are numbers or words.

    An issue was asked at its creation; one without dates when it was imported. Of texts only the length is read.
    """
    columns = [
        sql.SQL("length({0}) as {0}").format(sql.Identifier(name))
        if name in ("title", "description")
        else sql.SQL("{0}::text as {0}" if name in WORDS else "{0}").format(sql.Identifier(name))
        for name in (*NUMBERS, *WORDS)
        if name in fields
    ]
    query = sql.SQL(
        "select {columns} from issues where {asked} {beside} %(moment)s "
        "and (%(project)s::uuid is null or project_id = %(project)s::uuid) order by {asked} desc limit %(rows)s"
    ).format(
        columns=sql.SQL(", ").join(columns),
        asked=sql.SQL("case time_basis when 'date' then created_at else imported_at end"),
        beside=sql.SQL("<=" if side == "until" else ">"),
    )
    found = connection.execute(query, {"moment": moment, "project": project, "rows": MOST_ROWS})
    return [dict(row) for row in found]


def answers_of(connection: Connection, version: AnsweringVersion, since: datetime, until: datetime) -> list[float]:
    """The numbers that a version answered between two moments, the latest ones where there are many.

    Of several answers about one issue the first counts: an open issue may be scored every night.
    """
    rows = connection.execute(
        """
        select distinct on (project_id, coalesce(issue_key, id::text)) value from (
            select id, project_id, issue_key, value from predictions where family = %(family)s
                and id >= least_id(%(since)s) and id < least_id(%(until)s) and model_name = %(model_name)s
                and model_version = %(version)s and value is not null
            order by id desc limit %(rows)s
        ) as latest order by project_id, coalesce(issue_key, id::text), id""",
        _parameters(version, since, until),
    )
    return [float(row["value"]) for row in rows]


def realised_answers(
    connection: Connection, version: AnsweringVersion, since: datetime, until: datetime
) -> list[RealisedAnswer]:
    """What a version answered between two moments and what came out, in order of asking; the latest ones of many.

    As in `store/performance.py` the first answer about an issue counts, and one that was asked after its outcome was
    known is none. Left out are those about issues that are to be unlearned; one about no issue that is known here was
    asked at its own moment.
    """
    rows = connection.execute(
        """
        select * from (
            select distinct on (asked.project_id, coalesce(asked.issue_key, asked.id::text))
                asked.id, asked.value, asked.low, asked.high, truth.value as truth
            from predictions as asked join counting_truth as truth
                on truth.family = asked.family and truth.prediction_id = asked.id
            where asked.family = %(family)s and asked.id >= least_id(%(since)s) and asked.id < least_id(%(until)s)
                and truth.family = %(family)s and truth.prediction_id >= least_id(%(since)s)
                and truth.prediction_id < least_id(%(until)s) and truth.known_at >= asked.moment
                and asked.model_name = %(model_name)s and asked.model_version = %(version)s and asked.value is not null
                and not exists (
                    select from unlearned_periods as period left join issues
                        on issues.project_id = asked.project_id and issues.key = asked.issue_key
                    where period.model_type = %(model_type)s and period.withdrawn_at is null
                        and coalesce(period.project_id, asked.project_id) = asked.project_id
                        and issues.time_basis is distinct from 'ordinal'
                        and (coalesce(issues.created_at, asked.moment) <@ tstzrange(from_at, until_at)
                            or truth.known_at <@ tstzrange(from_at, until_at))
                )
            order by asked.project_id, coalesce(asked.issue_key, asked.id::text), asked.id
        ) as first order by id desc limit %(rows)s""",
        _parameters(version, since, until),
    ).fetchall()
    return [
        RealisedAnswer(
            row["value"],
            -math.inf if row["low"] is None else row["low"],
            math.inf if row["high"] is None else row["high"],
            row["truth"],
        )
        for row in reversed(rows)
    ]


def _parameters(version: AnsweringVersion, since: datetime, until: datetime) -> dict[str, Any]:
    return {**vars(version), "family": version.family, "since": since, "until": until, "rows": MOST_ROWS}
