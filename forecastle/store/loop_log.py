"""The log of predictions as an event loop writes it: with a connection of its own, and without a thread.

A thread that writes contends with the loop for the interpreter at each of its steps. Here a COPY is begun with the
first row, takes all that gathered when PostgreSQL is ready for it, and the next one begins when it is durable. Whatever
is out of the ordinary (no connection yet, a server that went away, a row that is refused) is handed to the process's
`PredictionLog`, which knows what to do and says what is wrong.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum, auto

import psycopg
from psycopg.pq import ConnStatus, ExecStatus

from forecastle.errors import ServerError
from forecastle.store.database import Connection, Database
from forecastle.store.prediction_log import MOST_WAITING, Failures, PredictionLog
from forecastle.store.predictions import COPY, StoredPrediction, as_copied

logger = logging.getLogger(__name__)

MOST_AT_ONCE = 200
"""Rows of one COPY: making more of them would keep requests waiting."""
SLICE = 128 * 1024
"""Bytes that libpq is handed at a time: larger pieces make it slow."""
AGAIN_SECONDS = 1.0
"""Between one attempt to connect and the next: a server that is away is not asked for every row."""

Fate = asyncio.Future[Exception | None]
"""None where the row is durable, else what refused it."""


@dataclass(eq=False, slots=True)
class _Entry:
    """A row, whoever waits for it, and since when on the loop's clock."""

    prediction: StoredPrediction
    told: Fate
    since: float

    def settle(self, failure: Exception | None) -> None:
        if not self.told.done():  # else its client went away, or its patience ended
            self.told.set_result(failure)


HandOn = Callable[[Sequence[_Entry], bool], None]
"""Takes rows that are to be written otherwise, and whether they may be durable already."""


class LoopLog:
    """Writes predictions for one event loop; only that loop calls it."""

    def __init__(self, database: Database, log: PredictionLog) -> None:
        self._database = database
        self._log = log
        self._link: _Link | None = None
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
        entry = _Entry(prediction, loop.create_future(), loop.time())
        if self._link is None:
            self._connect(loop)
            self._hand_on([entry], False)
        else:
            self._link.take(entry)
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
        if self._is_closed:
            made.result().close()
        else:
            self._link = _Link(made.get_loop(), made.result(), self._log, self._hand_on, self._lost)

    def _lost(self) -> None:
        self._link = None

    def _hand_on(self, entries: Sequence[_Entry], perhaps_durable: bool) -> None:
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


class _State(Enum):
    IDLE = auto()
    ASKED = auto()
    """PostgreSQL was asked to take a COPY."""
    SENT = auto()
    """All rows are on their way."""


