"""What was served, held against what came out: sums by version, project and block of time, in one query."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from forecastle.monitoring.sums import RealisedSums
from forecastle.store.database import Connection

BLOCKS = 10
"""Contiguous blocks of time, as `PairedSums.over_time` cuts them."""


@dataclass(frozen=True)
class Scope:
    """Which predictions: of a model type, and where given of one registered model, version, project, and since when."""

    model_type: str
    model_name: str | None = None
    version: int | None = None
    project: UUID | None = None
    since: datetime | None = None


@dataclass(frozen=True)
class ServedBy:
    """A version in a project; None for all projects together."""

    model_name: str
    version: int
    project: UUID | None


@dataclass
class Served:
    """What a version served: sums over blocks of time in their order, and what is in no sum.

    `waiting` predictions have no outcome yet. Those `asked_late` were asked after it was known: no prediction at all.
    """

    blocks: list[RealisedSums] = field(default_factory=list)
    waiting: int = 0
    asked_late: int = 0


def read_served(connection: Connection, scope: Scope) -> dict[ServedBy, Served]:
    """Every version in the scope, in each of its projects and in all of them.

    Of several answers of a version about one issue the first counts: an issue that stays open for long and is scored
    every night would count a hundred times.
    """
    parameters = {**vars(scope), "family": scope.model_type.partition(".")[0], "blocks": BLOCKS}
    # Of one project the truths are looked up one by one; of all projects, all truths are read.
    truths = _TRUTHS if scope.project is None else _TRUTH_OF_EACH
    return _gathered(connection.execute(f"{_ASKED}{truths}{_SERVED}".encode(), parameters))


def _gathered(rows: Iterable[Mapping[str, Any]]) -> dict[ServedBy, Served]:
    found: dict[ServedBy, Served] = {}
    for row in rows:
        key = ServedBy(row["model_name"], row["model_version"], row["project_id"])
        served = found.setdefault(key, Served())
        if row["block"] is None:
            served.waiting, served.asked_late = row["waiting"], row["asked_late"]
        else:
            served.blocks.append(RealisedSums(**{name: row[name] for name in RealisedSums.__dataclass_fields__}))
    return found


_TRUTHS = """
    left join counting_truth as truth on truth.family = served.family and truth.prediction_id = served.id
"""
_TRUTH_OF_EACH = """
    left join lateral (
        select value, known_at from counting_truth
        where family = served.family and prediction_id = served.id limit 1
    ) as truth on true
"""
_ASKED = """
with asked as materialized (
    select served.model_name, served.model_version, served.project_id, served.id, served.moment, served.issue_key,
        served.value, served.low, served.high, served.baseline, truth.value as truth, truth.known_at
    from predictions as served
"""
_SERVED = """
    where served.family = %(family)s and served.model_type = %(model_type)s and served.value is not null
        and (%(model_name)s::text is null or served.model_name = %(model_name)s)
        and (%(version)s::integer is null or served.model_version = %(version)s)
        and (%(project)s::uuid is null or served.project_id = %(project)s)
        and (%(since)s::timestamptz is null or served.id >= least_id(%(since)s))
), counted as (
    select distinct on (project_id, coalesce(issue_key, id::text) collate "C", model_version, model_name collate "C") *
    from asked where known_at >= moment
    order by project_id, coalesce(issue_key, id::text) collate "C", model_version, model_name collate "C", moment, id
), placed as (
    select *, baseline is not null as has_baseline, abs(value - truth) as loss, abs(baseline - truth) as baseline_loss,
        ntile(%(blocks)s) over (
            partition by model_name, model_version, project_id, baseline is null order by moment, id) as block,
        ntile(%(blocks)s) over (
            partition by model_name, model_version, baseline is null order by moment, id) as block_of_all
    from counted
)
select model_name, model_version, project_id, coalesce(block, block_of_all) as block, count(*) as rows,
    count(*) filter (where has_baseline) as compared,
    coalesce(sum(loss) filter (where has_baseline), 0) as loss, coalesce(sum(baseline_loss), 0) as baseline_loss,
    count(*) filter (where low is not null) as promised, count(*) filter (where truth between low and high) as held,
    0 as waiting, 0 as asked_late
from placed group by grouping sets (
    (model_name, model_version, project_id, has_baseline, block),
    (model_name, model_version, has_baseline, block_of_all))
union all
select model_name, model_version, project_id, null, 0, 0, 0, 0, 0, 0,
    count(*) filter (where truth is null), count(*) filter (where known_at < moment)
from asked group by grouping sets ((model_name, model_version, project_id), (model_name, model_version))
order by model_name, model_version desc, block
"""
