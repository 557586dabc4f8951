"""Retraining: what a decision has to know, and the decisions themselves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from datetime import datetime, timedelta
from typing import Any, LiteralString
from uuid import UUID

from psycopg import sql
from psycopg.types.json import Jsonb

from forecastle.store.database import Connection
from forecastle.store.job_runs import COLUMNS, JobRun, many
from forecastle.store.promotions import Promotion
from forecastle.store.unlearning import unlearned_condition

TRAINING = "training.train"
"""The job that trains."""
_TRY_AGAIN = ("server_unavailable", "worker_lost")
"""Failures that say nothing about the training itself."""


@dataclass(frozen=True)
class StoredDecision:
    """One decision; `serves` is the version that was in production, `training_run` the run that was planned."""

    id: UUID
    model_name: str
    decided_at: datetime
    decided_by: str
    verdict: str
    reasons: list[str]
    flip: str
    signals: list[dict[str, Any]]
    basis: dict[str, Any]
    policy: dict[str, Any]
    serves: int | None
    feature_digest: str
    decision_run: UUID | None
    training_run: UUID | None


@dataclass(frozen=True)
class ReadData:
    """A dataset version: what it is known by, how many rows it has, and when it was first saved."""

    digest: str
    rows: int
    created_at: datetime

    def days_at(self, moment: datetime) -> float:
        """Their age in days: what is as old as the data that taught it, however late it went to production."""
        return (moment - self.created_at) / timedelta(days=1)


@dataclass(frozen=True)
class Learning:
    """What a registered model learns: its model type, the fields of the outcome and its moment, one project or all."""

    model_type: str
    target: str
    known_field: str
    project: UUID | None

    @property
    def parameters(self) -> dict[str, Any]:
        return {"model_type": self.model_type, "project": self.project}

    @property
    def teaches(self) -> sql.Composed:
        """That a row of `issues` has an outcome with a moment, and is not to be unlearned."""
        known, target = sql.Identifier("issues", self.known_field), sql.Identifier("issues", self.target)
        parts = sql.SQL("{} is not null and (issues.time_basis = 'ordinal' or {} is not null) and not {} and {}")
        return parts.format(target, known, unlearned_condition(self.known_field), _OF_PROJECT)


def lock_model(connection: Connection, model_name: str) -> None:
    """Hold off every other decision about this registered model until the transaction ends."""
    connection.execute("select pg_advisory_xact_lock(hashtextextended(%s, 2))", (model_name,))


def count_rows(connection: Connection, learning: Learning) -> int:
    """How many rows a training would read now."""
    return _count(connection, sql.SQL("select count(*) as n from issues where {}").format(learning.teaches), learning)


def count_new_rows(connection: Connection, learning: Learning, since: datetime) -> int:
    """How many of them came, or were changed, by an import that began later than `since`."""
    query = sql.SQL("select count(*) as n from issues where {} and issues.imported_at > %(since)s")
    return _count(connection, query.format(learning.teaches), learning, since=since)


def count_unlearned_rows(connection: Connection, learning: Learning, since: datetime) -> int:
    """How many rows that were there at `since` lie in a period that was marked later."""
    query = sql.SQL(
        "select count(*) as n from issues where {} is not null and {} and {} and issues.imported_at <= %(since)s"
    ).format(
        sql.Identifier("issues", learning.target),
        unlearned_condition(learning.known_field, sql.SQL("period.marked_at > %(since)s")),
        _OF_PROJECT,
    )
    return _count(connection, query, learning, since=since)


def _count(connection: Connection, query: sql.Composed, learning: Learning, **more: Any) -> int:
    row = connection.execute(query, {**learning.parameters, **more}).fetchone()
    assert row is not None
    return int(row["n"])


def periods_changed_since(connection: Connection, model_type: str, since: datetime) -> bool:
    """Whether a period was marked or withdrawn later than `since`."""
    found = connection.execute(
        "select 1 from unlearned_periods where model_type = %s and greatest(marked_at, withdrawn_at) > %s limit 1",
        (model_type, since),
    )
    return found.fetchone() is not None


def newest_data(connection: Connection, model_name: str, digest: str | None = None) -> ReadData | None:
    """The newest dataset version of a registered model, or the one of this digest."""
    row = connection.execute(
        "select digest, rows, created_at from dataset_versions where name = %(name)s "
        "and (%(digest)s::text is null or digest = %(digest)s) order by version desc limit 1",
        {"name": model_name, "digest": digest},
    ).fetchone()
    return None if row is None else ReadData(**row)


def data_of(connection: Connection, promotion: Promotion) -> ReadData | None:
    """The data that taught the version which this promotion let serve, where they are known here."""
    return newest_data(connection, promotion.model_name, promotion.provenance.get("data.digest", "unknown"))


def open_training(connection: Connection, model_type: str, projects: Sequence[str]) -> JobRun | None:
    """A run of the training that has not ended; `projects` are all names that a run may have of the project."""
    return _training(connection, model_type, projects, "ended_at is null")


def last_training(connection: Connection, model_type: str, projects: Sequence[str]) -> JobRun | None:
    """The newest run of the training that succeeded, or failed for reasons of its own."""
    ended: LiteralString = (
        "(outcome = 'succeeded' or outcome = 'failed' and coalesce(error_code, '') <> all(%(again)s))"
    )
    return _training(connection, model_type, projects, ended)


def _training(
    connection: Connection, model_type: str, projects: Sequence[str], condition: LiteralString
) -> JobRun | None:
    found = many(
        connection,
        f"select {COLUMNS} from job_runs where name = %(name)s and arguments ->> 'model_type' = %(model_type)s "
        f"and coalesce(arguments ->> 'project', 'all') = any(%(projects)s) and {condition} "
        "order by planned_at desc, id desc limit 1",
        {"name": TRAINING, "model_type": model_type, "projects": list(projects), "again": list(_TRY_AGAIN)},
    )
    return found[0] if found else None


def insert_decision(connection: Connection, found: StoredDecision) -> None:
    names = [item.name for item in fields(StoredDecision)]
    values = [getattr(found, name) for name in names]
    connection.execute(
        sql.SQL("insert into retraining_decisions ({}) values ({})").format(
            sql.SQL(", ").join(map(sql.Identifier, names)), sql.SQL(", ").join([sql.Placeholder()] * len(names))
        ),
        [Jsonb(value) if isinstance(value, dict | list) else value for value in values],
    )


def list_decisions(connection: Connection, model_name: str, limit: int = 30) -> list[StoredDecision]:
    """The newest decisions about a registered model."""
    return _decisions(
        connection, "model_name = %(name)s order by decided_at desc, id desc limit %(limit)s",
        {"name": model_name, "limit": limit},
    )  # fmt: skip


def find_decision_of_run(connection: Connection, decision_run: UUID, model_name: str) -> StoredDecision | None:
    """What an earlier attempt of the same run decided."""
    condition: LiteralString = "decision_run = %(run)s and model_name = %(name)s"
    return next(iter(_decisions(connection, condition, {"run": decision_run, "name": model_name})), None)


def find_decision_for_training(connection: Connection, training_run: UUID) -> StoredDecision | None:
    """The decision that planned this training, or the one in whose place it is tried again."""
    condition: LiteralString = (
        "training_run in (select unnest(array[id, in_place_of]) from job_runs where id = %(run)s)"
    )
    return next(iter(_decisions(connection, condition, {"run": training_run})), None)


def _decisions(connection: Connection, condition: LiteralString, values: dict[str, Any]) -> list[StoredDecision]:
    rows = connection.execute(f"select * from retraining_decisions where {condition}", values)
    return [StoredDecision(**row) for row in rows]


_OF_PROJECT = sql.SQL("(%(project)s::uuid is null or issues.project_id = %(project)s::uuid)")
