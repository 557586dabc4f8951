"""The process that runs jobs: `python -m jobs.worker`."""

from __future__ import annotations

import argparse
import logging
import os
import socket
import threading
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from uuid import UUID

from celery import signals

from forecastle.errors import ServerError
from forecastle.settings import Settings
from forecastle.store.database import Database
from forecastle.store.migrate import require_current
from jobs.app import TASK, create_app
from jobs.registry import QUEUES
from jobs.runner import Runner


def work(settings: Settings, alive: Path | None, queues: str, concurrency: int) -> None:
    """Work until a signal comes. `alive` is touched as long as the broker is heard."""
    stopping = threading.Event()
    with Database(settings.require_database_url(), concurrency + 1) as database:
        with suppress(ServerError):  # it may come up after the worker does
            require_current(database)
        app = create_app(settings)
        runner = Runner(settings, database, f"{socket.gethostname()}:{os.getpid()}", stopping)

        @app.task(name=TASK)  # type: ignore[misc]
        def run(run_id: str) -> None:
            if not stopping.is_set():
                runner.run(UUID(run_id))

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
                *("worker", "--pool=threads", f"--concurrency={concurrency}", f"--queues={queues}"),
                *("--without-gossip", "--without-mingle", f"--loglevel={settings.log_level}"),
            ]
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--alive", type=Path, help="a file that is touched as long as all is well")
    parser.add_argument("--queues", default=",".join(QUEUES), help="which queues, with commas between them")
    parser.add_argument("--concurrency", type=int, default=2, help="how many jobs at once")
    asked = parser.parse_args()
    settings = replace(Settings.from_env(), api_key=None)
    logging.basicConfig(level=settings.log_level, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    work(settings, asked.alive, asked.queues, asked.concurrency)


if __name__ == "__main__":
    main()
