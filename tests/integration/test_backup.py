"""A backup brought back into a new home is the same installation."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import psycopg
import pytest
from predictions import a_prediction, id_at, write_truth

from forecastle.embedded.postgresql import installed_programs
from forecastle.embedded.servers import running
from forecastle.errors import ConflictError, InputError
from forecastle.generator.issues import Portfolio, generate_issues
from forecastle.settings import Settings
from forecastle.store.backup import MANIFEST, back_up, restore
from forecastle.store.database import Database, with_database
from forecastle.store.issues import import_issues
from forecastle.store.migrate import migrate
from forecastle.store.objects import Objects
from forecastle.store.predictions import (
    StoredPrediction,
    get_prediction,
    insert_predictions,
    write_predictions,
)
from forecastle.store.tenants import get_project, list_projects


@pytest.fixture
def old(tmp_path: Path) -> Iterator[Settings]:
    with running(Settings(home=tmp_path / "old"), ("postgresql", "s3")) as settings:
        yield settings


@pytest.fixture
def new(tmp_path: Path) -> Iterator[Settings]:
    with running(Settings(home=tmp_path / "new"), ("postgresql", "s3")) as settings:
        yield settings


def fill(settings: Settings) -> StoredPrediction:
    with Database(settings.require_database_url()) as database:
        migrate(database)
        with database.transaction() as connection:
            import_issues(connection, list(generate_issues(Portfolio(projects=2, issues=30))))
            prediction = a_prediction(get_project(connection, "DEMO1").id)
            insert_predictions(connection, [prediction])
            write_truth(connection, prediction)
    with psycopg.connect(with_database(settings.require_database_url(), "mlflow")) as connection:
        connection.execute("create table runs as select 'a run' as name")
    Objects.of(settings).put("datasets/a/b.parquet", b"rows")
    return prediction


def test_a_backup_brought_back_is_the_same(old: Settings, new: Settings, tmp_path: Path) -> None:
    prediction = fill(old)
    folder, said = tmp_path / "backup", list[str]()
    made = back_up(old.require_database_url(), Objects.of(old), installed_programs(), folder, said.append)
    assert made.databases == ("forecastle", "mlflow")
    assert set(made.objects) == {"datasets/a/b.parquet"}
    assert said

    restore(new.require_database_url(), Objects.of(new), installed_programs(), folder, said.append)
    assert Objects.of(new).get("datasets/a/b.parquet") == b"rows"
    with Database(new.require_database_url()) as database, database.transaction() as connection:
        assert [(project.key, project.issues) for project in list_projects(connection)] == [
            ("DEMO1", 30),
            ("DEMO2", 30),
        ]
        assert get_prediction(connection, prediction.id) == prediction
        with pytest.raises(psycopg.errors.ForeignKeyViolation):  # its ground truth is there too, and holds to it
            connection.execute("delete from predictions")
    with Database(new.require_database_url()) as database:
        write_predictions(database, [prediction._replace(id=id_at(datetime(2040, 1, 1, tzinfo=UTC)))])
    with psycopg.connect(with_database(new.require_database_url(), "mlflow")) as connection:
        assert connection.execute("select name from runs").fetchall() == [("a run",)]
    with pytest.raises(ConflictError, match="holds tables already"):
        restore(new.require_database_url(), Objects.of(new), installed_programs(), folder, said.append)


def test_what_is_there_is_not_overwritten_and_what_was_changed_is_refused(
    old: Settings, new: Settings, tmp_path: Path
) -> None:
    fill(old)
    folder = tmp_path / "backup"
    back_up(old.require_database_url(), Objects.of(old), installed_programs(), folder, lambda message: None)
    with pytest.raises(ConflictError, match="exists already"):
        back_up(old.require_database_url(), Objects.of(old), installed_programs(), folder, lambda message: None)
    (folder / "objects" / "datasets" / "a" / "b.parquet").write_bytes(b"others")
    with pytest.raises(InputError, match="was changed since"):
        restore(new.require_database_url(), Objects.of(new), installed_programs(), folder, lambda message: None)
    (folder / MANIFEST).unlink()
    with pytest.raises(InputError, match="no backup"):
        restore(new.require_database_url(), Objects.of(new), installed_programs(), folder, lambda message: None)


def test_a_dump_that_fails_leaves_no_backup(old: Settings, tmp_path: Path) -> None:
    nowhere = replace(old, home=tmp_path)
    with pytest.raises(OSError, match="pg_dump"):
        back_up(nowhere.require_database_url(), Objects.of(old), tmp_path, tmp_path / "backup", lambda message: None)
    assert not (tmp_path / "backup").exists()
