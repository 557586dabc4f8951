"""Workers hear from PostgreSQL what changed; a look now and then stands behind what they may not have heard."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

from forecastle.store.database import Database

logger = logging.getLogger(__name__)

POLL_SECONDS = 10.0
"""How long a change whose notice was lost may go unseen."""
PAUSE_SECONDS = 1.0


class Follower:
    """Calls `look` in a thread of its own: with what a notice on the channel says (a promotion's names the registered
    model), and with None (anything may have changed) where the listening begins and every POLL_SECONDS. Calls `lost`
    where the listening ends.
    """

    def __init__(
        self,
        database: Database,
        channel: str,
        look: Callable[[str | None], object],
        lost: Callable[[], object] = lambda: None,
    ) -> None:
        self._database = database
        self._channel = channel
        self._look = look
        self._lost = lost
        self._stopped = threading.Event()

    def start(self) -> None:
        threading.Thread(target=self._follow, name=self._channel, daemon=True).start()

    def stop(self) -> None:
        self._stopped.set()

    def _follow(self) -> None:
        while not self._stopped.is_set():
            try:
                self._listen()
            except Exception as error:  # noqa: BLE001 - the thread must outlive whatever the database does
                self._lost()
                logger.warning("%s is not heard now (%s); trying again", self._channel, type(error).__name__)
                self._stopped.wait(PAUSE_SECONDS)
        self._lost()

    def _listen(self) -> None:
        with self._database.listening(self._channel) as connection:
            poll_at = time.monotonic()  # at once: for what happened before the listening began
            while not self._stopped.is_set():
                if time.monotonic() >= poll_at:
                    connection.execute("select 1")  # one that only listens would not find out that it is cut off
                    self._look(None)
                    poll_at = time.monotonic() + POLL_SECONDS
                timeout = max(0.0, poll_at - time.monotonic())
                heard = [notice.payload for notice in connection.notifies(timeout=timeout, stop_after=1)]
                for said in dict.fromkeys(heard):
                    self._look(said)
