"""Samples that drift and realised error are measured on: what was asked, what was answered, and what came out.

Bounded: of a longer stretch, the rows nearest to its end that matters.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal
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
    """The numbers that a version answered between two moments, the latest ones where there are many."""
    rows = connection.execute(
        sql.SQL("""
            select {value} as value from predictions where family = %(family)s and id >= least_id(%(since)s)
                and id < least_id(%(until)s) and model_name = %(model_name)s and model_version = %(version)s
            order by id desc limit %(rows)s""").format(value=_VALUE),
        {**vars(version), "family": version.family, "since": since, "until": until, "rows": MOST_ROWS},
    )
    return [float(row["value"]) for row in rows if row["value"] is not None]


def realised_answers(
    connection: Connection, version: AnsweringVersion, since: datetime, until: datetime
) -> list[RealisedAnswer]:
    """What a version answered between two moments and what came out, in order of asking; the latest ones of many."""
    rows = connection.execute(
        sql.SQL("""
            select * from (
                select predicted.id, {value} as value, {low} as low, {high} as high, truth.value as truth
                from (
                    select distinct on (prediction_id) prediction_id, value from ground_truth
                    where family = %(family)s and prediction_id >= least_id(%(since)s)
                        and prediction_id < least_id(%(until)s)
                    order by prediction_id, recorded_at desc, id desc
                ) as truth
                join predictions as predicted on predicted.family = %(family)s and predicted.id = truth.prediction_id
                where predicted.model_name = %(model_name)s and predicted.model_version = %(version)s
                order by predicted.id desc limit %(rows)s
            ) as latest where value is not null order by id""").format(value=_VALUE, low=_LOW, high=_HIGH),
        {**vars(version), "family": version.family, "since": since, "until": until, "rows": MOST_ROWS},
    )
    return [
        RealisedAnswer(row["value"], row["low"] or 0.0, math.inf if row["high"] is None else row["high"], row["truth"])
        for row in rows
    ]


# An answer is public, and says its numbers under the names of its model type.
_VALUE = sql.SQL("coalesce(answer ->> 'recommended_points', answer ->> 'predicted_hours')::float8")
_LOW = sql.SQL("coalesce(answer -> 'interval' ->> 'low', answer -> 'prediction_range' ->> 'min')::float8")
_HIGH = sql.SQL("coalesce(answer -> 'interval' ->> 'high', answer -> 'prediction_range' ->> 'max')::float8")
