"""Servers that answer the same requests with the same model."""

from __future__ import annotations

import signal
import socket
import tempfile
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path

from forecastle.embedded.process import Server, await_ready, launch, stop

HOST = "127.0.0.1"


@dataclass(frozen=True)
class Contender:
    """One way to serve: what makes its server for a port, and what it is sent.

    `value_of` finds the number in an answer's body; None where an answer holds none.
    """

    name: str
    recipe: Callable[[int], Server]
    requests: Sequence[str]
    value_of: Callable[[bytes], float] | None = None


@dataclass(frozen=True)
class Started:
    contender: Contender
    port: int
    pid: int


@contextmanager
def started(contender: Contender, folder: Path) -> Iterator[Started]:
    """The contender's server, ready within the block, its log in the folder. Raises ServerError."""
    port = free_port()
    server = contender.recipe(port)
    log = Path(tempfile.mkstemp(prefix="log-", suffix=".txt", dir=folder)[1])
    launched = launch(server, log)
    try:
        await_ready(launched)
        yield Started(contender, port, launched.process.pid)
    finally:
        stop(server, launched.process)


def free_port() -> int:
    with socket.socket() as found:
        found.bind((HOST, 0))
        return int(found.getsockname()[1])


def server(
    name: str, command: Sequence[str], environment: Mapping[str, str], folder: Path, port: int, ready: str
) -> Server:
    """A server that is ready once it answers a GET of the path `ready`."""
    address = f"http://{HOST}:{port}"
    return Server(
        name=name,
        command=command,
        environment=environment,
        folder=folder,
        address=address,
        is_ready=lambda: answers(f"{address}{ready}"),
        setting="--only",
        stop_signals=(signal.SIGTERM,),
        stop_seconds=5,
    )


def answers(address: str) -> bool:
    try:
        with urllib.request.urlopen(address, timeout=5) as answer:  # noqa: S310 - our own http address
            return bool(answer.status == 200)
    except (OSError, HTTPException):
        return False
