"""Servers of tests, each in a thread of its own."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def in_a_thread(serve: Callable[[], object], stop: Callable[[], object]) -> Iterator[None]:
    """`serve` runs within the block; `stop` lets it return."""
    serving = threading.Thread(target=serve, daemon=True)
    serving.start()
    try:
        yield
    finally:
        stop()
        serving.join()
