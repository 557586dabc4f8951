"""An external PostgreSQL that is only to be had with TLS: the store, the façade and MLflow all use it."""

from __future__ import annotations

import ipaddress
import socket
import socketserver
import ssl
import threading
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from forecastle.embedded.servers import running
from forecastle.errors import ServerError
from forecastle.settings import Settings
from forecastle.store.database import Database
from forecastle.store.migrate import migrate

SSL_REQUEST = (8).to_bytes(4) + (80877103).to_bytes(4)  # PostgreSQL's protocol, message formats: SSLRequest


class TlsFront(socketserver.ThreadingTCPServer):
    """Takes connections with TLS alone and hands them on in plain.

    PostgreSQL of the wheels is built without TLS; from outside, this is what a server with it looks like.
    """

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, certificate: Path, key: Path, behind: int) -> None:
        self.context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self.context.load_cert_chain(certificate, key)
        self.behind = behind
        self.databases: set[str] = set()
        super().__init__(("127.0.0.1", 0), _Connection)


class _Connection(socketserver.BaseRequestHandler):
    server: TlsFront

    def handle(self) -> None:
        if self.request.recv(8, socket.MSG_WAITALL) != SSL_REQUEST:
            return  # in plain: closed without a word
        self.request.sendall(b"S")
        with (
            suppress(OSError),
            self.server.context.wrap_socket(self.request, server_side=True) as outside,
            socket.create_connection(("127.0.0.1", self.server.behind)) as inside,
        ):
            started = outside.recv(65536)
            words = started[8:].split(b"\0")
            if b"database" in words:
                self.server.databases.add(words[words.index(b"database") + 1].decode())
            inside.sendall(started)
            threading.Thread(target=self._pump, args=(inside, outside), daemon=True).start()
            self._pump(outside, inside)

    @staticmethod
    def _pump(source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while content := source.recv(65536):
                target.sendall(content)
        with suppress(OSError):
            target.shutdown(socket.SHUT_RDWR)


@dataclass(frozen=True)
class Secured:
    """A server's address without the words about TLS, and the file of the authority that signed its certificate."""

    url: str
    authority: Path
    front: TlsFront

    def with_mode(self, mode: str, authority: Path | None = None) -> str:
        return f"{self.url}?sslmode={mode}&sslrootcert={authority or self.authority}"


def write_certificate(folder: Path) -> tuple[Path, Path]:
    """A certificate for 127.0.0.1 that signs itself, and its key."""
    folder.mkdir()
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
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


@pytest.fixture
def secured(tmp_path: Path) -> Iterator[Secured]:
    """A PostgreSQL server of its own that takes connections with TLS alone."""
    public, private = write_certificate(tmp_path / "tls")
    with running(Settings(home=tmp_path / "server"), ("postgresql",)) as settings:
        parts = urlsplit(settings.require_database_url())
        assert parts.port is not None
        with TlsFront(public, private, parts.port) as front:
            threading.Thread(target=front.serve_forever, daemon=True).start()
            place = f"{parts.username}:{parts.password}@127.0.0.1:{front.server_address[1]}"
            yield Secured(parts._replace(netloc=place).geturl(), public, front)
            front.shutdown()


def test_store_mlflow_and_facade_speak_tls_with_an_external_server(secured: Secured, tmp_path: Path) -> None:
    given = Settings(home=tmp_path / "home", database_url=secured.with_mode("verify-full"), http_port=0)
    with Database(given.require_database_url()) as database:
        migrate(database)
    assert secured.front.databases == {"forecastle"}
    with running(given, ("s3", "mlflow")) as settings:
        assert "mlflow" in secured.front.databases
        secured.front.databases.clear()
        with running(settings, ("facade",)) as everything:
            assert everything.facade_url is not None
            assert secured.front.databases == {"forecastle"}
    assert not (tmp_path / "home" / "postgresql").exists()


def test_a_connection_without_tls_and_a_foreign_authority_are_refused(secured: Secured, tmp_path: Path) -> None:
    foreign, _ = write_certificate(tmp_path / "foreign")
    for url in (f"{secured.url}?sslmode=disable", secured.with_mode("verify-full", foreign)):
        with Database(url) as database, pytest.raises(ServerError), database.transaction():
            pass
    assert not secured.front.databases
