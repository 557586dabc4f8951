"""Runs one run: takes its lease, starts its process, renews the lease, and writes how it ended.

Whoever holds the lease runs it, and nobody else. A worker that cannot renew ends its process before the lease
runs out, so that a run never runs twice at once.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from typing import IO, Any, Literal
from uuid import UUID

from forecastle.errors import ServerError
from forecastle.settings import Settings
from forecastle.store import job_runs
from forecastle.store.database import Database
from forecastle.store.job_runs import Ending, JobRun
from jobs import endings
from jobs.registry import GRACE_SECONDS, JOBS, Job

LEASE_SECONDS = 30.0
HEARTBEAT_SECONDS = 2.0
SILENT_HEARTBEATS = 2
FENCE_SECONDS = 15.0
"""Without a heartbeat for this long the process is ended; with the grace that is well within the lease."""

Stop = Literal["cancel", "time", "lost", "stopping"]

log = logging.getLogger(__name__)


@dataclass
class Runner:
    """Runs what it is handed, one run a thread; `stopping` ends them all, to be taken over by others."""

    settings: Settings
    database: Database
    worker: str
    stopping: threading.Event
    jobs: Mapping[str, Job] = field(default_factory=lambda: JOBS)

    def run(self, run_id: UUID) -> None:
        """Run it, unless another worker holds it or it has ended. Raises ServerError.

        When the database's clock is moved, the lease of a worker that lives looks as if it had run out, until its next
        heartbeat: that is awaited.
        """
        is_silent = self.database.retrying(lambda connection: job_runs.has_fallen_silent(connection, run_id))
        if is_silent and self.stopping.wait(SILENT_HEARTBEATS * HEARTBEAT_SECONDS):
            return
        held = self.database.retrying(
            lambda connection: job_runs.take_lease(connection, run_id, self.worker, LEASE_SECONDS)
        )
        if held is None:
            log.info("run %s: another worker holds it, or it has ended", run_id)
            return
        log.info("run %s: %s, attempt %d", run_id, held.name, held.attempts)
        ending = self._run(held)
        if ending is None:
            self._retrying(lambda connection: job_runs.release(connection, held))
            log.info("run %s: given back", run_id)
        elif self._retrying(lambda connection: endings.end(connection, held, ending)):
            log.info("run %s: %s: %s", run_id, ending.outcome, ending.detail)
        else:
            log.warning("run %s was lost to another worker", run_id)

    def _run(self, held: JobRun) -> Ending | None:
        """How it ended; None where it is to be given back."""
        job = self.jobs.get(held.name)
        if job is None:
            return Ending("failed", "this worker knows no job of this name", error_code="unknown_job")
        with _process(job, held, self.settings) as (process, result):
            stop = self._watch(process, job, held)
            if stop is None:
                return _ending(process.returncode, result)
        if stop == "cancel":
            return Ending("cancelled", "cancelled while it ran")
        if stop == "time":
            return Ending("failed", f"not done within {job.time_limit_seconds:g} s", error_code="time_limit")
        return None

    def _watch(self, process: subprocess.Popen[bytes], job: Job, held: JobRun) -> Stop | None:
        """Renew the lease until the process ends; says why it has to be ended, if it has to."""
        begun = kept = time.monotonic()
        while True:
            with suppress(subprocess.TimeoutExpired):
                process.wait(HEARTBEAT_SECONDS)
                return None
            if self.stopping.is_set():
                return "stopping"
            if time.monotonic() - begun > job.time_limit_seconds:
                return "time"
            try:
                beat = self.database.retrying(lambda connection: job_runs.heartbeat(connection, held, LEASE_SECONDS))
                kept = time.monotonic()
                if beat != "held":
                    return beat
            except ServerError as error:
                log.warning("run %s: %s", held.id, error)
                if time.monotonic() - kept > FENCE_SECONDS:
                    return "lost"

    def _retrying(self, write: Any) -> Any:
        """Write even where the database is away for a while: what was done should be known."""
        deadline = time.monotonic() + 2 * LEASE_SECONDS
        while True:
            try:
                return self.database.retrying(write)
            except ServerError:
                if time.monotonic() > deadline or self.stopping.wait(1):
                    raise


@contextmanager
def _process(job: Job, held: JobRun, settings: Settings) -> Iterator[tuple[subprocess.Popen[bytes], IO[bytes]]]:
    """The job's process, in a group of its own; nothing of the group is left at the end.

    The process ends itself when the pipe on its standard input breaks: its worker is gone then.
    """
    reading, writing = os.pipe()
    with tempfile.TemporaryFile() as result, os.fdopen(writing, "wb"):
        command = [sys.executable, "-m", "jobs.child", job.function, str(held.id), str(job.memory_limit_bytes)]
        environment = {**os.environ, **replace(settings, job_run=str(held.id)).as_environment()}
        try:
            process = subprocess.Popen(
                command, stdin=reading, stdout=result, env=environment, start_new_session=True, umask=0o077
            )
        finally:
            os.close(reading)
        try:
            yield process, result
        finally:
            _end(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(GRACE_SECONDS)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _ending(code: int, result: IO[bytes]) -> Ending:
    """What the process wrote when it ended by itself."""
    result.seek(0)
    with suppress(ValueError, TypeError):
        return Ending(**json.loads(result.read()))
    what = f"with signal {-code}" if code < 0 else f"with code {code}"
    return Ending("failed", f"its process ended {what}; the log of the worker may say why", error_code="process")
