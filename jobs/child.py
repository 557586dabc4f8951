"""The process of one job: calls its function and writes how it ended. Started by `jobs/runner.py` alone.

The limit of memory and the signal that ends it reach whatever it starts. A traceback is logged without its
message, which may hold what somebody wrote.
"""

from __future__ import annotations

import json
import logging
import os
import resource
import signal
import sys
import threading
import time
import traceback
from contextlib import suppress
from types import FrameType
from uuid import UUID

from forecastle.errors import ForecastleError
from forecastle.settings import Settings
from forecastle.store.database import Database
from forecastle.store.job_runs import Ending, get_run
from jobs.registry import GRACE_SECONDS, Work, resolve

_TERMINATED = 128 + signal.SIGTERM

log = logging.getLogger("jobs")


def main(function: str, run_id: str, memory_limit: str) -> int:
    result = os.dup(1)
    os.dup2(2, 1)  # what a job prints belongs in the log
    signal.signal(signal.SIGTERM, _interrupt)
    threading.Thread(target=_end_with_worker, daemon=True).start()
    _limit_memory(int(memory_limit))
    settings = Settings.from_env()
    logging.basicConfig(level=settings.log_level, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    try:
        ending = call(function, settings, UUID(run_id))
    except KeyboardInterrupt:
        if os.getpgrp() == os.getpid():
            os.killpg(0, signal.SIGKILL)  # nothing that the job started outlives it
        return _TERMINATED
    with os.fdopen(result, "w") as file:
        json.dump(ending.__dict__, file)
    return 0


def call(function: str, settings: Settings, run_id: UUID) -> Ending:
    """Call the job's function; every failure is an ending."""
    try:
        with Database(settings.require_database_url(), 4) as database:
            with database.transaction() as connection:
                run = get_run(connection, run_id)
            done = resolve(function)(Work(settings, database, run))
    except ForecastleError as error:
        hint = f"; try again with `forecastle jobs retry {run_id}`" if error.retryable else ""
        return Ending("failed", f"{error}{hint}", error_code=error.code)
    except MemoryError:
        return Ending("failed", "it needed more memory than its limit", error_code="memory_limit")
    except Exception as error:  # noqa: BLE001 - every failure is written
        frames = [f"{at.filename}:{at.lineno} {at.name}" for at in traceback.extract_tb(error.__traceback__)]
        log.error("%s at %s", type(error).__name__, " < ".join(reversed(frames)))  # noqa: TRY400
        detail = f"it failed with {type(error).__name__}; the log of the worker says where"
        return Ending("failed", detail, error_code="internal")
    return Ending("skipped" if done.skipped else "succeeded", done.detail, items=done.items)


def _interrupt(number: int, frame: FrameType | None) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise KeyboardInterrupt


def _end_with_worker() -> None:
    """Wait until the worker is gone, then end this process and everything it started."""
    with suppress(OSError):
        while os.read(0, 1):
            pass
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(GRACE_SECONDS)
    os.killpg(0, signal.SIGKILL)


def _limit_memory(limit: int) -> None:
    with suppress(ValueError, OSError):  # a lower limit is set already, or the system knows none
        resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
