"""A mail server that keeps what it was sent: SMTP with STARTTLS or TLS, and a password where it asks for one."""

from __future__ import annotations

import base64
import socketserver
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path
from typing import cast


class Mailbox(socketserver.ThreadingTCPServer):
    """Listens on loopback; `received` holds the e-mails, `secured` whether each came over TLS."""

    daemon_threads = True
    allow_reuse_address = True

    def __init__(
        self,
        certificate: tuple[Path, Path] | None = None,
        is_tls: bool = False,
        login: tuple[str, str] | None = None,
        refusing: str = "",
    ) -> None:
        self.context: ssl.SSLContext | None = None
        if certificate is not None:
            self.context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
            self.context.load_cert_chain(*certificate)
        self.is_tls, self.login, self.refusing = is_tls, login, refusing
        self.received: list[EmailMessage] = []
        self.secured: list[bool] = []
        super().__init__(("127.0.0.1", 0), _Session)

    @property
    def port(self) -> int:
        return int(self.server_address[1])

    @contextmanager
    def serving(self) -> Iterator[Mailbox]:
        """Serve until the block ends."""
        with self:
            threading.Thread(target=self.serve_forever, daemon=True).start()
            yield self
            self.shutdown()


class _Session(socketserver.StreamRequestHandler):
    server: Mailbox

    def setup(self) -> None:
        self.is_secured = False
        self.is_known = self.server.login is None
        if self.server.is_tls:
            self._secure()
        super().setup()

    def _secure(self) -> None:
        assert self.server.context is not None
        self.request = self.server.context.wrap_socket(self.request, server_side=True)
        self.is_secured = True

    def handle(self) -> None:
        try:
            self._answer("220 mailbox")
            while line := self.rfile.readline():
                if not self._command(line.decode().strip()):
                    break
        except OSError:  # the client turned away, as it does from a certificate that it does not trust
            pass

    def finish(self) -> None:
        self.request.close()

    def _answer(self, line: str) -> None:
        self.wfile.write(f"{line}\r\n".encode())

    def _command(self, line: str) -> bool:
        word, _, rest = line.partition(" ")
        if word.upper() == self.server.refusing:
            self._answer("550 not here, secret-of-the-server")
        elif word.upper() == "STARTTLS":
            self._answer("220 go on")
            self._secure()
            super().setup()
        elif word.upper() == "DATA":
            self._answer("354 go on")
            self._keep()
            self._answer("250 kept")
        else:
            self._answer(self._simple(word.upper(), rest))
        return word.upper() != "QUIT"

    def _simple(self, word: str, rest: str) -> str:
        if word == "EHLO":
            offers = ["mailbox", *(["STARTTLS"] if self.server.context and not self.is_secured else [])]
            offers += ["AUTH PLAIN"] if self.server.login else []
            return "\r\n".join([*(f"250-{offer}" for offer in offers), "250 8BITMIME"])
        if word == "AUTH":
            _, user, password = base64.b64decode(rest.removeprefix("PLAIN ")).decode().split("\0")
            self.is_known = (user, password) == self.server.login
            return "235 known" if self.is_known else "535 not known"
        if word == "MAIL" and not self.is_known:
            return "530 log in first"
        return "221 bye" if word == "QUIT" else "250 ok"

    def _keep(self) -> None:
        lines = []
        while (line := self.rfile.readline()) not in (b".\r\n", b""):
            lines.append(line.removeprefix(b".") if line.startswith(b"..") else line)
        found = message_from_bytes(b"".join(lines), policy=policy.default)
        self.server.received.append(cast(EmailMessage, found))
        self.server.secured.append(self.is_secured)
