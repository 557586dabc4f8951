"""Servers that are only to be had with TLS: a certificate of one's own, and a front before a server without."""

from __future__ import annotations

import ipaddress
import socket
import socketserver
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

SSL_REQUEST = (8).to_bytes(4) + (80877103).to_bytes(4)  # PostgreSQL's protocol, message formats: SSLRequest


class TlsFront(socketserver.ThreadingTCPServer):
    """Takes connections with TLS alone and hands them on in plain; `admitted` counts those that came so far.

    PostgreSQL and Valkey of the wheels are built without TLS; from outside, this is what servers with it look like.
    """

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, certificate: Path, key: Path, behind: int) -> None:
        self.context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self.context.load_cert_chain(certificate, key)
        self.behind = behind
        self.admitted = 0
        super().__init__(("127.0.0.1", 0), _Connection)

    @property
    def port(self) -> int:
        return int(self.server_address[1])

    def begin(self, connection: socket.socket) -> bool:
        """What is said before TLS begins; False where the connection is to be closed without a word."""
        return True

    def look(self, first: bytes) -> None:
        """See the first words of a connection."""

    @contextmanager
    def serving(self) -> Iterator[None]:
        """Serve until the block ends."""
        with self:
            threading.Thread(target=self.serve_forever, daemon=True).start()
            yield
            self.shutdown()


class PostgresqlFront(TlsFront):
    """The same for PostgreSQL, whose clients ask for TLS first; remembers which databases were asked for."""

    def __init__(self, certificate: Path, key: Path, behind: int) -> None:
        self.databases: set[str] = set()
        super().__init__(certificate, key, behind)

    def begin(self, connection: socket.socket) -> bool:
        if connection.recv(8, socket.MSG_WAITALL) != SSL_REQUEST:
            return False  # in plain
        connection.sendall(b"S")
        return True

    def look(self, first: bytes) -> None:
        words = first[8:].split(b"\0")
        if b"database" in words:
            self.databases.add(words[words.index(b"database") + 1].decode())


class _Connection(socketserver.BaseRequestHandler):
    server: TlsFront

    def handle(self) -> None:
        if not self.server.begin(self.request):
            return
        with (
            suppress(OSError),
            self.server.context.wrap_socket(self.request, server_side=True) as outside,
            socket.create_connection(("127.0.0.1", self.server.behind)) as inside,
        ):
            first = outside.recv(65536)
            self.server.admitted += bool(first)
            self.server.look(first)
            inside.sendall(first)
            threading.Thread(target=self._pump, args=(inside, outside), daemon=True).start()
            self._pump(outside, inside)

    @staticmethod
    def _pump(source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while content := source.recv(65536):
                target.sendall(content)
        with suppress(OSError):
            target.shutdown(socket.SHUT_RDWR)


def write_certificate(folder: Path, address: str = "127.0.0.1") -> tuple[Path, Path]:
    """A certificate for this address that signs itself, and its key."""
    folder.mkdir()
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, address)])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(address))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    public, private = folder / "server.crt", folder / "server.key"
    public.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    private.touch(mode=0o600)
    private.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return public, private
