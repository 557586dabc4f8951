"""Jobs: what a dispatcher has to know and to write about runs."""

from __future__ import annotations

from collections.abc import Collection
from uuid import UUID

from forecastle.store.database import Connection
from forecastle.store.job_runs import COLUMNS, FREE, JobRun, many


def unsent(connection: Connection, limit: int = 100) -> list[JobRun]:
    """Planned runs that were never sent, locked against other dispatchers until the transaction ends."""
    return many(
        connection,
        f"select {COLUMNS} from job_runs where ended_at is null and sent_at is null "
        "order by planned_at, id limit %(limit)s for update skip locked",
        {"limit": limit},
    )


def overdue(connection: Connection, idle_queues: Collection[str], seconds: float, limit: int = 100) -> list[JobRun]:
    """Runs that nobody holds although they were sent: the lease ran out, or their queue is empty; locked as above.

    One that was sent in the future was sent before the clock was set back.
    """
    return many(
        connection,
        f"select {COLUMNS} from job_runs where ended_at is null and sent_at is not null and {FREE} "
        "and (sent_at < lease_until or (queue = any(%(idle)s) "
        "and sent_at < clock_timestamp() - make_interval(secs => %(seconds)s)) or sent_at > clock_timestamp()) "
        "order by planned_at, id limit %(limit)s for update skip locked",
        {"idle": list(idle_queues), "seconds": seconds, "limit": limit},
    )


def mark_sent(connection: Connection, run_id: UUID, queue: str) -> None:
    """Note that it was sent; a lease that a clock set back left in the future ends now."""
    connection.execute(
        "update job_runs set sent_at = clock_timestamp(), queue = %s, "
        "lease_until = case when lease_until is not null then least(lease_until, statement_timestamp()) end "
        "where id = %s",
        (queue, run_id),
    )


def open_runs(connection: Connection, name: str) -> int:
    """How many runs of a job have not ended."""
    row = connection.execute(
        "select count(*) as n from job_runs where name = %s and ended_at is null", (name,)
    ).fetchone()
    assert row is not None
    return int(row["n"])


def was_scheduled(connection: Connection, name: str) -> bool:
    """Whether the schedule has ever planned this job here."""
    found = connection.execute("select 1 from job_runs where name = %s and due_key is not null limit 1", (name,))
    return found.fetchone() is not None


def any_unheld(connection: Connection) -> bool:
    """Whether any run was sent and is held by nobody."""
    found = connection.execute(
        f"select 1 from job_runs where ended_at is null and sent_at is not null and {FREE} limit 1"
    )
    return found.fetchone() is not None
