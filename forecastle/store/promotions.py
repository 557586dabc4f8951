"""The promotion ledger: steps that are only ever added."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, fields
from datetime import datetime
from typing import Any, Literal, LiteralString
from uuid import UUID

from psycopg import Error
from psycopg.errors import LockNotAvailable
from psycopg.types.json import Jsonb

from forecastle.errors import ConflictError
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

    `provenance` holds the run id, the digest of the data, the git commit and the feature digest of the version.
    `overridden` says that an admin moved it against the verdict, `trained_by_actor` that no second pair of eyes
    looked, `single_user_mode` that there was none.
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
    overridden: bool = False
    trained_by_actor: bool = False


@dataclass(frozen=True)
class LedgerStep:
    """A step as it was written; `hash` is that of its content and of the step before it."""

    step: int
    outcome: Outcome
    recorded_at: datetime
    hash: str
    promotion: Promotion


LOCK_SECONDS = 30
"""How long a promotion waits for another one of the same registered model."""


@contextmanager
def locked(connection: Connection, model_name: str) -> Iterator[None]:
    """Hold off every other promotion of this registered model, over any number of transactions.

    The lock is the connection's: it goes with a process that is killed. Raises ConflictError where somebody else
    holds it for long.
    """
    try:
        connection.execute("select set_config('lock_timeout', %s, true)", (f"{LOCK_SECONDS}s",))
        connection.execute("select pg_advisory_lock(hashtextextended(%s, 0))", (model_name,))
        connection.execute("set local lock_timeout to default")
    except LockNotAvailable as error:
        raise ConflictError(f"somebody else is moving production of {model_name}; look again in a moment") from error
    try:
        yield
    finally:
        with suppress(Error):  # a broken connection holds no lock
            connection.rollback()
            connection.execute("select pg_advisory_unlock(hashtextextended(%s, 0))", (model_name,))
            connection.commit()


def add_step(connection: Connection, promotion: Promotion, outcome: Outcome) -> LedgerStep:
    """Write a step of a promotion and commit it; a confirmed one wakes the workers.

    It is committed at once, as whoever comes after a crash has to find it, and as all other steps wait for it.
    """
    values = {name: getattr(promotion, name) for name in _COLUMNS} | {
        "outcome": outcome,
        "files": Jsonb([asdict(file) for file in promotion.files]),
        "provenance": Jsonb(dict(promotion.provenance)),
    }
    row = connection.execute(_INSERT, values).fetchone()
    assert row is not None
    if outcome == "confirmed":
        connection.execute("select pg_notify(%s, %s)", (CHANNEL, promotion.model_name))
    connection.commit()
    return _step(row)


_COLUMNS = tuple(item.name for item in fields(Promotion))
_INSERT: LiteralString = (
    f"insert into promotions (outcome, {', '.join(_COLUMNS)}) "  # noqa: S608 - names of our own fields
    f"values (%(outcome)s, {', '.join(f'%({name})s' for name in _COLUMNS)}) returning *"
)


def serving(
    connection: Connection, model_name: str | None = None, moment: datetime | None = None
) -> dict[str, LedgerStep]:
    """What serves, or served at `moment`: the newest confirmed step until then of each registered model, by its name.

    With `model_name` only that model's.
    """
    rows = connection.execute(
        "select distinct on (model_name) * from promotions where outcome = 'confirmed' "
        "and (%(name)s::text is null or model_name = %(name)s) "
        "and (%(moment)s::timestamptz is null or recorded_at <= %(moment)s) order by model_name, step desc",
        {"name": model_name, "moment": moment},
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


def history(
    connection: Connection, model_name: str, until: datetime | None = None, limit: int | None = None
) -> list[LedgerStep]:
    """The newest steps of a registered model until a moment, newest first; how each ended, open intents too."""
    rows = connection.execute(
        "select * from promotions as step where model_name = %(name)s "
        "and (%(until)s::timestamptz is null or recorded_at <= %(until)s) and (outcome <> 'intent' or not exists "
        "(select from promotions as later where later.promotion_id = step.promotion_id and later.outcome <> 'intent')) "
        "order by step desc limit %(limit)s",
        {"name": model_name, "until": until, "limit": limit},
    )
    return [_step(row) for row in rows]


def confirmed_steps(connection: Connection, model_name: str) -> list[LedgerStep]:
    """Every confirmed step of a registered model, oldest first."""
    return _steps(
        connection,
        "select * from promotions where model_name = %(name)s and outcome = 'confirmed' order by step",
        model_name,
    )


def all_confirmed(connection: Connection) -> dict[str, list[LedgerStep]]:
    """Every confirmed step, oldest first, by registered model."""
    found: dict[str, list[LedgerStep]] = {}
    for step in _steps(connection, "select * from promotions where outcome = 'confirmed' order by step", None):
        found.setdefault(step.promotion.model_name, []).append(step)
    return found


def open_intents(connection: Connection, model_name: str | None = None) -> list[LedgerStep]:
    """Intents (of one registered model, or of all) that were neither confirmed nor undone.

    Somebody is moving production now, or something stopped half-way.
    """
    return _steps(
        connection,
        "select * from promotions as intent where (%(name)s::text is null or model_name = %(name)s) "
        "and outcome = 'intent' and not exists (select from promotions as later "
        "where later.promotion_id = intent.promotion_id and later.outcome <> 'intent') order by step",
        model_name,
    )


def _steps(connection: Connection, query: LiteralString, model_name: str | None) -> list[LedgerStep]:
    return [_step(row) for row in connection.execute(query, {"name": model_name})]


def _step(row: dict[str, Any]) -> LedgerStep:
    values = {name: row[name] for name in _COLUMNS}
    files = tuple(ApprovedFile(**file) for file in row["files"])
    promotion = Promotion(**values | {"files": files, "provenance": in_names_of_today(row["provenance"])})
    return LedgerStep(row["step"], row["outcome"], row["recorded_at"], row["hash"], promotion)


def in_names_of_today(told: Mapping[str, str]) -> dict[str, str]:
    """What tags or a provenance say; those of before name the digest of the data `dataset.digest`."""
    return {"data.digest" if name == "dataset.digest" else name: value for name, value in told.items()}
