"""The connection over which an event loop writes predictions, and the COPY that is under way on it."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum, auto

import psycopg
from psycopg.pq import ConnStatus, ExecStatus

from forecastle.store.database import Connection
from forecastle.store.prediction_log import MOST_WAITING, PredictionLog
from forecastle.store.predictions import COPY, StoredPrediction, as_copied

logger = logging.getLogger(__name__)

MOST_AT_ONCE = 200
"""Rows of one COPY: making more of them would keep requests waiting."""
SLICE = 128 * 1024
"""Bytes that libpq is handed at a time: larger pieces make it slow."""

Fate = asyncio.Future[Exception | None]
"""None where the row is durable, else what refused it."""


@dataclass(eq=False, slots=True)
class Entry:
    """A row, whoever waits for it, and since when on the loop's clock."""

    prediction: StoredPrediction
    told: Fate
    since: float

    def settle(self, failure: Exception | None) -> None:
        if not self.told.done():  # else its client went away, or its patience ended
            self.told.set_result(failure)


HandOn = Callable[[Sequence[Entry], bool], None]
"""Takes rows that are to be written otherwise, and whether they may be durable already."""


class State(Enum):
    IDLE = auto()
    ASKED = auto()
    """PostgreSQL was asked to take a COPY."""
    SENT = auto()
    """All rows are on their way."""


class Link:
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
        self._state = State.IDLE
        self._is_durable = False
        self._is_flushing = False
        self._waiting: list[Entry] = []
        self._group: list[Entry] = []
        self._patience: asyncio.TimerHandle | None = None
        self._libpq = connection.pgconn
        self._libpq.nonblocking = 1
        self._socket = os.dup(self._libpq.socket)  # libpq closes its own as soon as the server is gone
        loop.add_reader(self._socket, self._guarded, self._read)

    def take(self, entry: Entry) -> None:
        """Write it with the next COPY."""
        if len(self._waiting) >= MOST_WAITING:
            entry.settle(self._log.too_many(len(self._waiting)))
            return
        self._waiting.append(entry)
        if self._state is State.IDLE:
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
        self._state, self._is_durable = State.ASKED, False
        self._libpq.send_query(COPY)
        self._flush()

    def _read(self) -> None:
        """Hear what the server says, and twice: a broken connection is announced once on libuv, with its last words."""
        for _ in range(2):
            self._libpq.consume_input()
            self._hear()

    def _hear(self) -> None:
        while self._state is not State.IDLE and not self._libpq.is_busy():
            result = self._libpq.get_result()
            if result is None:
                self._end()
            elif result.status == ExecStatus.COPY_IN:
                self._send()
            else:
                self._is_durable = result.status == ExecStatus.COMMAND_OK

    def _send(self) -> None:
        self._group, self._waiting = self._waiting[:MOST_AT_ONCE], self._waiting[MOST_AT_ONCE:]
        self._state = State.SENT
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
        if self._state is State.ASKED:  # it was not even begun
            self._group, self._waiting = self._waiting, []
        group, self._group = self._group, []
        was_sent, self._state = self._state is State.SENT, State.IDLE
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
            self._hand_on(self._group, self._state is State.SENT)
        self._hand_on(self._waiting, False)
