"""The jobs that a beat knows: their arguments, and which of them did not run by their time.

A beat writes them when it starts, so that façade and command line need nothing of `jobs/`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, fields
from datetime import datetime, timedelta
from typing import LiteralString

from forecastle.errors import InputError, NotFoundError
from forecastle.store.database import Connection

BUSY = "busy"
"""The code of a tick that was skipped because an earlier run had not ended: it is no proof that all is well."""


@dataclass(frozen=True)
class KnownJob:
    """A job as a beat knows it; without `period` and `anchor` it runs when it is asked for.

    `allowance` is how long after a tick, or after it was planned, a run must have ended.
    """

    name: str
    queue: str
    required: list[str]
    optional: list[str]
    period: timedelta | None
    anchor: datetime | None
    allowance: timedelta


@dataclass(frozen=True)
class OverdueJob:
    """A job that has not ended well since the moment at which it was due."""

    name: str
    due_at: datetime

    @property
    def sentence(self) -> str:
        return f"{self.name} was due at {self.due_at:%Y-%m-%d %H:%M} UTC and has not run well since"


_COLUMNS: LiteralString = ", ".join(item.name for item in fields(KnownJob))


def refusal(name: str, required: Iterable[str], optional: Iterable[str], given: Collection[str]) -> str | None:
    """A sentence that says which arguments of a job are missing or not known."""
    if missing := set(required) - set(given):
        return f"{name} needs the argument {', '.join(sorted(missing))}"
    if unknown := set(given) - set(required) - set(optional):
        known = ", ".join(sorted({*required, *optional})) or "none"
        return f"{name} takes no {', '.join(sorted(unknown))}; its arguments are: {known}"
    return None


def replace_all(connection: Connection, known: Iterable[KnownJob]) -> None:
    """Write what a beat knows, and forget what it does not; a job that stays keeps its `known_since`."""
    rows = [job.__dict__ for job in known]
    connection.execute("delete from jobs where name <> all(%s)", ([row["name"] for row in rows],))
    connection.cursor().executemany(
        f"insert into jobs ({_COLUMNS}) values (%(name)s, %(queue)s, %(required)s, %(optional)s, %(period)s, "
        "%(anchor)s, %(allowance)s) on conflict (name) do update set queue = excluded.queue, "
        "required = excluded.required, optional = excluded.optional, period = excluded.period, "
        "anchor = excluded.anchor, allowance = excluded.allowance",
        rows,
    )


def list_known(connection: Connection) -> list[KnownJob]:
    rows = connection.execute(f"select {_COLUMNS} from jobs order by name")
    return [KnownJob(**row) for row in rows]


def require_known(connection: Connection, name: str, arguments: Mapping[str, str]) -> None:
    """Raises NotFoundError for a name that no beat knows, InputError for arguments that the job does not take."""
    known = {job.name: job for job in list_known(connection)}
    if name not in known:
        there_are = f"there are: {', '.join(known)}" if known else "no beat has told yet which there are"
        raise NotFoundError(f"there is no job of this name; {there_are}")
    refused = refusal(name, known[name].required, known[name].optional, arguments)
    if refused is not None:
        raise InputError(refused)


def overdue_jobs(connection: Connection) -> list[OverdueJob]:
    """Jobs that did not run by their time, by name.

    That is a job whose newest tick with a deadline in the past was followed by no good end, or of which a run goes on,
    or waits, for longer than it may.
    """
    rows = connection.execute(
        "with ticks as (select name, allowance, known_since, "
        "date_bin(period, clock_timestamp() - allowance, anchor) as due_at from jobs where period is not null), "
        "missed as (select name, due_at from ticks where due_at > known_since and not exists ("
        "select 1 from job_runs where job_runs.name = ticks.name and ended_at >= due_at and (outcome = 'succeeded' "
        "or (outcome = 'skipped' and error_code is distinct from %(busy)s)))), "
        "stuck as (select jobs.name, coalesce(started_at, planned_at) as due_at from jobs join job_runs using (name) "
        "where ended_at is null and coalesce(started_at, planned_at) < clock_timestamp() - allowance) "
        "select name, min(due_at) as due_at from (select * from missed union all select * from stuck) as late "
        "group by name order by name",
        {"busy": BUSY},
    )
    return [OverdueJob(row["name"], row["due_at"]) for row in rows]
