"""Numbered SQL migrations, each applied once, under a lock."""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import dataclass
from importlib.resources import files

from forecastle.errors import ConfigurationError, ServerError
from forecastle.store.database import Connection, Database
from forecastle.store.prediction_months import make_months_ahead

LOCK = 7_302_741_005  # an arbitrary number that only migrations use


@dataclass(frozen=True)
class Migration:
    number: int
    name: str
    text: str


def migrations() -> list[Migration]:
    """Every migration that this version of Forecastle has, in order."""
    found = []
    for item in files("forecastle.store").joinpath("migrations").iterdir():
        match = re.fullmatch(r"(\d{4})_(\w+)\.sql", item.name)
        if match:
            found.append(Migration(int(match[1]), match[2], item.read_text()))
    return sorted(found, key=lambda migration: migration.number)


def require_current(database: Database) -> None:
    """Raises ConfigurationError where the database lacks migrations, or was made by a newer version."""
    with database.transaction() as connection:
        exists = connection.execute("select to_regclass('schema_migrations') as name").fetchone()
        applied = _applied(connection) if exists and exists["name"] else set()
    _refuse_newer(applied)
    if {migration.number for migration in migrations()} - applied:
        raise ConfigurationError("the database lacks migrations of this version; run `forecastle migrate`")


def migrate(database: Database) -> list[Migration]:
    """Apply what is missing, all in one transaction; returns what was applied. Months of predictions are made ahead.

    Raises ConfigurationError where the database was made by a newer version of Forecastle.
    """
    known = migrations()
    with database.transaction() as connection:
        connection.execute("select pg_advisory_xact_lock(%s)", (LOCK,))
        applied = _applied(connection)
        _refuse_newer(applied)
        missing = [migration for migration in known if migration.number not in applied]
        for migration in missing:
            connection.execute(migration.text.encode())
            connection.execute(
                "insert into schema_migrations (number, name) values (%s, %s)",
                (migration.number, migration.name),
            )
    # An import may hold the lock that a month needs; whoever writes into it makes it then.
    with suppress(ServerError), database.transaction() as connection:
        make_months_ahead(connection)
    return missing


def _refuse_newer(applied: set[int]) -> None:
    newest = max(migration.number for migration in migrations())
    if applied and max(applied) > newest:
        raise ConfigurationError(
            f"the database is at migration {max(applied)}, this version knows {newest}; "
            "use the newer version of Forecastle, or restore a backup"
        )


def _applied(connection: Connection) -> set[int]:
    connection.execute(
        "create table if not exists schema_migrations "
        "(number integer primary key, name text not null, applied_at timestamptz not null default now())"
    )
    return {row["number"] for row in connection.execute("select number from schema_migrations")}
