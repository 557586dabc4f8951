"""Work that is under way once, however many ask for it."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable, Hashable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Generic, TypeVar

from forecastle.errors import ForecastleError

logger = logging.getLogger(__name__)
Result = TypeVar("Result")


@dataclass(frozen=True)
class Flight(Generic[Result]):
    """Work under way, and when it was asked for first (monotonic seconds)."""

    future: Future[Result]
    began: float

    def wait(self, seconds: float, until: float = math.inf) -> Result:
        """The result. Raises what the work raised, and TimeoutError so long after it was first asked for.

        `until` (monotonic seconds) is when who asks has no more time, if that is earlier.
        """
        return self.future.result(max(0.0, min(self.began + seconds, until) - time.monotonic()))


class Flights(Generic[Result]):
    """Does work in a few threads of its own; who asks for what is under way already gets the same flight."""

    def __init__(self, threads: int, name: str) -> None:
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix=name)
        self._lock = threading.Lock()
        self._under_way: dict[Hashable, Flight[Result]] = {}

    def begin(self, key: Hashable, work: Callable[[], Result]) -> Flight[Result]:
        with self._lock:
            flight = self._under_way.get(key)
            if flight is not None:
                return flight
            flight = self._under_way[key] = Flight(self._pool.submit(work), time.monotonic())
        flight.future.add_done_callback(lambda future: self._land(key, future))  # outside the lock: it may be done
        return flight

    def _land(self, key: Hashable, future: Future[Result]) -> None:
        with self._lock:
            self._under_way.pop(key)
        error = future.exception()
        if error is not None and not isinstance(error, ForecastleError):  # nobody may be waiting for it
            logger.error("%s in %s", type(error).__name__, key)
