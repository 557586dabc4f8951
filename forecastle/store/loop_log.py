"""The log of predictions as an event loop writes it: with a connection of its own, and without a thread.

A thread that writes contends with the loop for the interpreter at each of its steps. Here a COPY is begun with the
first row, takes all that gathered when PostgreSQL is ready for it, and the next one begins when it is durable. Whatever
is out of the ordinary (no connection yet, a server that went away, a row that is refused) is handed to the process's
`PredictionLog`, which knows what to do and says what is wrong.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress

from forecastle.store.database import Connection, Database
from forecastle.store.loop_link import Entry, Fate, Link
from forecastle.store.prediction_log import Failures, PredictionLog
from forecastle.store.predictions import StoredPrediction

AGAIN_SECONDS = 1.0
"""Between one attempt to connect and the next: a server that is away is not asked for every row."""


class LoopLog:
    """Writes predictions for one event loop; only that loop calls it."""

    def __init__(self, database: Database, log: PredictionLog) -> None:
        self._database = database
        self._log = log
        self._link: Link | None = None
        self._connecting: asyncio.Future[Connection] | None = None
        self._not_before = 0.0
        self._is_closed = False

    @property
    def is_connected(self) -> bool:
        """Whether rows go over its own connection."""
        return self._link is not None

    def write(self, prediction: StoredPrediction) -> Fate:
        """Says when the prediction is durable, or what refused it; a ServerError where nobody knows in time."""
        loop = asyncio.get_running_loop()
        entry = Entry(prediction, loop.create_future(), loop.time())
        if self._link is not None:
            self._link.take(entry)
        else:
            self._hand_on([entry], False)
            with suppress(RuntimeError):  # no thread can be started now
                self._connect(loop)
        return entry.told

    def close(self) -> None:
        """Give the connection up, also one that is still being made; what is under way is not told any more."""
        self._is_closed = True
        if self._link is not None:
            self._link.close()
            self._link = None

    def _connect(self, loop: asyncio.AbstractEventLoop) -> None:
        """Begin to connect, in a thread, unless that is under way or was begun a moment ago."""
        if self._connecting is None and loop.time() >= self._not_before and not self._is_closed:
            self._not_before = loop.time() + AGAIN_SECONDS
            self._connecting = loop.run_in_executor(None, self._database.connect, self._log.patience_seconds)
            self._connecting.add_done_callback(self._connected)

    def _connected(self, made: asyncio.Future[Connection]) -> None:
        self._connecting = None
        if made.cancelled() or made.exception() is not None:
            return  # the other log says what is wrong
        try:
            if not self._is_closed:
                self._link = Link(made.get_loop(), made.result(), self._log, self._hand_on, self._lost)
        finally:
            if self._link is None:
                made.result().close()

    def _lost(self) -> None:
        self._link = None

    def _hand_on(self, entries: Sequence[Entry], perhaps_durable: bool) -> None:
        """Let the other log write them; nobody waits longer than its patience in all."""
        if not entries:
            return
        loop = asyncio.get_running_loop()
        timers: list[asyncio.TimerHandle] = []

        def settle(failures: Failures) -> None:
            for timer in timers:
                timer.cancel()
            for entry, failure in zip(entries, failures, strict=True):
                entry.settle(failure)

        def tell(failures: Failures) -> None:  # in the thread of that log
            with suppress(RuntimeError):  # the loop has ended, and nobody waits any more
                loop.call_soon_threadsafe(settle, failures)

        try:
            submitted = self._log.submit([entry.prediction for entry in entries], tell, perhaps_durable)
        except Exception as error:  # noqa: BLE001 - whatever it was, those who wait are told
            settle([error] * len(entries))
            return
        patience = self._log.patience_seconds
        timers += [loop.call_at(entry.since + patience, entry.settle, self._log.too_slow()) for entry in entries]
        timers.append(loop.call_at(entries[-1].since + patience, self._log.give_up, submitted))
