"""Jobs: what was planned, who holds the lease, and how it ended.

Moments are the database's: workers' clocks may differ.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any, Literal, LiteralString
from uuid import UUID

from psycopg.types.json import Jsonb

from forecastle.errors import ConflictError, InputError, NotFoundError
from forecastle.store.database import Connection
from forecastle.store.identifiers import new_id

CHANNEL = "forecastle_jobs"
SCHEDULE = "schedule"
"""Who plans ticks."""
Outcome = Literal["succeeded", "failed", "skipped", "cancelled"]
Beat = Literal["held", "cancel", "lost"]

FREE: LiteralString = (
    "(lease_until is null or lease_until < clock_timestamp() or lease_until > clock_timestamp() + interval '5 minutes')"
)
"""The condition that nobody holds a run. A lease for longer than any is of a clock that was set back since."""


@dataclass(frozen=True)
class JobRun:
    """One run of a job: a row that is planned, sent, held under a lease, and ended.

    `in_place_of` is the run that was planned first and did not succeed, where this one is tried in its place.
    """

    id: UUID
    name: str
    queue: str | None
    arguments: dict[str, str]
    planned_at: datetime
    planned_by: str
    due_key: str | None
    sent_at: datetime | None
    started_at: datetime | None
    worker: str | None
    lease_token: UUID | None
    heartbeat_at: datetime | None
    lease_until: datetime | None
    attempts: int
    cancel_requested_at: datetime | None
    ended_at: datetime | None
    outcome: Outcome | None
    items: int | None
    error_code: str | None
    detail: str | None
    in_place_of: UUID | None

    @property
    def state(self) -> str:
        """The outcome, or how far it has come."""
        if self.outcome is not None:
            return self.outcome
        if self.cancel_requested_at is not None:
            return "cancelling"
        return "running" if self.started_at else "sent" if self.sent_at else "planned"


@dataclass(frozen=True)
class Ending:
    """How a run ended; `detail` is a sentence without anybody's text, `items` what was done."""

    outcome: Outcome
    detail: str
    items: int | None = None
    error_code: str | None = None


COLUMNS: LiteralString = ", ".join(item.name for item in fields(JobRun))


def now(connection: Connection) -> datetime:
    """The database's clock."""
    row = connection.execute("select clock_timestamp() as now").fetchone()
    assert row is not None
    moment: datetime = row["now"]
    return moment


def plan(
    connection: Connection,
    name: str,
    arguments: Mapping[str, str],
    planned_by: str,
    due_key: str | None = None,
    in_place_of: UUID | None = None,
) -> JobRun | None:
    """Write a planned run and wake the dispatcher; None where `due_key` was planned before."""
    row = connection.execute(
        "insert into job_runs (id, name, arguments, planned_by, due_key, in_place_of) values (%s, %s, %s, %s, %s, %s) "
        f"on conflict (due_key) do nothing returning {COLUMNS}",
        (new_id(), name, Jsonb(dict(arguments)), planned_by, due_key, in_place_of),
    ).fetchone()
    if row is None:
        return None
    connection.execute("select pg_notify(%s, '')", (CHANNEL,))
    return JobRun(**row)


def take_lease(connection: Connection, run_id: UUID, worker: str, seconds: float) -> JobRun | None:
    """The run, now held by `worker`; None where another one holds it, or it has ended or is to be cancelled."""
    return _one(
        connection,
        "update job_runs set started_at = coalesce(started_at, clock_timestamp()), worker = %(worker)s, "
        "lease_token = %(token)s, attempts = attempts + 1, heartbeat_at = clock_timestamp(), "
        "lease_until = clock_timestamp() + make_interval(secs => %(seconds)s) "
        f"where id = %(id)s and ended_at is null and cancel_requested_at is null and {FREE}",
        {"id": run_id, "worker": worker, "token": new_id(), "seconds": seconds},
    )


def has_fallen_silent(connection: Connection, run_id: UUID) -> bool:
    """Whether a worker neither gave the run back nor renewed its lease in time, going by the clock."""
    found = connection.execute(
        f"select 1 from job_runs where id = %s and ended_at is null and lease_token is not null and {FREE}", (run_id,)
    )
    return found.fetchone() is not None


def heartbeat(connection: Connection, held: JobRun, seconds: float) -> Beat:
    """Renew the lease; says whether the run is to be cancelled, or was lost to another worker."""
    found = _one(
        connection,
        "update job_runs set heartbeat_at = clock_timestamp(), "
        "lease_until = clock_timestamp() + make_interval(secs => %(seconds)s) "
        "where id = %(id)s and lease_token = %(token)s and ended_at is null",
        {"id": held.id, "token": held.lease_token, "seconds": seconds},
    )
    if found is None:
        return "lost"
    return "held" if found.cancel_requested_at is None else "cancel"


