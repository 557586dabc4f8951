"""What gates have looked at: the rows that are used up, and what was decided on them."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from psycopg.types.json import Jsonb

from forecastle.store.database import Connection
from forecastle.store.identifiers import new_id

RowKey = tuple[str, str]
"""The cluster and the key of a row."""

MOST_REQUESTS = 1_000


@dataclass(frozen=True)
class Look:
    """One decision of the gate; `rows` are used up by it, and are none where there were too few to decide."""

    model_name: str
    model_version: int
    run_id: str
    verdict: str
    decision: dict[str, Any]
    rows: Collection[RowKey]


@dataclass(frozen=True)
class AskedInProduction:
    """A request that production answered, and its outcome where one is known."""

    prediction_id: UUID
    project_id: UUID
    moment: datetime
    request: dict[str, Any]
    truth: float | None


def looked_at(connection: Connection, model_name: str) -> frozenset[RowKey]:
    """The rows that a gate of this registered model has looked at."""
    found = connection.execute("select cluster, key from gate_rows where model_name = %s", (model_name,))
    return frozenset((row["cluster"], row["key"]) for row in found)


def find_verdict(connection: Connection, run_id: str) -> str | None:
    """What the gate said of the version that this run registered; None where it was never asked."""
    row = connection.execute("select verdict from gate_looks where run_id = %s", (run_id,)).fetchone()
    return None if row is None else row["verdict"]


def find_head(connection: Connection, run_id: str) -> str | None:
    """The head of the ledger against which the gate decided on this run's version; None where nothing says so."""
    row = connection.execute(
        "select decision ->> 'head' as head from gate_looks where run_id = %s", (run_id,)
    ).fetchone()
    return None if row is None else row["head"]


def add_look(connection: Connection, look: Look) -> None:
    """Write a decision and use its rows up; one that was used up meanwhile, by another training, stays with that."""
    identifier = new_id()
    connection.execute(
        "insert into gate_looks (id, model_name, model_version, run_id, verdict, decision) "
        "values (%s, %s, %s, %s, %s, %s)",
        (identifier, look.model_name, look.model_version, look.run_id, look.verdict, Jsonb(look.decision)),
    )
    clusters, keys = ([row[place] for row in look.rows] for place in (0, 1))
    connection.execute(
        "insert into gate_rows (model_name, cluster, key, look) "
        "select %s, cluster, key, %s from unnest(%s::text[], %s::text[]) as used (cluster, key) "
        "on conflict do nothing",
        (look.model_name, identifier, clusters, keys),
    )


def asked_in_production(connection: Connection, model_name: str, since: datetime) -> list[AskedInProduction]:
    """The latest MOST_REQUESTS requests that versions of this registered model answered, oldest first."""
    rows = connection.execute(
        "select id, project_id, moment, request, counting_truth.value as truth from predictions "
        "left join counting_truth on counting_truth.family = predictions.family and prediction_id = predictions.id "
        "and counting_truth.known_at >= predictions.moment "
        "where predictions.family = split_part(%(name)s, '.', 1) and model_name = %(name)s "
        "and moment >= %(since)s and predictions.id >= least_id(%(since)s) order by predictions.id desc limit %(most)s",
        {"name": model_name, "since": since, "most": MOST_REQUESTS},
    ).fetchall()
    return [
        AskedInProduction(row["id"], row["project_id"], row["moment"], row["request"], row["truth"])
        for row in reversed(rows)
    ]
