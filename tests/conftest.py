"""Real embedded servers, started once a run; a database of its own for every test."""

from __future__ import annotations

import os
import secrets
import signal
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

from forecastle.embedded.servers import running
from forecastle.settings import Settings
from forecastle.store.database import Database, with_database
from forecastle.store.migrate import migrate
from forecastle.store.objects import Objects

TEMPLATE = "forecastle_template"

# A run in the background of a shell ignores it, and so would everything that tests start and interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """What tests measured (`record_property`), whether they passed or not: a test's name, then a line a case."""
    reports = [one for found in terminalreporter.stats.values() for one in found if isinstance(one, pytest.TestReport)]
    measured: dict[str, list[str]] = {}
    for one in sorted(reports, key=lambda report: report.start):
        if one.when == "call" and one.user_properties:
            name, _, case = one.nodeid.partition("::")[2].partition("[")
            figures = "; ".join(f"{what} {value}" for what, value in one.user_properties)
            measured.setdefault(name, []).append(f"  {case.rstrip(']'):36}{figures}")
    if measured:
        terminalreporter.section("measured")
    for name, lines in measured.items():
        terminalreporter.write_line("\n".join([name, *lines]))


@pytest.fixture(scope="session")
def postgresql(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """Settings with the address of a PostgreSQL server of this run."""
    home = tmp_path_factory.mktemp("postgresql")
    with running(Settings(home=home), ("postgresql",)) as settings:
        yield settings


@pytest.fixture(scope="session")
def storage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """Settings with the address and the keys of an S3 server of this run."""
    with running(Settings(home=tmp_path_factory.mktemp("storage")), ("s3",)) as settings:
        yield settings


@pytest.fixture
def own_storage(storage: Settings) -> Settings:
    """The same with a prefix of this test's own, under which there is nothing yet."""
    return replace(storage, artifacts=f"{storage.artifacts}/{secrets.token_hex(6)}")


@pytest.fixture(scope="session")
def servers(postgresql: Settings, storage: Settings) -> Iterator[Settings]:
    """Settings with PostgreSQL, S3 and an MLflow server, which takes some ten seconds to start."""
    with running(replace(storage, home=postgresql.home, database_url=postgresql.database_url), ("mlflow",)) as settings:
        yield settings


@pytest.fixture(scope="session")
def template(postgresql: Settings) -> str:
    """Name of a migrated, empty database that others are copied from."""
    url = postgresql.require_database_url()
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(sql.SQL("create database {}").format(sql.Identifier(TEMPLATE)))
    with Database(with_database(url, TEMPLATE)) as database:
        migrate(database)
    return TEMPLATE


@pytest.fixture
def database_url(postgresql: Settings, template: str) -> Iterator[str]:
    """URL of a migrated, empty database of this test."""
    url, name = postgresql.require_database_url(), f"test_{secrets.token_hex(6)}"
    with psycopg.connect(url, autocommit=True) as connection:
        statement = sql.SQL("create database {} template {}")
        connection.execute(statement.format(sql.Identifier(name), sql.Identifier(template)))
        yield with_database(url, name)
        connection.execute(sql.SQL("drop database {} with (force)").format(sql.Identifier(name)))


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    """A migrated, empty database of this test."""
    with Database(database_url) as found:
        yield found


@pytest.fixture
def objects(own_storage: Settings) -> Objects:
    return Objects.of(own_storage)


@pytest.fixture(scope="session")
def public_data() -> Callable[[str], Path]:
    """A folder of real public data by its name; skips where it is absent."""
    root = Path(os.environ.get("FORECASTLE_PUBLIC_DATA") or Path(__file__).parents[2] / "shared" / "data")

    def find(name: str) -> Path:
        if not (root / name).is_dir():
            pytest.skip(f"public data {name} are not here: set FORECASTLE_PUBLIC_DATA to their folder")
        return root / name

    return find
