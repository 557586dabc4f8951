"""Sends prebuilt requests over keep-alive connections, in a process of its own.

It shares the machine with the server it loads, so that it does as little as it can: no HTTP client, one system call to
send, one or two to receive, and of an answer only its status and where it ends are looked at.
"""

from __future__ import annotations

import json
import random
import resource
import select
import socket
import subprocess
import sys
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from itertools import cycle

from benchmarks.load.figures import percentile

SEED = 20_260_101
CONNECT_SECONDS, ANSWER_SECONDS = 5.0, 30.0
_RECEIVED = 65_536


@dataclass(frozen=True)
class Load:
    """Requests for `seconds`: as fast as answers come, or `rate` a second whether or not they do."""

    port: int
    requests: Sequence[str]
    """Whole requests, head and body; they are sent in turn."""
    connections: int
    seconds: float
    rate: float | None = None


@dataclass(frozen=True)
class Loaded:
    """What a load showed. Latencies are milliseconds; with a rate they count from when a request was due.

    `cpu_seconds` are the generator's own.
    """

    answered: int
    failed: int
    seconds: float
    p50: float
    p99: float
    longest: float
    cpu_seconds: float

    @property
    def rate(self) -> float:
        return self.answered / self.seconds


def run(load: Load) -> Loaded:
    """Load the server from a process of its own. Raises CalledProcessError where it does not take connections."""
    ran = subprocess.run(
        [sys.executable, "-m", __name__], input=json.dumps(asdict(load)), stdout=subprocess.PIPE, text=True, check=True
    )
    return Loaded(**json.loads(ran.stdout))


def request_of(path: str, body: bytes, headers: dict[str, str]) -> str:
    """A POST as it goes over the wire."""
    lines = [
        f"POST {path} HTTP/1.1",
        "Host: 127.0.0.1",
        "Content-Type: application/json",
        f"Content-Length: {len(body)}",
    ]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return "\r\n".join((*lines, "", body.decode()))


def ask(port: int, request: str) -> tuple[int, bytes]:
    """Status and body of one answer."""
    connection = _Connection(port)
    connection.send(request.encode(), 0.0)
    while not connection.receive():
        pass
    connection.socket.close()
    return connection.status, connection.body


@dataclass(eq=False)
class _Connection:
    """One keep-alive connection; one request is under way on it at most."""

    port: int
    socket: socket.socket = field(init=False)
    since: float = 0.0
    status: int = 0
    body: bytes = b""
    _buffer: bytes = b""

    def __post_init__(self) -> None:
        self.open()

    def open(self) -> None:
        self.socket = socket.create_connection(("127.0.0.1", self.port), CONNECT_SECONDS)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.settimeout(ANSWER_SECONDS)

    def fileno(self) -> int:
        return self.socket.fileno()

    def send(self, request: bytes, since: float) -> None:
        """Send a request; its latency counts from `since`."""
        self.since, self._buffer = since, b""
        self.socket.sendall(request)

    def receive(self) -> bool:
        """Whether the answer is whole now. A connection that the server closed counts as an answer of status 0."""
        try:
            arrived = self.socket.recv(_RECEIVED)
        except OSError:
            arrived = b""
        if not arrived:
            self.socket.close()
            self.open()
            self.status = 0
            return True
        self._buffer += arrived
        head_end = self._buffer.find(b"\r\n\r\n")
        if head_end < 0 or len(self._buffer) < head_end + 4 + _length(self._buffer[:head_end]):
            return False
        self.status, self.body = int(self._buffer[9:12]), self._buffer[head_end + 4 :]
        return True


def _length(head: bytes) -> int:
    """How long the body is. Raises ValueError where the head does not say it."""
    lower = head.lower()
    start = lower.index(b"content-length:") + 15
    end = lower.find(b"\r", start)
    return int(lower[start : end if end >= 0 else None])


class _Run:
    """One load while it runs."""

    def __init__(self, load: Load) -> None:
        self.load = load
        self.requests = cycle([request.encode() for request in load.requests])
        self.connections = [_Connection(load.port) for _ in range(load.connections)]
        self.latencies: list[float] = []
        self.failed = 0

    def take(self, connection: _Connection) -> bool:
        """Whether the connection's answer is whole, and counted."""
        if not connection.receive():
            return False
        if connection.status == 200:
            self.latencies.append(time.perf_counter() - connection.since)
        else:
            self.failed += 1
        return True

    def closed(self) -> None:
        """Each connection sends its next request as soon as the answer is there."""
        end = time.perf_counter() + self.load.seconds
        for connection in self.connections:
            connection.send(next(self.requests), time.perf_counter())
        while time.perf_counter() < end:
            for connection in select.select(self.connections, (), (), ANSWER_SECONDS)[0]:
                if self.take(connection):
                    connection.send(next(self.requests), time.perf_counter())

    def open(self, rate: float) -> None:
        """Requests are due at random moments, `rate` a second (Poisson); one that finds no connection free waits."""
        arrivals, due = random.Random(SEED), time.perf_counter()  # noqa: S311 - nothing is secret about it
        end, waiting = due + self.load.seconds, deque[float]()
        idle, busy = self.connections[:], set[_Connection]()
        while (now := time.perf_counter()) < end + ANSWER_SECONDS:
            while due <= now and due < end:
                waiting.append(due)
                due += arrivals.expovariate(rate)
            while waiting and idle:
                connection = idle.pop()
                connection.send(next(self.requests), waiting.popleft())
                busy.add(connection)
            if due >= end and not busy and not waiting:
                return
            pause = 1.0 if waiting or due >= end else max(due - time.perf_counter(), 0.0)
            for connection in select.select(list(busy), (), (), pause)[0]:
                if self.take(connection):
                    busy.remove(connection)
                    idle.append(connection)
        self.failed += len(busy) + len(waiting)  # the server does not answer any more


def _loaded(load: Load) -> Loaded:
    run, cpu = _Run(load), _cpu_seconds()
    started = time.perf_counter()
    run.closed() if load.rate is None else run.open(load.rate)
    seconds = time.perf_counter() - started
    ordered = sorted(run.latencies)
    p50, p99, longest = (1000 * percentile(ordered, share) for share in (0.5, 0.99, 1.0))
    return Loaded(len(ordered), run.failed, seconds, p50, p99, longest, _cpu_seconds() - cpu)


def _cpu_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    print(json.dumps(asdict(_loaded(Load(**json.load(sys.stdin))))))
