"""External servers that are only to be had with TLS: PostgreSQL, the broker, and S3, by everything that uses them."""

from __future__ import annotations

import json
import socket
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import pytest
from processes import await_that
from tls import PostgresqlFront, TlsFront, write_certificate

from cli.main import main
from forecastle.embedded import process, s3_server
from forecastle.embedded.home import Home
from forecastle.embedded.servers import running
from forecastle.errors import ConfigurationError, ServerError
from forecastle.settings import Settings
from forecastle.store import job_runs
from forecastle.store.database import Database
from forecastle.store.migrate import migrate
from forecastle.store.objects import Objects
from forecastle.store.probe import run_storage_test
from jobs.app import Broker, create_app


@dataclass(frozen=True)
class Secured:
    """A server's address without the words about TLS, and the file of the authority that signed its certificate."""

    url: str
    authority: Path
    front: PostgresqlFront

    def with_mode(self, mode: str, authority: Path | None = None) -> str:
        return f"{self.url}?sslmode={mode}&sslrootcert={authority or self.authority}"


@pytest.fixture
def secured(tmp_path: Path) -> Iterator[Secured]:
    """A PostgreSQL server of its own that takes connections with TLS alone."""
    public, private = write_certificate(tmp_path / "tls")
    with running(Settings(home=tmp_path / "server"), ("postgresql",)) as settings:
        parts = urlsplit(settings.require_database_url())
        assert parts.port is not None
        front = PostgresqlFront(public, private, parts.port)
        with front.serving():
            place = f"{parts.username}:{parts.password}@127.0.0.1:{front.port}"
            yield Secured(parts._replace(netloc=place).geturl(), public, front)


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


@dataclass(frozen=True)
class SecuredBroker:
    """A broker that takes connections with TLS alone."""

    password: str
    authority: Path
    front: TlsFront

    def settings(self, query: str, scheme: str = "rediss") -> Settings:
        """As they are read from REDIS_URL with these words behind the question mark."""
        url = f"{scheme}://:{self.password}@127.0.0.1:{self.front.port}/0{query}"
        return replace(Settings.from_env({"REDIS_URL": url}), http_port=0)

    def trusting(self, authority: Path | None = None) -> Settings:
        return self.settings(f"?ssl_ca_certs={quote(str(authority or self.authority))}")


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecuredBroker]:
    folder = tmp_path_factory.mktemp("broker")
    public, private = write_certificate(folder / "a folder of certificates")
    with running(Settings(home=folder / "home"), ("valkey",)) as settings:
        parts = urlsplit(settings.require_redis_url())
        assert parts.port is not None
        assert parts.password is not None
        front = TlsFront(public, private, parts.port)
        with front.serving():
            yield SecuredBroker(parts.password, public, front)


def broker_finding(settings: Settings, home: Path, environment: pytest.MonkeyPatch, read: Any) -> dict[str, str]:
    """What `forecastle doctor` says of the broker."""
    for item in fields(Settings):
        environment.delenv(item.metadata["variable"], raising=False)
    for name, value in replace(settings, home=home).as_environment().items():
        environment.setenv(name, value)
    environment.setattr(sys, "argv", ["forecastle", "doctor", "--json"])
    with suppress(SystemExit):
        main()
    told = read.readouterr().out
    assert urlsplit(settings.require_redis_url()).password not in told
    found = {finding["name"]: finding for finding in json.loads(told)["findings"]}
    return dict(found["broker"])


def test_jobs_run_over_a_broker_with_tls(
    broker: SecuredBroker, database: Database, database_url: str, tmp_path: Path
) -> None:
    settings = replace(broker.trusting(), database_url=database_url, home=tmp_path / "home")
    with database.transaction() as connection:
        run = job_runs.plan(connection, "maintenance.cleanup_predictions", {}, "ada")
    assert run is not None

    def outcome() -> str | None:
        with database.transaction() as connection:
            return job_runs.get_run(connection, run.id).outcome

    before = broker.front.admitted
    with running(settings, ("worker", "beat")):
        await_that(lambda: outcome() is not None, 30)
    assert outcome() == "succeeded"
    assert broker.front.admitted > before


