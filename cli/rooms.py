"""What commands work with: servers that run, a store that is migrated, and who is at the keyboard."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import click

from forecastle.access.principals import Permission, Principal, at_command_line
from forecastle.embedded.servers import running, terminating_raises
from forecastle.settings import Settings
from forecastle.store.database import Database
from forecastle.store.migrate import migrate, require_current
from forecastle.store.objects import Objects

POSTGRESQL, S3, MLFLOW, FACADE = "postgresql", "s3", "mlflow", "facade"


@dataclass(frozen=True)
class Room:
    """Addresses, the store and the objects."""

    settings: Settings
    database: Database

    @property
    def objects(self) -> Objects:
        """Raises ConfigurationError where S3 was not asked for."""
        return Objects.of(self.settings)

    def principal(self, permission: Permission) -> Principal:
        """Who is at the command line. Raises NotAllowedError, NotAuthenticatedError."""
        with self.database.transaction() as connection:
            found = at_command_line(connection, self.settings.api_key)
        found.require(permission)
        return found


def say(message: str) -> None:
    click.echo(message, err=True)


@contextmanager
def serving(needs: Collection[str]) -> Iterator[Settings]:
    """Settings with the addresses of these servers; those without a URL run at least for the block."""
    with terminating_raises(), running(Settings.from_env(), needs, say) as settings:
        yield settings


@contextmanager
def opened(needs: Collection[str] = (POSTGRESQL,)) -> Iterator[Room]:
    """A room whose store is up to date; that of an embedded PostgreSQL is migrated here."""
    embedded = Settings.from_env().database_url is None
    with serving(needs) as settings, Database(settings.require_database_url(), settings.pool_size) as database:
        bring_up_to_date(database, embedded)
        yield Room(settings, database)


def bring_up_to_date(database: Database, embedded: bool) -> None:
    """Migrate the database of an embedded PostgreSQL. Raises ConfigurationError where another one lacks migrations."""
    if embedded:
        migrate(database)
    else:
        require_current(database)
