"""The log of predictions: a process has one writer, which commits what has gathered as one.

While it commits, the next rows gather; nobody waits for a group to fill. Threads wait for their rows with `write`; who
may not wait, as an event loop, hands them over with `submit` and is told.
"""

from __future__ import annotations

import atexit
import logging
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from weakref import WeakSet

import psycopg

from forecastle.errors import InputError, ServerError
from forecastle.store.database import Connection, Database
from forecastle.store.predictions import (
    StoredPrediction,
    copy_predictions,
    insert_predictions,
    lacks_a_month,
    make_months,
)

logger = logging.getLogger(__name__)

MOST_WAITING = 10_000
"""Rows that may wait for the writer."""
PATIENCE_SECONDS = 5.0
"""How long a row is waited for, and how long PostgreSQL may take for a group."""
IDLE_SECONDS = 60.0
"""After so long without a row the writer and its connection go, until the next one comes."""


Write = Callable[[Connection, Sequence[StoredPrediction]], None]
Failures = Sequence[Exception | None]
"""For each prediction what refused it; None where it is durable."""


@dataclass(eq=False)
class Submitted:
    """The predictions of one caller, and whom to tell when their fate is known."""

    predictions: Sequence[StoredPrediction]
    tell: Callable[[Failures], object]
    perhaps_durable: bool


