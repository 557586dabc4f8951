"""Migrations are applied once, by one at a time, and never backwards."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from threading import Barrier
from typing import Any

import pytest
from predictions import a_prediction, id_at
from psycopg.types.json import Jsonb

from forecastle.errors import ConfigurationError
from forecastle.settings import Settings
from forecastle.store import migrate as migrate_module
from forecastle.store.database import Connection, Database, temporary_database
from forecastle.store.identifiers import new_id
from forecastle.store.migrate import migrate, migrations, require_current
from forecastle.store.prediction_months import list_months
from forecastle.store.predictions import StoredPrediction, get_prediction
from forecastle.store.tenants import default_workspace, ensure_projects


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


def test_predictions_of_a_database_without_partitions_are_all_there_after_the_upgrade(
    empty: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    moments = [datetime(year, month, 1, tzinfo=UTC) for year in (2023, 2024) for month in (1, 2, 12)]
    with Database(empty) as database:
        with monkeypatch.context() as before:
            before.setattr(migrate_module, "migrations", lambda: migrations()[:2])
            before.setattr(migrate_module, "make_months_ahead", lambda connection: 0)
            assert len(migrate(database)) == 2
        with database.transaction() as connection:
            project = ensure_projects(connection, default_workspace(connection), ["A"])["A"]
            unsaid = dict.fromkeys(("target", "value", "low", "high", "baseline"))
            old = [
                a_prediction(
                    project,
                    id=id_at(moment),
                    model_type=f"{family}.something",
                    latency_ms=float(day),
                    **unsaid,
                    **NOT_KEPT_BEFORE,
                )
                for family in ("delivery", "reliability")
                for day, moment in enumerate(moments)
            ]
            for prediction in old:
                insert_without_family(connection, prediction)

        assert migrate(database) == migrations()[2:]
        with database.transaction() as connection:
            assert [get_prediction(connection, prediction.id) for prediction in old] == old
            truth = connection.execute("select family, prediction_id, value from ground_truth").fetchall()
            assert {(row["family"], row["prediction_id"], row["value"]) for row in truth} == {
                (prediction.family, prediction.id, prediction.latency_ms) for prediction in old
            }
            histories = connection.execute("select history from predictions").fetchall()
            assert [row["history"] for row in histories] == [{"count": 0, "mean": None}] * len(old)
            (same,) = connection.execute("select count(distinct created_at) as n from predictions").fetchall()
            assert same["n"] == len(old)
            months = [month.name for month in list_months(connection, "reliability")]
            assert months[:6] == [f"{moment:%Y_%m}" for moment in moments]
            assert len(months) == 6 + 3  # and those ahead


NOT_KEPT_BEFORE: dict[str, Any] = dict.fromkeys(("view", "estimate", "vector", "known"))


def insert_without_family(connection: Connection, prediction: StoredPrediction) -> None:
    """As before migration 3, with an outcome that says which prediction it belongs to."""
    columns = connection.execute("select attname from pg_attribute where attrelid = 'predictions'::regclass").fetchall()
    kept = {column["attname"] for column in columns}
    values = {name: value for name, value in prediction._asdict().items() if name in kept}
    row = {name: Jsonb(value) if isinstance(value, dict) else value for name, value in values.items()}
    row["history"] = Jsonb({"count": 0, "mean": None})
    connection.execute(
        f"insert into predictions ({', '.join(row)}, created_at) "
        f"values ({', '.join(['%s'] * len(row))}, clock_timestamp())",
        list(row.values()),
    )
    connection.execute(
        "insert into ground_truth (id, prediction_id, value, source, known_at, recorded_by) "
        "values (%s, %s, %s, 's', now(), 'ada')",
        (new_id(), prediction.id, prediction.latency_ms),
    )
