"""Known outcomes of predictions: a correction is a further row, and the view `counting_truth` says which row counts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from forecastle.store.database import Connection
from forecastle.store.identifiers import new_id

LOCK = 7_302_741_007  # one writer at a time: two would both find that the same truth is not there yet

IMPORT = "import"
"""The source of what an import brought; what anybody else says outranks it."""


@dataclass(frozen=True)
class Truth:
    """A known outcome, in the unit of the prediction's target."""

    value: float
    source: str
    known_at: datetime
    recorded_by: str
    recorded_at: datetime


@dataclass(frozen=True)
class Predicted:
    """A prediction that somebody tells the outcome of, and what was said of it last, imports apart."""

    family: str
    model_type: str
    target: str | None
    said: Truth | None


@dataclass(frozen=True)
class NewTruth:
    """A row to be written."""

    family: str
    prediction_id: UUID
    truth: Truth


def find_predicted(connection: Connection, ids: Sequence[UUID]) -> dict[UUID, Predicted]:
    """The predictions with these ids, in one query; others are absent. Whoever calls is alone until the commit."""
    connection.execute("select pg_advisory_xact_lock(%s)", (LOCK,))
    rows = connection.execute(_FIND_PREDICTED, {"ids": list(ids), "import": IMPORT})
    return {
        row["id"]: Predicted(row["family"], row["model_type"], row["target"], _truth(row) if row["source"] else None)
        for row in rows
    }


def insert_truths(connection: Connection, truths: Sequence[NewTruth]) -> None:
    """Write truths; of several of one prediction the later one is the newer."""
    with connection.cursor() as cursor:
        cursor.executemany(
            "insert into ground_truth (family, prediction_id, id, value, source, known_at, recorded_by, recorded_at) "
            "values (%s, %s, %s, %s, %s, %s, %s, %s)",
            [
                (
                    new.family, new.prediction_id, new_id(), new.truth.value, new.truth.source, new.truth.known_at,
                    new.truth.recorded_by, new.truth.recorded_at,
                )
                for new in truths
            ],
        )  # fmt: skip


def truths_of(connection: Connection, family: str, prediction_id: UUID) -> list[Truth]:
    """Every truth of a prediction: the one that counts first, then the others in the order in which they came."""
    rows = connection.execute(
        "select ground_truth.* from ground_truth left join counting_truth using (family, prediction_id, id) "
        "where family = %(family)s and prediction_id = %(id)s order by counting_truth.step, ground_truth.step",
        {"family": family, "id": prediction_id},
    )
    return [_truth(row) for row in rows]


def derive_truths(connection: Connection) -> int:
    """Give the outcomes of the table `incoming` to the predictions about its issues; returns to how many.

    Has to run before the issues are updated: what they hold then says which outcomes are new and which are corrected.

    - A new outcome goes to the predictions that were asked before it was known: before its moment, or, of an issue
      without dates, before the import. Nobody knows since when a dated outcome without a moment is known: it goes to
      none.
    - A correction goes to the predictions that got an outcome before.
    """
    connection.execute("select pg_advisory_xact_lock(%s)", (LOCK,))
    # A month that was empty when it was last looked at would be read whole for every prediction.
    connection.execute("set local enable_seqscan = off")
    count = connection.execute(_DERIVE, {"import": IMPORT}).rowcount
    connection.execute("set local enable_seqscan = on")
    return count


def _truth(row: dict[str, object]) -> Truth:
    return Truth(**{name: row[name] for name in Truth.__dataclass_fields__})  # type: ignore[arg-type]


_FIND_PREDICTED = """
select asked.id, predicted.*, said.*
from (select distinct unnest(%(ids)s::uuid[]) as id) as asked
-- One look-up each, so that only the month of each id is read.
cross join lateral (select family, model_type, target from predictions where id = asked.id limit 1) as predicted
left join lateral (
    select value, source, known_at, recorded_by, recorded_at from ground_truth
    where family = predicted.family and prediction_id = asked.id and source <> %(import)s
    order by step desc limit 1
) as said on true
"""

_DERIVE = """
insert into ground_truth (family, prediction_id, id, value, source, known_at, recorded_by)
select predicted.family, predicted.id, gen_random_uuid(), brought.value, %(import)s,
    coalesce(brought.known_at, greatest(now(), predicted.moment)), %(import)s
from (
    select incoming.project_id, incoming.key, incoming.time_basis, outcome.target, outcome.value,
        outcome.before is not null as corrects,
        case incoming.time_basis when 'date' then greatest(outcome.known_at, incoming.created_at) end as known_at
    from incoming left join issues using (project_id, key)
    cross join lateral (values
        ('effort_hours', issues.effort_hours, incoming.effort_hours, incoming.completed_at),
        ('story_points', issues.story_points, incoming.story_points, incoming.story_points_known_at)
    ) as outcome (target, before, value, known_at)
    where outcome.value <> outcome.before or outcome.before is null and outcome.value is not null
        and (incoming.time_basis = 'ordinal' or outcome.known_at is not null)
) as brought
join predictions as predicted on predicted.family = 'delivery' and predicted.project_id = brought.project_id
    and predicted.issue_key = brought.key and predicted.target = brought.target
left join lateral (
    select value from ground_truth
    where family = predicted.family and prediction_id = predicted.id and source = %(import)s order by step desc limit 1
) as given on true
where given.value is distinct from brought.value
    and case when brought.corrects then given.value is not null
        else brought.known_at is null or predicted.moment < brought.known_at end
"""
