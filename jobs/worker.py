"""The process that runs jobs: `python -m jobs.worker`."""

from __future__ import annotations

import argparse
import logging
import os
import socket
import threading
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from uuid import UUID

from celery import Task, signals

from forecastle.errors import ServerError
from forecastle.settings import Settings
from forecastle.store.database import Database
from forecastle.store.migrate import require_current
from jobs.app import TASK, create_app
from jobs.registry import QUEUES, TRAINING
from jobs.runner import Runner

log = logging.getLogger(__name__)


@dataclass
class Slots:
    """Trainings take hours, and everything else minutes at most: so many of both have room at once.

    A training that finds no room does not wait in a thread, where it would keep others from running: its message is
    done with, and the dispatcher sends the run again as long as nobody holds it.
    """

    each: int
    _training: threading.Semaphore = field(init=False)

    def __post_init__(self) -> None:
        self._training = threading.Semaphore(self.each)

    @property
    def threads(self) -> int:
        return 2 * self.each

    def run(self, runner: Runner, run_id: UUID, queue: str) -> None:
        """Run it, unless it came by the queue of trainings and as many run already. Raises ServerError."""
        if queue != TRAINING:
            runner.run(run_id)
        elif self._training.acquire(blocking=False):
            try:
                runner.run(run_id)
            finally:
                self._training.release()
        else:
            log.info("run %s: left to be sent again, as %d trainings run here", run_id, self.each)


def work(settings: Settings, alive: Path | None, queues: str, concurrency: int) -> None:
    """Work until a signal comes. `alive` is touched as long as the broker is heard."""
    stopping, slots = threading.Event(), Slots(concurrency)
    with Database(settings.require_database_url(), slots.threads + 1) as database:
        with suppress(ServerError):  # it may come up after the worker does
            require_current(database)
        app = create_app(settings)
        runner = Runner(settings, database, f"{socket.gethostname()}:{os.getpid()}", stopping)

        @app.task(name=TASK, bind=True)  # type: ignore[misc]  # Celery has no types
        def run(task: Task, run_id: str) -> None:
            if not stopping.is_set():
                slots.run(runner, UUID(run_id), task.request.delivery_info["routing_key"])

        def touch(**_: object) -> None:
            if alive is not None:
                alive.touch()

        def stop(**_: object) -> None:
            stopping.set()

        signals.worker_ready.connect(touch)
        signals.heartbeat_sent.connect(touch)
        signals.worker_shutting_down.connect(stop)
        # Jobs have processes of their own; a thread each is enough to watch them.
        app.worker_main(
            [
                *("worker", "--pool=threads", f"--concurrency={slots.threads}", f"--queues={queues}"),
                *("--without-gossip", "--without-mingle", f"--loglevel={settings.log_level}"),
            ]
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--alive", type=Path, help="a file that is touched as long as all is well")
    parser.add_argument("--queues", default=",".join(QUEUES), help="which queues, with commas between them")
    said = "how many trainings at once, and room for as many other jobs beside them"
    parser.add_argument("--concurrency", type=int, default=2, help=said)
    asked = parser.parse_args()
    settings = replace(Settings.from_env(), api_key=None)
    logging.basicConfig(level=settings.log_level, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    work(settings, asked.alive, asked.queues, asked.concurrency)


if __name__ == "__main__":
    main()
