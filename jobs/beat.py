"""The process that keeps the schedule and sends what is planned: `python -m jobs.beat`."""

from __future__ import annotations

import argparse
import logging
import signal
import threading
from contextlib import suppress
from pathlib import Path

from forecastle.errors import ServerError
from forecastle.settings import Settings
from forecastle.store.database import Database
from forecastle.store.job_runs import CHANNEL
from forecastle.store.migrate import require_current
from jobs.app import Broker, create_app
from jobs.dispatcher import Dispatcher

ROUND_SECONDS = 1.0
"""The longest pause between two passes; a planned run wakes it at once."""

log = logging.getLogger(__name__)


def beat(settings: Settings, alive: Path | None, stopping: threading.Event) -> None:
    """Dispatch until `stopping` is set; what does not answer is tried again. `alive` is touched after every pass."""
    with Database(settings.require_database_url(), 2) as database:
        with suppress(ServerError):
            require_current(database)
        dispatcher = Dispatcher(database, Broker(create_app(settings)))
        while not stopping.is_set():
            try:
                _listen_and_dispatch(database, dispatcher, alive, stopping)
            except ServerError as error:
                log.warning("%s", error)
                stopping.wait(ROUND_SECONDS)


def _listen_and_dispatch(
    database: Database, dispatcher: Dispatcher, alive: Path | None, stopping: threading.Event
) -> None:
    with database.listening(CHANNEL) as connection:
        while not stopping.is_set():
            dispatcher.run_once()
            if alive is not None:
                alive.touch()
            for _ in connection.notifies(timeout=ROUND_SECONDS, stop_after=1):
                pass


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--alive", type=Path, help="a file that is touched as long as all is well")
    alive = parser.parse_args().alive
    settings = Settings.from_env()
    logging.basicConfig(level=settings.log_level, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    stopping = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.set())
    beat(settings, alive, stopping)


if __name__ == "__main__":
    main()