def release(connection: Connection, held: JobRun) -> None:
    """Give the lease back unfinished, so that another worker takes it at once; this attempt does not count."""
    connection.execute(
        "update job_runs set lease_token = null, lease_until = clock_timestamp(), attempts = attempts - 1 "
        "where id = %s and lease_token = %s and ended_at is null",
        (held.id, held.lease_token),
    )
    connection.execute("select pg_notify(%s, '')", (CHANNEL,))


def end(connection: Connection, held: JobRun, ending: Ending) -> bool:
    """Write how it ended; False where the run was lost to another worker or has ended."""
    return _end(connection, held.id, ending, "lease_token = %(token)s", held.lease_token) is not None


def end_unheld(connection: Connection, run_id: UUID, ending: Ending) -> bool:
    """End a run that nobody holds; False where somebody does, or it has ended."""
    return _end(connection, run_id, ending, FREE) is not None


def _end(
    connection: Connection, run_id: UUID, ending: Ending, condition: LiteralString, token: UUID | None = None
) -> JobRun | None:
    return _one(
        connection,
        "update job_runs set ended_at = clock_timestamp(), lease_token = null, lease_until = null, "
        "outcome = %(outcome)s, items = %(items)s, error_code = %(error_code)s, detail = %(detail)s "
        f"where id = %(id)s and ended_at is null and {condition}",
        {"id": run_id, "token": token, **ending.__dict__},
    )


def request_cancel(connection: Connection, run_id: UUID, by: str) -> JobRun:
    """Ask for a run to be cancelled; one that nobody holds is at once. Raises NotFoundError, ConflictError."""
    found = get_run(connection, run_id)
    if found.ended_at is not None:
        raise ConflictError(f"run {run_id} has ended already: {found.outcome}")
    end_unheld(connection, run_id, Ending("cancelled", f"cancelled by {by} before it ran"))
    connection.execute(
        "update job_runs set cancel_requested_at = coalesce(cancel_requested_at, clock_timestamp()) where id = %s",
        (run_id,),
    )
    return get_run(connection, run_id)


def retry(connection: Connection, run_id: UUID, by: str) -> JobRun:
    """Plan a run that has ended anew, with the same arguments; in place of it, unless it succeeded.

    Raises NotFoundError, ConflictError.
    """
    found = get_run(connection, run_id)
    if found.ended_at is None:
        raise ConflictError(f"run {run_id} has not ended; cancel it first: forecastle jobs cancel {run_id}")
    first = None if found.outcome == "succeeded" else found.in_place_of or found.id
    again = plan(connection, found.name, found.arguments, by, in_place_of=first)
    assert again is not None  # it has no due key
    return again


def get_run(connection: Connection, run_id: UUID) -> JobRun:
    """Raises NotFoundError."""
    row = connection.execute(f"select {COLUMNS} from job_runs where id = %s", (run_id,)).fetchone()
    if row is None:
        raise NotFoundError("no run with this id; `forecastle jobs ls` lists them")
    return JobRun(**row)


def find_id(connection: Connection, start: str) -> UUID:
    """The id of the run that alone begins so. Raises NotFoundError, InputError."""
    rows = connection.execute(
        "select id from job_runs where starts_with(id::text, %s) limit 2", (start.lower(),)
    ).fetchall()
    if not rows or not start:
        raise NotFoundError("no run with this id; `forecastle jobs ls` lists them")
    if len(rows) > 1:
        raise InputError(f"several runs begin with {start}: give more of the id")
    return UUID(str(rows[0]["id"]))


def open_among(connection: Connection, ids: Collection[UUID]) -> set[UUID]:
    """Which of these runs have not ended."""
    rows = connection.execute("select id from job_runs where id = any(%s) and ended_at is null", (list(ids),))
    return {row["id"] for row in rows}


def list_runs(
    connection: Connection,
    limit: int = 30,
    name: str | None = None,
    outcome: str | None = None,
    before: UUID | None = None,
) -> list[JobRun]:
    """The newest runs, of one job or of all, with one outcome (`open`: none yet) or any; older than `before`."""
    return many(
        connection,
        f"select {COLUMNS} from job_runs where (%(name)s::text is null or name = %(name)s) "
        "and (%(outcome)s::text is null or coalesce(outcome, 'open') = %(outcome)s) and (%(before)s::uuid is null "
        "or (planned_at, id) < (select planned_at, id from job_runs where id = %(before)s)) "
        "order by planned_at desc, id desc limit %(limit)s",
        {"name": name, "limit": limit, "outcome": outcome, "before": before},
    )


def _one(connection: Connection, update: LiteralString, values: Mapping[str, Any]) -> JobRun | None:
    row = connection.execute(f"{update} returning {COLUMNS}", values).fetchone()
    return None if row is None else JobRun(**row)


def many(connection: Connection, query: LiteralString, values: Mapping[str, Any]) -> list[JobRun]:
    return [JobRun(**row) for row in connection.execute(query, values)]