def test_the_doctor_and_the_dispatcher_trust_the_authority_that_the_address_names(
    broker: SecuredBroker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for words in ("", "&ssl_cert_reqs=CERT_REQUIRED"):  # as Redis' client and as Celery spell it
        settings = broker.settings(f"?ssl_ca_certs={quote(str(broker.authority))}{words}")
        assert broker_finding(settings, tmp_path, monkeypatch, capsys)["verdict"] == "ok"
        assert Broker(create_app(settings)).idle_queues()


@pytest.mark.parametrize("words", ["", "foreign", "missing", "plain"])
def test_a_broker_that_is_not_trusted_is_refused_with_a_sentence_by_doctor_and_dispatcher(
    broker: SecuredBroker,
    words: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    settings, sentence = {
        "": (broker.settings(""), "name the file of its authority"),
        "foreign": (broker.trusting(write_certificate(tmp_path / "foreign")[0]), "name the file of its authority"),
        "missing": (broker.trusting(tmp_path / "no.crt"), "cannot be read"),
        "plain": (broker.settings("", "redis"), "does not answer"),
    }[words]
    before = broker.front.admitted
    finding = broker_finding(settings, tmp_path, monkeypatch, capsys)
    assert finding["verdict"] == "fail"
    assert sentence in finding["found"]
    with pytest.raises(ServerError, match=sentence) as caught:
        Broker(create_app(settings)).idle_queues()
    assert broker.password not in str(caught.value)
    assert broker.front.admitted == before


def test_a_certificate_of_another_name_is_refused(broker: SecuredBroker, tmp_path: Path) -> None:
    public, private = write_certificate(tmp_path / "other", "127.0.0.2")
    front = TlsFront(public, private, broker.front.behind)
    with front.serving():
        elsewhere = SecuredBroker(broker.password, public, front)
        with pytest.raises(ServerError, match="IP address mismatch"):
            Broker(create_app(elsewhere.trusting())).idle_queues()


@pytest.fixture
def secured_storage(tmp_path: Path) -> Iterator[tuple[Settings, Path]]:
    """An S3 server that speaks TLS by itself, and the file of its authority."""
    public, private = write_certificate(tmp_path / "tls")
    home = Home(tmp_path / "server")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    plain = s3_server.server(home, port)

    def listens() -> bool:
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return True
        return False

    server = replace(plain, command=[*plain.command, "--cert", str(public), "--key", str(private)], is_ready=listens)
    launched = process.launch(server, home.log(server.name))
    try:
        process.await_ready(launched)
        given = s3_server.fill(Settings(home=tmp_path / "home", http_port=0), server.address)
        yield replace(given, s3_endpoint_url=f"https://127.0.0.1:{port}"), public
    finally:
        process.stop(server, launched.process)


def test_the_store_and_mlflow_use_s3_over_tls_with_the_authority_of_aws_ca_bundle(
    secured_storage: tuple[Settings, Path], postgresql: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings, authority = secured_storage
    monkeypatch.setenv("AWS_CA_BUNDLE", str(authority))
    assert [step.problem for step in run_storage_test(Objects.of(settings))] == [None] * 4
    given = replace(settings, database_url=postgresql.database_url)
    with running(given, ("mlflow",)) as everything:
        address = f"{everything.mlflow_tracking_uri}/api/2.0/mlflow-artifacts/artifacts/1/file"
        with urllib.request.urlopen(urllib.request.Request(address, b"kept", method="PUT"), timeout=30):
            pass
        with urllib.request.urlopen(address, timeout=30) as answer:
            assert answer.read() == b"kept"
    assert "mlflow/1/file" in Objects.of(settings).list("mlflow/")


@pytest.mark.parametrize("named", ["nothing", "foreign", "missing"])
def test_an_s3_server_that_is_not_trusted_is_refused_with_a_sentence(
    secured_storage: tuple[Settings, Path], named: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings, _ = secured_storage
    monkeypatch.delenv("AWS_CA_BUNDLE", raising=False)
    if named != "nothing":
        foreign = write_certificate(tmp_path / "foreign")[0]
        monkeypatch.setenv("AWS_CA_BUNDLE", str(foreign if named == "foreign" else tmp_path / "no.crt"))
    with pytest.raises(ConfigurationError, match="AWS_CA_BUNDLE") as caught:
        Objects.of(settings).put("kept", b"7")
    assert str(settings.aws_secret_access_key) not in str(caught.value)
