"""Flask behind RSGI, the interface of the server: requests that may wait run in threads."""

from __future__ import annotations

import asyncio
import io
import sys
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from contextvars import copy_context
from typing import TYPE_CHECKING, Any, Protocol

from granian.rsgi import ProtocolClosed
from werkzeug.exceptions import ClientDisconnected, RequestTimeout

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer, WriteableBuffer

Headers = list[tuple[str, str]]


STALLED_SECONDS = 60.0
"""A client that sends no more of its body for so long is taken to be gone: it holds a thread."""


class Scope(Protocol):
    """What RSGI tells of a request; `headers` bear lower case names."""

    proto: str
    http_version: str
    server: str
    client: str
    scheme: str
    method: str
    path: str
    query_string: str
    authority: str | None
    headers: Any


class FlaskAdapter:
    """Runs a WSGI application for RSGI, at most `threads` requests at once.

    Bodies and answers are streamed: neither is ever held whole, unless the application does. A body that ends before
    its Content-Length raises ClientDisconnected, as a body of pieces that is cut off cannot. What an application raises
    once its answer has begun ends the answer like any other: streams catch everything themselves.
    """

    def __init__(self, app: Callable[..., Iterable[bytes]], threads: int) -> None:
        self._app = app
        self._threads = ThreadPoolExecutor(threads, "request")

    async def answer(self, scope: Scope, protocol: Any, body: bytes | None = None) -> None:
        """Answer a request; `body` is what was read of it already, which is then all of it."""
        loop, context = asyncio.get_running_loop(), copy_context()
        stream = io.BytesIO(body) if body is not None else _Body(loop, protocol, scope.headers.get("content-length"))
        run = self._threads
        status, headers, chunks = await loop.run_in_executor(run, context.run, self._call, environ_of(scope, stream))
        if isinstance(chunks, bytes):
            protocol.response_bytes(status, headers, chunks)
            return
        try:
            with suppress(ProtocolClosed):  # the client went away
                transport = protocol.response_stream(status, headers)
                while (chunk := await loop.run_in_executor(run, context.run, next, chunks, None)) is not None:
                    await transport.send_bytes(chunk)
        finally:
            await loop.run_in_executor(run, context.run, chunks.close)

    def _call(self, environ: dict[str, Any]) -> tuple[int, Headers, bytes | _Chunks]:
        started: list[tuple[str, Headers]] = []

        def start_response(status: str, headers: Headers, error: Any = None) -> Callable[[bytes], object]:
            started[:] = [(status, headers)]
            return _no_write

        answered = self._app(environ, start_response)
        (status, headers) = started[0]
        found = int(status[:3]), [(name.lower(), value) for name, value in headers]
        if any(name == "content-length" for name, _ in found[1]):
            with _Chunks(answered) as chunks:
                return *found, b"".join(chunks)
        return *found, _Chunks(answered)


class _Chunks:
    """What a WSGI application answers, piece by piece; closed once."""

    def __init__(self, answered: Iterable[bytes]) -> None:
        self._answered = answered
        self._iterator = iter(answered)

    def __enter__(self) -> _Chunks:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        return next(self._iterator)

    def close(self) -> None:
        getattr(self._answered, "close", lambda: None)()


class _Body(io.RawIOBase):
    """A body that is still coming in, read by the thread that answers."""

    def __init__(self, loop: asyncio.AbstractEventLoop, protocol: Any, length: str | None) -> None:
        self._loop = loop
        self._pieces = aiter(protocol)
        self._missing = int(length) if length is not None and length.isdecimal() else 0
        self._left = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer) -> int:
        """What is there, at least a byte; nothing at the end. Raises ClientDisconnected, RequestTimeout."""
        view = memoryview(buffer)
        while not self._left:
            piece = self._wait_for_more()
            if piece is None:
                if self._missing > 0:
                    raise ClientDisconnected
                return 0
            self._missing -= len(piece)
            self._left = piece
        taken, self._left = self._left[: len(view)], self._left[len(view) :]
        view[: len(taken)] = taken
        return len(taken)

    def _wait_for_more(self) -> bytes | None:
        """The next piece, None at the end. Raises RequestTimeout where it takes too long."""
        coming = asyncio.run_coroutine_threadsafe(self._next(), self._loop)
        try:
            return coming.result(STALLED_SECONDS)
        except TimeoutError:
            coming.cancel()
            raise RequestTimeout from None

    async def _next(self) -> bytes | None:
        try:
            return bytes(await anext(self._pieces))
        except (StopAsyncIteration, ProtocolClosed):
            return None


def environ_of(scope: Scope, body: Any) -> dict[str, Any]:
    """A request as WSGI tells it (PEP 3333)."""
    host, _, port = scope.server.rpartition(":")
    client, _, client_port = scope.client.rpartition(":")
    environ: dict[str, Any] = {
        "REQUEST_METHOD": scope.method,
        "SCRIPT_NAME": "",
        "PATH_INFO": scope.path.encode().decode("latin-1"),
        "QUERY_STRING": scope.query_string,
        "SERVER_NAME": host,
        "SERVER_PORT": port,
        "SERVER_PROTOCOL": f"HTTP/{scope.http_version}",
        "REMOTE_ADDR": client,
        "REMOTE_PORT": client_port,
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": scope.scheme,
        "wsgi.input": body,
        "wsgi.input_terminated": True,
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": True,
        "wsgi.multiprocess": True,
        "wsgi.run_once": False,
    }
    if scope.authority:
        environ["HTTP_HOST"] = scope.authority
    for name, value in scope.headers.items():
        if "_" in name:  # else it would pass for the one with dashes, which a proxy may have set or removed
            continue
        plain = name.upper().replace("-", "_")
        key = plain if plain in ("CONTENT_TYPE", "CONTENT_LENGTH") else f"HTTP_{plain}"
        environ[key] = f"{environ[key]},{value}" if key in environ and key != "HTTP_HOST" else value
    return environ


def _no_write(_: ReadableBuffer) -> object:
    raise NotImplementedError("answers are iterated over; PEP 3333's write() is not offered")
