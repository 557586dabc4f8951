"""The promotion ledger: steps that are only ever added."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, Literal, LiteralString
from uuid import UUID

from psycopg import Error
from psycopg.types.json import Jsonb

from forecastle.store.database import Connection

CHANNEL = "forecastle_promotions"
Action = Literal["promote", "rollback"]
Outcome = Literal["intent", "confirmed", "undone"]


@dataclass(frozen=True)
class ApprovedFile:
    """One file of a version: its name in the bundle, its digest, its size in bytes.

    The content lies among the objects under `files/<sha256>`, where nothing can change it unnoticed.
    """

    name: str
    sha256: str
    size: int

    @property
    def object_name(self) -> str:
        return f"files/{self.sha256}"


@dataclass(frozen=True)
class Promotion:
    """Who moved production from which version to which, when, why, and the digests of what was approved.

    `provenance` holds the run id, the dataset digest, the git commit and the feature digest of the version.
    """

    promotion_id: UUID
    action: Action
    model_name: str
    from_version: int | None
    to_version: int
    actor: str
    reason: str
    verdict: str
    single_user_mode: bool
    files: tuple[ApprovedFile, ...]
    provenance: Mapping[str, str]


@dataclass(frozen=True)
class LedgerStep:
    step: int
    outcome: Outcome
    recorded_at: datetime
    promotion: Promotion


@contextmanager
def locked(connection: Connection, model_name: str) -> Iterator[None]:
    """Hold off every other promotion of this registered model, over any number of transactions.

    The lock is the connection's: it goes with a process that is killed.
    """
    connection.execute("select pg_advisory_lock(hashtextextended(%s, 0))", (model_name,))
    try:
        yield
    finally:
        with suppress(Error):  # a broken connection holds no lock
            connection.rollback()
            connection.execute("select pg_advisory_unlock(hashtextextended(%s, 0))", (model_name,))
            connection.commit()


def add_step(connection: Connection, promotion: Promotion, outcome: Outcome) -> None:
    """Write a step of a promotion; a confirmed one wakes the workers when the transaction commits."""
    connection.execute(
        "insert into promotions (promotion_id, outcome, action, model_name, from_version, to_version, actor, reason, "
        "verdict, single_user_mode, files, provenance) values (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)",
        (
            promotion.promotion_id, outcome, promotion.action, promotion.model_name, promotion.from_version,
            promotion.to_version, promotion.actor, promotion.reason, promotion.verdict, promotion.single_user_mode,
            Jsonb([asdict(file) for file in promotion.files]), Jsonb(dict(promotion.provenance)),
        ),
    )  # fmt: skip
    if outcome == "confirmed":
        connection.execute("select pg_notify(%s, %s)", (CHANNEL, promotion.model_name))


def serving(connection: Connection, model_name: str | None = None) -> dict[str, LedgerStep]:
    """The newest confirmed step of each registered model (or of the one named), by its name."""
    rows = connection.execute(
        "select distinct on (model_name) * from promotions where outcome = 'confirmed' "
        "and (%(name)s::text is null or model_name = %(name)s) order by model_name, step desc",
        {"name": model_name},
    )
    return {row["model_name"]: _step(row) for row in rows}


def newest_steps(connection: Connection, model_name: str | None = None) -> dict[str, int]:
    """The number of the newest confirmed step of each registered model (or of the one named), by its name."""
    rows = connection.execute(
        "select model_name, max(step) as step from promotions where outcome = 'confirmed' "
        "and (%(name)s::text is null or model_name = %(name)s) group by model_name",
        {"name": model_name},
    )
    return {row["model_name"]: row["step"] for row in rows}


def confirmed_steps(connection: Connection, model_name: str) -> list[LedgerStep]:
    """Every confirmed step of a registered model, oldest first."""
    return _steps(
        connection,
        "select * from promotions where model_name = %s and outcome = 'confirmed' order by step",
        model_name,
    )


def open_intents(connection: Connection, model_name: str) -> list[LedgerStep]:
    """Intents that were neither confirmed nor undone: something stopped half-way."""
    return _steps(
        connection,
        "select * from promotions as intent where model_name = %s and outcome = 'intent' and not exists "
        "(select from promotions as later where later.promotion_id = intent.promotion_id and later.step > intent.step) "
        "order by step",
        model_name,
    )


def _steps(connection: Connection, query: LiteralString, model_name: str) -> list[LedgerStep]:
    return [_step(row) for row in connection.execute(query, (model_name,))]


def _step(row: dict[str, Any]) -> LedgerStep:
    promotion = Promotion(
        promotion_id=row["promotion_id"],
        action=row["action"],
        model_name=row["model_name"],
        from_version=row["from_version"],
        to_version=row["to_version"],
        actor=row["actor"],
        reason=row["reason"],
        verdict=row["verdict"],
        single_user_mode=row["single_user_mode"],
        files=tuple(ApprovedFile(**file) for file in row["files"]),
        provenance=row["provenance"],
    )
    return LedgerStep(row["step"], row["outcome"], row["recorded_at"], promotion)
