"""Connections to PostgreSQL: one pool a process, errors in our own words."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, TypeVar
from urllib.parse import urlsplit, urlunsplit

import psycopg
from psycopg import sql
from psycopg.rows import DictRow, dict_row
from psycopg_pool import ConnectionPool, PoolTimeout

from forecastle.errors import ConfigurationError, ServerError

Connection = psycopg.Connection[DictRow]
Result = TypeVar("Result")

CONNECT_TIMEOUT_SECONDS = 5
POOL_TIMEOUT_SECONDS = 3.0
FAIL_FAST_SECONDS = 1.0
KEEPALIVE_SECONDS = 20
RECONNECT_SECONDS = 2.0
"""How long the pool tries by itself; by default its pauses double for five minutes, while the server may be back."""


class Database:
    """A pool of connections, opened on first use; rows are dictionaries.

    Every failure to reach the server is a ServerError whose sentence names neither user nor password.
    """

    def __init__(self, url: str, size: int = 8) -> None:
        self._url = url
        self._away_until = 0.0
        logging.getLogger("psycopg.pool").setLevel(logging.ERROR)  # its warnings repeat what ServerError says once
        self._pool: ConnectionPool[Connection] = ConnectionPool(
            url,
            min_size=1,
            max_size=size,
            open=False,
            timeout=POOL_TIMEOUT_SECONDS,
            reconnect_timeout=RECONNECT_SECONDS,
            kwargs={
                "row_factory": dict_row,
                "connect_timeout": CONNECT_TIMEOUT_SECONDS,
                "options": "-c timezone=UTC",
            },
        )

    def __enter__(self) -> Database:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        """One transaction: committed at the end, rolled back on an exception.

        Once a caller has waited in vain, the others fail at once for a while: a process whose threads all wait
        for the database would not even say that it is alive.
        """
        if time.monotonic() < self._away_until:
            waited = PoolTimeout()
            raise ServerError(self._sentence(waited)) from waited
        try:
            self._pool.open()
            with self._pool.connection() as connection:
                yield connection
        except psycopg.OperationalError as error:
            if isinstance(error, PoolTimeout):
                self._away_until = time.monotonic() + FAIL_FAST_SECONDS
            raise self.named(error) from error

    def retrying(self, work: Callable[[Connection], Result]) -> Result:
        """Run `work` in a transaction, once more where the connection turned out to be dead.

        After a restart of the server the pool still holds the connections of the old one. Only for work that
        may be done twice: reads, and writes under an identifier of their own.
        """
        try:
            with self.transaction() as connection:
                return work(connection)
        except ServerError as error:
            if isinstance(error.__cause__, PoolTimeout):  # there was no connection to be had: the server is away
                raise
            self._pool.check()
        with self.transaction() as connection:
            return work(connection)

    def reading(self, work: Callable[[Connection], Result]) -> Result:
        """Run `work`, a single statement that reads, as `retrying` does; a transaction costs two more round trips."""

        def by_itself(connection: Connection) -> Result:
            connection.autocommit = True
            try:
                return work(connection)
            finally:
                if not connection.closed:
                    connection.autocommit = False

        return self.retrying(by_itself)

    @contextmanager
    def listening(self, channel: str) -> Iterator[psycopg.Connection[Any]]:
        """A connection of its own that listens on `channel`."""
        try:
            with psycopg.connect(
                self._url,
                autocommit=True,
                connect_timeout=CONNECT_TIMEOUT_SECONDS,
                tcp_user_timeout=CONNECT_TIMEOUT_SECONDS * 1000,
                application_name=channel,
            ) as connection:
                connection.execute(sql.SQL("listen {}").format(sql.Identifier(channel)))
                yield connection
        except psycopg.OperationalError as error:
            raise ServerError(self._sentence(error)) from error

    def connect(self, statement_seconds: float) -> Connection:
        """A connection beside the pool that commits every statement; the server ends one that takes longer.

        Raises psycopg.OperationalError, for which `named` has a word; whoever asks for the connection closes it.
        """
        return psycopg.connect(
            self._url,
            autocommit=True,
            row_factory=dict_row,
            connect_timeout=CONNECT_TIMEOUT_SECONDS,
            # Where the network went away, the server ends nothing, and one that waits for nothing would not find out.
            tcp_user_timeout=round(statement_seconds * 1000),
            keepalives_idle=KEEPALIVE_SECONDS,
            keepalives_interval=CONNECT_TIMEOUT_SECONDS,
            options=f"-c timezone=UTC -c statement_timeout={round(statement_seconds * 1000)}",
        )

    def named(self, error: psycopg.OperationalError) -> Exception:
        """The ServerError that it is, or the error itself where the server is there and refused."""
        return error if _answered(error) else ServerError(self._sentence(error))

    def _sentence(self, error: psycopg.OperationalError) -> str:
        if isinstance(error, psycopg.errors.DiskFull):
            return f"the disk of PostgreSQL at {self.where} is full: make room there, and try again; nothing was kept"
        return f"PostgreSQL did not answer at {self.where}; is it running? `forecastle doctor` says more"

    @property
    def where(self) -> str:
        parts = urlsplit(self._url)
        return f"{parts.hostname or 'the local socket'}:{parts.port or 5432}"

    def close(self) -> None:
        self._pool.close()


def _answered(error: psycopg.OperationalError) -> bool:
    """Whether the server is there and refused: it names a state, other than those of a server that goes away.

    Class 08 is a broken connection, 53 too few resources, 57P a server that shuts down or starts.
    """
    return error.sqlstate is not None and not error.sqlstate.startswith(("08", "53", "57P"))


def with_database(url: str, name: str) -> str:
    """The same server's URL, naming another database."""
    return urlunsplit(urlsplit(url)._replace(path=f"/{name}"))


@contextmanager
def temporary_database(url: str, name: str) -> Iterator[str]:
    """Create the database `name` on the server of `url`, yield its URL, drop it afterwards."""
    identifier = sql.Identifier(name)
    try:
        with psycopg.connect(url, autocommit=True, connect_timeout=CONNECT_TIMEOUT_SECONDS) as connection:
            connection.execute(sql.SQL("create database {} template template0").format(identifier))
    except psycopg.errors.InsufficientPrivilege:
        raise ConfigurationError("the role of DATABASE_URL may not create databases: give it CREATEDB") from None
    except psycopg.OperationalError as error:
        raise ServerError("PostgreSQL did not answer; is it running?") from error
    try:
        yield with_database(url, name)
    finally:
        with (
            suppress(psycopg.Error),  # what went wrong before says more
            psycopg.connect(url, autocommit=True, connect_timeout=CONNECT_TIMEOUT_SECONDS) as connection,
        ):
            connection.execute(sql.SQL("drop database if exists {} with (force)").format(identifier))