class _Link:
    """One connection, and the COPY that is under way on it.

    libpq's calls that do not block are used as they are: psycopg's own COPY waits, or takes a task and three times as
    long. What PostgreSQL is asked for ends with a result that is None.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        connection: Connection,
        log: PredictionLog,
        hand_on: HandOn,
        lost: Callable[[], None],
    ) -> None:
        self._loop, self._connection, self._log = loop, connection, log
        self._hand_on, self._lost = hand_on, lost
        self._state = _State.IDLE
        self._is_durable = False
        self._is_flushing = False
        self._waiting: list[_Entry] = []
        self._group: list[_Entry] = []
        self._patience: asyncio.TimerHandle | None = None
        self._libpq = connection.pgconn
        self._libpq.nonblocking = 1
        self._socket = os.dup(self._libpq.socket)  # libpq closes its own as soon as the server is gone
        loop.add_reader(self._socket, self._guarded, self._read)

    def take(self, entry: _Entry) -> None:
        """Write it with the next COPY."""
        if len(self._waiting) >= MOST_WAITING:
            entry.settle(ServerError(f"{len(self._waiting)} predictions wait to be written"))
            return
        self._waiting.append(entry)
        if self._state is _State.IDLE:
            self._guarded(self._begin)

    def close(self) -> None:
        self._loop.remove_reader(self._socket)
        self._loop.remove_writer(self._socket)
        if self._patience is not None:
            self._patience.cancel()
        self._connection.close()
        os.close(self._socket)

    def _guarded(self, step: Callable[[], None]) -> None:
        """Make a step; where the server went away, the rows are written otherwise."""
        try:
            step()
        except Exception as error:  # noqa: BLE001 - psycopg's above all; a row must not wait for nothing
            logger.warning("%s on the connection of the log", type(error).__name__)
            self._give_up()
        else:
            if self._libpq.status == ConnStatus.BAD:  # heard with the last result
                self._give_up()

    def _begin(self) -> None:
        self._patience = self._loop.call_at(self._waiting[0].since + self._log.patience_seconds, self._stuck)
        self._state, self._is_durable = _State.ASKED, False
        self._libpq.send_query(COPY)
        self._flush()

    def _read(self) -> None:
        """Hear what the server says, and twice: a broken connection is announced once on libuv, with its last words."""
        for _ in range(2):
            self._libpq.consume_input()
            self._hear()

    def _hear(self) -> None:
        while self._state is not _State.IDLE and not self._libpq.is_busy():
            result = self._libpq.get_result()
            if result is None:
                self._end()
            elif result.status == ExecStatus.COPY_IN:
                self._send()
            else:
                self._is_durable = result.status == ExecStatus.COMMAND_OK

    def _send(self) -> None:
        self._group, self._waiting = self._waiting[:MOST_AT_ONCE], self._waiting[MOST_AT_ONCE:]
        self._state = _State.SENT
        try:
            content = memoryview(as_copied(self._connection, [entry.prediction for entry in self._group]))
        except (ValueError, TypeError, psycopg.DataError):  # the other log finds out which row it is
            self._libpq.put_copy_end(b"a row cannot be sent")
        else:
            for start in range(0, len(content), SLICE):
                self._libpq.put_copy_data(content[start : start + SLICE])
            self._libpq.put_copy_end()
        self._flush()

    def _flush(self) -> None:
        """Send what the socket takes; the rest when it takes more."""
        has_more = self._libpq.flush() == 1
        if has_more and not self._is_flushing:
            self._loop.add_writer(self._socket, self._guarded, self._flush_more)
        elif self._is_flushing and not has_more:
            self._loop.remove_writer(self._socket)
        self._is_flushing = has_more

    def _flush_more(self) -> None:
        self._flush()
        self._hear()  # where the socket is full libpq reads, and the socket does not announce that again

    def _end(self) -> None:
        """The COPY is over."""
        assert self._patience is not None
        self._patience.cancel()
        if self._state is _State.ASKED:  # it was not even begun
            self._group, self._waiting = self._waiting, []
        group, self._group = self._group, []
        was_sent, self._state = self._state is _State.SENT, _State.IDLE
        if self._is_durable:
            for entry in group:
                entry.settle(None)
        else:  # a server that goes away may say so after the commit
            self._hand_on(group, was_sent)
        if self._waiting:
            self._begin()

    def _stuck(self) -> None:
        """PostgreSQL takes too long: who has waited in vain is told so, the others' rows are written otherwise."""
        since = self._loop.time() - self._log.patience_seconds
        for entry in (*self._group, *self._waiting):
            if entry.since <= since:
                entry.settle(self._log.too_slow())
        self._group = [entry for entry in self._group if not entry.told.done()]
        self._waiting = [entry for entry in self._waiting if not entry.told.done()]
        self._give_up()

    def _give_up(self) -> None:
        logger.warning("the connection of the log is given up; a new one is made")
        self.close()
        self._lost()
        if self._is_durable:  # and only the end of it was not heard any more
            for entry in self._group:
                entry.settle(None)
        else:
            self._hand_on(self._group, self._state is _State.SENT)
        self._hand_on(self._waiting, False)
