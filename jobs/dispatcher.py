"""Brings planned runs on their way, and plans what is due. Any number of dispatchers may run at once."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from forecastle.store import job_queue, job_runs, known_jobs
from forecastle.store.database import Connection, Database
from forecastle.store.job_runs import SCHEDULE, Ending, JobRun
from forecastle.store.known_jobs import BUSY
from jobs import endings
from jobs.notification import DELIVER, plan_delivery, watch_jobs
from jobs.registry import JOBS, Job

RESEND_SECONDS = 30.0
"""A run that was sent, and that nobody has taken although its queue is empty, is sent again after this long."""
MOST_ATTEMPTS = 3
"""A run that has taken this many workers with it is given up."""
WATCH_SECONDS = 60.0
"""How often it is looked whether a job is overdue."""

log = logging.getLogger(__name__)


class Sender(Protocol):
    """The broker, as the dispatcher sees it. Both raise ServerError."""

    def send(self, run: JobRun, queue: str) -> None: ...

    def idle_queues(self) -> list[str]: ...


@dataclass
class Dispatcher:
    """One pass after another over what is planned, sent and due."""

    database: Database
    broker: Sender
    jobs: Mapping[str, Job] = field(default_factory=lambda: JOBS)
    _watch_at: float = field(default=0.0, init=False)

    def run_once(self, moment: datetime | None = None) -> None:
        """Plan the ticks that are due at `moment` (now), and send what has to be sent. Raises ServerError."""
        self._watch()
        with self.database.transaction() as connection:
            moment = moment or job_runs.now(connection)
            plan_ticks(connection, self.jobs, moment)
            if DELIVER in self.jobs:
                plan_delivery(connection, moment, SCHEDULE)
            ask = job_queue.any_unheld(connection)
        idle = self.broker.idle_queues() if ask else []
        with self.database.transaction() as connection:
            for run in job_queue.unsent(connection):
                self._send(connection, run)
        with self.database.transaction() as connection:
            for run in job_queue.overdue(connection, idle, RESEND_SECONDS):
                self._send(connection, run)

    def _watch(self) -> None:
        """Once in a while, tell others which jobs there are, and look whether all ran by their time."""
        if time.monotonic() < self._watch_at:
            return
        with self.database.transaction() as connection:
            known_jobs.replace_all(connection, (job.known for job in self.jobs.values()))
            watch_jobs(connection)
        self._watch_at = time.monotonic() + WATCH_SECONDS

    def _send(self, connection: Connection, run: JobRun) -> None:
        ending = self._ending(run)
        if ending is not None:
            endings.end_unheld(connection, run, ending)
            log.info("%s %s: %s", run.name, run.id, ending.outcome)
            return
        queue = self.jobs[run.name].queue
        # Sent before the mark is committed: sent twice does no harm, never sent would.
        self.broker.send(run, queue)
        job_queue.mark_sent(connection, run.id, queue)

    def _ending(self, run: JobRun) -> Ending | None:
        """How a run ends that must not be sent."""
        if run.cancel_requested_at is not None:
            return Ending("cancelled", "cancelled; its worker was gone")
        if run.name not in self.jobs:
            known = ", ".join(sorted(self.jobs))
            return Ending("failed", f"there is no job of this name; there are: {known}", error_code="unknown_job")
        refusal = self.jobs[run.name].refusal(run.arguments)
        if refusal is not None:
            return Ending("failed", refusal, error_code="invalid_input")
        if run.attempts >= MOST_ATTEMPTS:
            detail = f"{run.attempts} workers were lost while they ran it; the log of the worker may say why"
            return Ending("failed", detail, error_code="worker_lost")
        return None


def plan_ticks(connection: Connection, jobs: Mapping[str, Job], moment: datetime) -> None:
    """Plan the newest tick of every schedule, once; older ones that were missed are not caught up.

    A tick is skipped where the run of an earlier one has not ended, and where no schedule was ever kept here.
    """
    for job in jobs.values():
        if job.schedule is None:
            continue
        tick = job.schedule.last_tick(moment)
        first = not job_queue.was_scheduled(connection, job.name)
        busy = job_queue.open_runs(connection, job.name) > 0
        run = job_runs.plan(connection, job.name, {}, SCHEDULE, _due_key(job.name, tick))
        if run is None:
            continue
        if first:
            detail = "this tick was before the first start of the schedule here"
            job_runs.end_unheld(connection, run.id, Ending("skipped", detail))
        elif busy:
            job_runs.end_unheld(
                connection, run.id, Ending("skipped", "an earlier run of this job has not ended", error_code=BUSY)
            )


def _due_key(name: str, tick: datetime) -> str:
    return f"{name}@{tick:%Y-%m-%dT%H:%M:%SZ}" if tick.second else f"{name}@{tick:%Y-%m-%dT%H:%MZ}"