class PredictionLog:
    """Writes predictions of any number of threads; what `write` did not refuse is durable when it returns."""

    def __init__(
        self, database: Database, most_waiting: int = MOST_WAITING, patience_seconds: float = PATIENCE_SECONDS
    ) -> None:
        self._database = database
        self._most_waiting = most_waiting
        self._patience = patience_seconds
        self._start_over()
        _LOGS.add(self)

    def _start_over(self) -> None:
        """With no writer yet; after a fork, what was there is the parent's."""
        self._gathered = threading.Condition()
        self._waiting: list[Submitted] = []
        self._rows_waiting = 0
        self._writing_since: float | None = None
        self._writer: threading.Thread | None = None
        self._is_closing = False
        self._connection: Connection | None = None

    @property
    def patience_seconds(self) -> float:
        """How long callers wait before they give up."""
        return self._patience

    def write(self, predictions: Sequence[StoredPrediction]) -> Failures:
        """Return when the predictions are durable, with what refused each that is not.

        Raises ServerError where PostgreSQL is away or slow, or too many wait; they may be durable all the same.
        """
        told: list[Failures] = []
        waits = threading.Lock()  # a tenth of what an event costs
        waits.acquire()

        def tell(failures: Failures) -> None:
            told.append(failures)
            waits.release()

        submitted = self.submit(predictions, tell)
        if not waits.acquire(timeout=self._patience):
            self.give_up(submitted)
            if not told:
                raise self.too_slow()
        for failure in told[0]:
            if isinstance(failure, ServerError):  # anew in every thread: raising changes an exception
                raise ServerError(str(failure)) from failure
        return told[0]

    def submit(
        self,
        predictions: Sequence[StoredPrediction],
        tell: Callable[[Failures], object],
        perhaps_durable: bool = False,
    ) -> Submitted:
        """Hand over predictions; the writer calls `tell` once, in its thread, when each is durable or refused.

        Those that were sent before, and whose end nobody heard, are `perhaps_durable`: what is there stays as it is.
        Raises ServerError where too many wait or PostgreSQL is stuck.
        """
        submitted = Submitted(predictions, tell, perhaps_durable)
        with self._gathered:
            rows = self._rows_waiting + len(predictions)
            is_stuck = self._writing_since is not None and time.monotonic() - self._writing_since > self._patience
            if self._is_closing or is_stuck or (self._waiting and rows > self._most_waiting):
                raise self.too_many(self._rows_waiting)
            self._waiting.append(submitted)
            self._rows_waiting = rows
            if self._writer is None:
                writer = threading.Thread(target=self._run, name="prediction log", daemon=True)
                writer.start()
                self._writer = writer
            self._gathered.notify()
        return submitted

    def give_up(self, submitted: Submitted) -> None:
        """Take back what nobody has begun to write: nobody is told of it any more."""
        with self._gathered:
            if submitted in self._waiting:
                self._waiting.remove(submitted)
                self._rows_waiting -= len(submitted.predictions)

    def too_slow(self) -> ServerError:
        """What is said where patience ended."""
        return ServerError(f"a prediction was not written within {self._patience:g} s at {self._database.where}")

    def too_many(self, waiting: int) -> ServerError:
        """What is said where so many wait already that no more may."""
        return ServerError(f"{waiting} predictions wait to be written at {self._database.where}")

    def close(self) -> None:
        """Write what waits, and take nothing more."""
        with self._gathered:
            self._is_closing = True
            writer = self._writer
            self._gathered.notify()
        if writer is not None:
            writer.join(2 * self._patience)

    def _run(self) -> None:
        while group := self._take():
            self._settle(group)

    def _take(self) -> list[Submitted]:
        """What has gathered; nothing where the writer is to end."""
        with self._gathered:
            self._writing_since = None
            self._gathered.wait_for(lambda: self._waiting or self._is_closing, IDLE_SECONDS)
            group, self._waiting, self._rows_waiting = self._waiting, [], 0
            if group:
                self._writing_since = time.monotonic()
            else:
                self._writer = None
                self._disconnect()
            return group

    def _settle(self, group: Sequence[Submitted]) -> None:
        predictions = list(chain.from_iterable(each.predictions for each in group))
        write = _insert if any(each.perhaps_durable for each in group) else copy_predictions
        try:
            failures = self._keep(predictions, write)
        except Exception as error:  # noqa: BLE001 - whatever it was, those who wait are told
            failures = [error] * len(predictions)
        start = 0
        for each in group:
            try:
                each.tell(failures[start : start + len(each.predictions)])
            except Exception as error:  # noqa: BLE001 - the others are to be told, and the writer goes on
                logger.warning("a caller could not be told of its predictions: %s", type(error).__name__)
            start += len(each.predictions)

    def _keep(self, predictions: Sequence[StoredPrediction], write: Write) -> list[Exception | None]:
        """Write all of them; where one cannot be kept, the others are, and halving finds it."""
        try:
            self._commit(predictions, write)
        except (psycopg.DataError, psycopg.IntegrityError, ValueError, TypeError) as error:
            if len(predictions) == 1:
                return [_refusal(error)]
            middle = len(predictions) // 2
            return self._keep(predictions[:middle], write) + self._keep(predictions[middle:], write)
        return [None] * len(predictions)

    def _commit(self, predictions: Sequence[StoredPrediction], write: Write) -> None:
        was_connected = self._connection is not None
        try:
            with self._connected() as connection:
                _with_months(connection, predictions, write)
        except ServerError:
            if not was_connected or self._connection is not None:
                raise
            # It had died, perhaps with the commit's answer on the way: again, so that what is there stays as it is.
            with self._connected() as connection:
                _with_months(connection, predictions, _insert)

    @contextmanager
    def _connected(self) -> Iterator[Connection]:
        """The writer's connection, given up after an error of the server. Raises ServerError."""
        try:
            if self._connection is None:
                self._connection = self._database.connect(self._patience)
            yield self._connection
        except psycopg.errors.QueryCanceled as error:
            raise ServerError(f"PostgreSQL took longer than {self._patience:g} s at {self._database.where}") from error
        except psycopg.OperationalError as error:
            self._disconnect()
            raise self._database.named(error) from error

    def _disconnect(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def _insert(connection: Connection, predictions: Sequence[StoredPrediction]) -> None:
    with connection.transaction():
        insert_predictions(connection, predictions)


def _with_months(connection: Connection, predictions: Sequence[StoredPrediction], write: Write) -> None:
    """Write them, and make their months first where they are missing."""
    try:
        write(connection, predictions)
    except psycopg.errors.CheckViolation as error:
        if not lacks_a_month(error):
            raise
        with connection.transaction():
            make_months(connection, predictions)
        write(connection, predictions)


def _refusal(error: Exception) -> Exception:
    if isinstance(error, psycopg.DataError | ValueError):
        return InputError("the request holds text or a number that PostgreSQL cannot keep")
    return error


_LOGS: WeakSet[PredictionLog] = WeakSet()


def _start_all_over() -> None:
    for log in _LOGS:
        log._start_over()


def _close_all() -> None:
    for log in list(_LOGS):
        log.close()


os.register_at_fork(after_in_child=_start_all_over)
atexit.register(_close_all)
