"""A way to a server over HTTP that goes away at a request of one's choice, and comes back when it is told to."""

from __future__ import annotations

import http.client
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

from threads import in_a_thread


class Proxy(ThreadingHTTPServer):
    """Hands every request on, until one whose address holds `leaves_at`: from that on, all connections are cut.

    With `hears` the server gets that request as well; its answer is lost.
    """

    leaves_at: str | None = None
    hears = False
    is_away = False

    def __init__(self, upstream: str) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.upstream = urlsplit(upstream).netloc

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def leave_at(self, part: str, hears: bool) -> None:
        self.leaves_at, self.hears = part, hears

    def come_back(self) -> None:
        self.leaves_at, self.is_away = None, False


class _Handler(BaseHTTPRequestHandler):
    def _hand_on(self) -> None:
        assert isinstance(self.server, Proxy)
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        leaving = self.server.leaves_at is not None and self.server.leaves_at in self.path
        if not self.server.is_away and (not leaving or self.server.hears):
            status, kind, content = self._ask(self.server.upstream, body)
        self.server.is_away |= leaving
        if self.server.is_away:
            self.close_connection = True
            return
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    do_GET = do_POST = do_DELETE = do_PATCH = _hand_on

    def _ask(self, upstream: str, body: bytes) -> tuple[int, str, bytes]:
        asking = http.client.HTTPConnection(upstream, timeout=30)
        headers = {name: value for name, value in self.headers.items() if name.lower() != "host"}
        asking.request(self.command, self.path, body, headers)
        answer = asking.getresponse()
        found = answer.status, answer.getheader("Content-Type", ""), answer.read()
        asking.close()
        return found

    def log_message(self, format: str, *args: object) -> None:
        """Nothing."""


@contextmanager
def proxied(upstream: str) -> Iterator[Proxy]:
    """A proxy in front of the server at this address."""
    with Proxy(upstream) as proxy, in_a_thread(proxy.serve_forever, proxy.shutdown):
        yield proxy
