"""What a caller sees of a database that is away."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator

import pytest
from psycopg import errors

from forecastle.errors import ServerError
from forecastle.store import database as store
from forecastle.store.database import Connection, Database


@pytest.fixture
def away(monkeypatch: pytest.MonkeyPatch) -> Iterator[Database]:
    """A database at a port where nobody listens."""
    monkeypatch.setattr(store, "POOL_TIMEOUT_SECONDS", 0.2)
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        address = f"postgresql://ada:secret@127.0.0.1:{closed.getsockname()[1]}/forecastle"
        with Database(address) as database:
            yield database


def test_once_one_caller_has_waited_in_vain_the_next_does_not_wait(
    away: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "FAIL_FAST_SECONDS", 60.0)
    with pytest.raises(ServerError):
        away.retrying(lambda connection: connection.execute("select 1"))
    started = time.monotonic()
    for _ in range(100):
        with pytest.raises(ServerError):
            away.retrying(lambda connection: connection.execute("select 1"))
    assert time.monotonic() - started < 0.2  # a hundred waits would take 20 s


def test_after_a_while_it_is_tried_again(away: Database, database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "FAIL_FAST_SECONDS", 0.0)
    monkeypatch.setattr(away, "_pool", database._pool)
    away._away_until = time.monotonic()
    assert away.retrying(lambda connection: connection.execute("select 1 as one").fetchone()) == {"one": 1}


def test_the_sentence_names_neither_user_nor_password(away: Database) -> None:
    with pytest.raises(ServerError) as caught, away.transaction():
        pass
    assert "ada" not in str(caught.value)
    assert "secret" not in str(caught.value)


def test_a_server_that_answers_with_a_refusal_is_not_called_away(database: Database) -> None:
    def too_slow(connection: Connection) -> None:
        connection.execute("set local statement_timeout = 1")
        connection.execute("select pg_sleep(10)")

    with pytest.raises(errors.QueryCanceled):
        database.retrying(too_slow)
