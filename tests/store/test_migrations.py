"""Migrations are applied once, by one at a time, and never backwards."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest

from forecastle.errors import ConfigurationError
from forecastle.settings import Settings
from forecastle.store.database import Database, temporary_database
from forecastle.store.migrate import migrate, migrations, require_current


@pytest.fixture
def empty(postgresql: Settings) -> Iterator[str]:
    """URL of a database without any table."""
    with temporary_database(postgresql.require_database_url(), f"empty_{secrets.token_hex(6)}") as url:
        yield url


def test_an_empty_database_gets_every_migration_and_the_second_time_none(empty: str) -> None:
    with Database(empty) as database:
        assert migrate(database) == migrations()
        require_current(database)
        assert migrate(database) == []


def test_a_database_that_lacks_migrations_is_refused_and_not_changed(empty: str) -> None:
    with Database(empty) as database:
        with pytest.raises(ConfigurationError, match="run `forecastle migrate`"):
            require_current(database)
        with database.transaction() as connection:
            row = connection.execute("select count(*) as n from pg_tables where schemaname = 'public'").fetchone()
    assert row == {"n": 0}


def test_a_database_of_a_newer_version_is_refused_with_a_sentence(database: Database) -> None:
    with database.transaction() as connection:
        connection.execute("insert into schema_migrations (number, name) values (9999, 'from_the_future')")
    with pytest.raises(ConfigurationError, match=r"at migration 9999, this version knows \d+; use the newer version"):
        migrate(database)
    with pytest.raises(ConfigurationError, match="use the newer version"):
        require_current(database)


def test_two_migrators_at_once_apply_each_migration_once(empty: str) -> None:
    together = Barrier(2, timeout=30)

    def run(_: int) -> int:
        with Database(empty) as database:
            together.wait()
            return len(migrate(database))

    with ThreadPoolExecutor(2) as pool:
        assert sorted(pool.map(run, range(2))) == [0, len(migrations())]
    with Database(empty) as database, database.transaction() as connection:
        applied = connection.execute("select number from schema_migrations order by number").fetchall()
    assert [row["number"] for row in applied] == [migration.number for migration in migrations()]


def test_numbers_of_migrations_are_consecutive() -> None:
    assert [migration.number for migration in migrations()] == list(range(1, len(migrations()) + 1))
