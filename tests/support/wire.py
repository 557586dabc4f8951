"""A way to a server over TCP that withholds its replies, breaks, and goes away, when it is told to."""

from __future__ import annotations

import asyncio
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from threads import in_a_thread

AT_ONCE = struct.pack("ii", 1, 0)
"""SO_LINGER: closing resets the connection."""


class Wire:
    """Hands on what both sides say, in a thread of its own."""

    def __init__(self, host: str, port: int) -> None:
        self.accepted = 0
        """Connections that somebody made, also while it was away."""
        self.is_away = False
        self._upstream = host, port
        self._loop = asyncio.new_event_loop()
        self._open: list[asyncio.StreamWriter] = []
        self._withheld: set[asyncio.StreamWriter] = set()
        listening = socket.create_server(("127.0.0.1", 0))
        self.port = int(listening.getsockname()[1])
        self._server = self._loop.run_until_complete(asyncio.start_server(self._connected, sock=listening))

    def withhold(self) -> None:
        """Whoever is connected hears nothing of the server any more."""
        self._run(lambda: self._withheld.update(self._open))

    def cut(self, resets: bool = False) -> None:
        """End what is connected, on both sides."""
        self._run(lambda: self._cut(resets))

    def serve(self) -> None:
        self._loop.run_forever()
        self._cut(resets=False)
        self._server.close()
        for task in asyncio.all_tasks(self._loop):
            task.cancel()
        self._loop.run_until_complete(asyncio.sleep(0))
        self._loop.close()

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)

    def _run(self, step: Callable[[], object]) -> None:
        done = threading.Event()
        self._loop.call_soon_threadsafe(lambda: (step(), done.set()))
        assert done.wait(10)

    def _cut(self, resets: bool) -> None:
        for writer in self._open:
            if resets:
                writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, AT_ONCE)
            writer.transport.abort()
        self._open.clear()

    async def _connected(self, client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        self.accepted += 1
        if self.is_away:
            to_client.transport.abort()
            return
        server, to_server = await asyncio.open_connection(*self._upstream)
        self._open += [to_client, to_server]
        with suppress(OSError):
            await asyncio.gather(self._hand_on(client, to_server), self._hand_on(server, to_client))

    async def _hand_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while said := await reader.read(65536):
            if writer not in self._withheld:
                writer.write(said)
                await writer.drain()
        if writer not in self._withheld:
            writer.close()


@contextmanager
def wired(host: str, port: int) -> Iterator[Wire]:
    """A wire to the server at this address."""
    wire = Wire(host, port)
    with in_a_thread(wire.serve, wire.stop):
        yield wire
