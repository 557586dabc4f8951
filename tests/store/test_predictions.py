"""A prediction is one durable row, whatever happens to connections."""

from __future__ import annotations

import psycopg
import pytest
from predictions import a_prediction, some_project

from forecastle.errors import NotFoundError, ServerError
from forecastle.store import database as database_module
from forecastle.store.database import Connection, Database
from forecastle.store.identifiers import new_id
from forecastle.store.predictions import StoredPrediction, get_prediction, insert_predictions


@pytest.fixture
def prediction(database: Database) -> StoredPrediction:
    with database.transaction() as connection:
        return a_prediction(some_project(connection))


def rows(database: Database) -> int:
    with database.transaction() as connection:
        row = connection.execute("select count(*) as n from predictions").fetchone()
    assert row is not None
    return int(row["n"])


def kill_connections(url: str) -> int:
    with psycopg.connect(url, autocommit=True) as connection:
        found = connection.execute(
            "select pg_terminate_backend(pid) from pg_stat_activity "
            "where datname = current_database() and pid <> pg_backend_pid()"
        )
        return len(found.fetchall())


def test_a_prediction_comes_back_as_it_was_written(database: Database, prediction: StoredPrediction) -> None:
    with database.transaction() as connection:
        insert_predictions(connection, [prediction])
        assert get_prediction(connection, prediction.id) == prediction


def test_a_prediction_written_twice_is_one_row_that_stays_as_it_was(
    database: Database, prediction: StoredPrediction
) -> None:
    for written in (prediction, prediction._replace(method="median")):
        with database.transaction() as connection:
            insert_predictions(connection, [written])
    assert rows(database) == 1
    with database.transaction() as connection:
        assert get_prediction(connection, prediction.id).method == "linear_text"


def test_many_predictions_are_written_at_once_or_not_at_all(database: Database, prediction: StoredPrediction) -> None:
    others = [prediction._replace(id=new_id()) for _ in range(5)]
    with pytest.raises(psycopg.errors.ForeignKeyViolation), database.transaction() as connection:
        insert_predictions(connection, [*others, prediction._replace(project_id=new_id())])
    assert rows(database) == 0
    with database.transaction() as connection:
        insert_predictions(connection, others)
    assert rows(database) == 5


def test_an_unknown_prediction_is_not_found(database: Database) -> None:
    with pytest.raises(NotFoundError), database.transaction() as connection:
        get_prediction(connection, new_id())


def test_work_is_done_once_more_after_the_server_ended_every_connection(
    database: Database, database_url: str, prediction: StoredPrediction
) -> None:
    with database.transaction(), database.transaction():
        pass  # the pool holds two connections now
    assert kill_connections(database_url) >= 2
    database.retrying(lambda connection: insert_predictions(connection, [prediction]))
    assert rows(database) == 1


def test_work_that_the_server_cuts_off_in_the_middle_is_done_once_more_and_counts_once(
    database: Database, database_url: str, prediction: StoredPrediction
) -> None:
    tries = []

    def work(connection: Connection) -> None:
        insert_predictions(connection, [prediction])
        tries.append(len(tries))
        if len(tries) == 1:
            kill_connections(database_url)
        connection.execute("select 1")

    database.retrying(work)
    assert (tries, rows(database)) == ([0, 1], 1)


def test_work_that_fails_by_itself_is_not_done_again(database: Database) -> None:
    tries = []

    def work(connection: Connection) -> None:
        tries.append(connection)
        raise NotFoundError("it is not there")

    with pytest.raises(NotFoundError):
        database.retrying(work)
    assert len(tries) == 1


def test_a_transaction_that_fails_leaves_nothing(database: Database, prediction: StoredPrediction) -> None:
    def work(connection: Connection) -> None:
        insert_predictions(connection, [prediction])
        raise RuntimeError

    with pytest.raises(RuntimeError):
        database.retrying(work)
    assert rows(database) == 0


def test_a_server_that_is_not_there_is_a_server_error_without_user_or_password(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(database_module, "POOL_TIMEOUT_SECONDS", 0.3)
    database = Database("postgresql://somebody:hidden@127.0.0.1:1/none")
    with database, pytest.raises(ServerError) as caught, database.transaction():
        pass
    assert "127.0.0.1:1" in str(caught.value)
    assert "somebody" not in str(caught.value)
    assert "hidden" not in str(caught.value)
