"""The log of predictions: what is acknowledged is durable, and nobody waits for ever."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import psycopg
import pytest
from predictions import a_prediction, id_at, some_project
from processes import await_that

from forecastle.errors import InputError, ServerError
from forecastle.store import prediction_log as log_module
from forecastle.store.database import Connection, Database
from forecastle.store.identifiers import new_id
from forecastle.store.prediction_log import PredictionLog
from forecastle.store.predictions import StoredPrediction, get_prediction


@pytest.fixture
def prediction(database: Database) -> StoredPrediction:
    with database.transaction() as connection:
        return a_prediction(some_project(connection))


@pytest.fixture
def log(database: Database) -> Iterator[PredictionLog]:
    made = PredictionLog(database)
    yield made
    made.close()


@contextmanager
def locked(url: str) -> Iterator[None]:
    """Nobody writes predictions meanwhile."""
    with psycopg.connect(url) as connection:
        connection.execute("lock table predictions in exclusive mode")
        yield


def kept(database: Database) -> set[Any]:
    with database.transaction() as connection:
        return {row["id"] for row in connection.execute("select id from predictions")}


def commits_counted(monkeypatch: pytest.MonkeyPatch, before: Callable[[], None] = lambda: None) -> list[int]:
    """How many rows each commit had, from now on; `before` is done before each."""
    sizes: list[int] = []
    original = log_module.copy_predictions

    def counting(connection: Connection, predictions: Any) -> None:
        sizes.append(len(predictions))
        before()
        original(connection, predictions)

    monkeypatch.setattr(log_module, "copy_predictions", counting)
    return sizes


def test_a_row_is_there_as_it_was_when_write_returns(
    database: Database, log: PredictionLog, prediction: StoredPrediction
) -> None:
    assert list(log.write([prediction])) == [None]
    with database.transaction() as connection:
        assert get_prediction(connection, prediction.id) == prediction


def test_what_gathers_during_a_commit_is_the_next_commit(
    database: Database, log: PredictionLog, prediction: StoredPrediction, monkeypatch: pytest.MonkeyPatch
) -> None:
    all_wait = threading.Event()
    sizes = commits_counted(monkeypatch, lambda: None if len(sizes) > 1 else assert_set(all_wait))
    rows = [prediction._replace(id=new_id()) for _ in range(9)]
    with ThreadPoolExecutor(len(rows)) as pool:
        done = [pool.submit(log.write, rows[:1])]
        await_that(lambda: bool(sizes))
        done += [pool.submit(log.write, [row]) for row in rows[1:]]
        await_that(lambda: log._rows_waiting == 8)
        all_wait.set()
        for one in done:
            assert list(one.result()) == [None]
    assert sizes == [1, 8]
    assert kept(database) == {row.id for row in rows}


def is_taken(log: PredictionLog, prediction: StoredPrediction) -> bool:
    try:
        return list(log.write([prediction])) == [None]
    except ServerError:
        return False


def assert_set(event: threading.Event) -> None:
    assert event.wait(10)


@pytest.mark.parametrize(
    "changed",
    [
        {"request": {"title": "a NUL \x00"}},
        {"request": {"title": "half of a pair \ud800"}},
        {"principal": "a NUL \x00"},
    ],
)
def test_a_row_that_cannot_be_kept_fails_alone(
    database: Database, log: PredictionLog, prediction: StoredPrediction, changed: dict[str, Any]
) -> None:
    rows = [prediction._replace(id=new_id()) for _ in range(7)]
    rows[4] = rows[4]._replace(**changed)
    failures = log.write(rows)
    assert [failure is None for failure in failures] == [True] * 4 + [False] + [True] * 2
    assert isinstance(failures[4], InputError)
    assert "NUL" not in str(failures[4])
    assert kept(database) == {row.id for row in rows} - {rows[4].id}


def test_a_row_that_breaks_a_rule_of_the_table_fails_alone_with_the_servers_word(
    database: Database, log: PredictionLog, prediction: StoredPrediction
) -> None:
    rows = [prediction._replace(id=new_id()), prediction._replace(id=new_id(), project_id=new_id())]
    failures = log.write(rows)
    assert [type(failure) for failure in failures] == [type(None), psycopg.errors.ForeignKeyViolation]
    assert kept(database) == {rows[0].id}


def test_a_month_that_nobody_made_is_made(database: Database, log: PredictionLog, prediction: StoredPrediction) -> None:
    later = prediction._replace(id=id_at(datetime(2041, 5, 1, tzinfo=UTC)))
    assert list(log.write([prediction, later])) == [None, None]
    assert kept(database) == {prediction.id, later.id}


def test_a_connection_that_died_with_the_answer_of_a_commit_on_its_way_costs_nothing(
    database: Database,
    database_url: str,
    log: PredictionLog,
    prediction: StoredPrediction,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    log.write([prediction])
    original = log_module.copy_predictions

    def committed_and_cut_off(connection: Connection, predictions: Any) -> None:
        original(connection, predictions)
        with psycopg.connect(database_url, autocommit=True) as admin:
            admin.execute("select pg_terminate_backend(%s)", (connection.info.backend_pid,))
        connection.execute("select 1")

    monkeypatch.setattr(log_module, "copy_predictions", committed_and_cut_off)
    second = prediction._replace(id=new_id())
    assert list(log.write([second])) == [None]
    assert kept(database) == {prediction.id, second.id}


def test_while_nobody_may_write_the_callers_are_told_in_time_and_afterwards_it_goes_on(
    database: Database, database_url: str, prediction: StoredPrediction
) -> None:
    log = PredictionLog(database, patience_seconds=0.3)
    rows = [prediction._replace(id=new_id()) for _ in range(4)]
    with locked(database_url), ThreadPoolExecutor(len(rows)) as pool:
        for refused in [pool.submit(log.write, [row]) for row in rows]:
            with pytest.raises(ServerError):
                refused.result(timeout=5)
    last = prediction._replace(id=new_id())
    await_that(lambda: is_taken(log, last), seconds=5)
    assert last.id in kept(database)
    log.close()


def test_more_than_may_wait_is_refused_at_once(
    database: Database, prediction: StoredPrediction, monkeypatch: pytest.MonkeyPatch
) -> None:
    log, may_go_on = PredictionLog(database, most_waiting=2), threading.Event()
    sizes = commits_counted(monkeypatch, lambda: assert_set(may_go_on))
    with ThreadPoolExecutor(3) as pool:
        first = pool.submit(log.write, [prediction._replace(id=new_id())])
        await_that(lambda: bool(sizes))
        waiting = [pool.submit(log.write, [prediction._replace(id=new_id())]) for _ in range(2)]
        await_that(lambda: log._rows_waiting == 2)
        with pytest.raises(ServerError, match="wait to be written"):
            log.write([prediction])
        may_go_on.set()
        assert [list(one.result()) for one in (first, *waiting)] == [[None]] * 3
    assert prediction.id not in kept(database)
    log.close()


def test_a_server_that_is_not_there_is_a_server_error() -> None:
    with Database("postgresql://somebody:hidden@127.0.0.1:1/none") as database:
        log = PredictionLog(database)
        with pytest.raises(ServerError) as caught:
            log.write([a_prediction(new_id())])
        log.close()
    assert "hidden" not in str(caught.value)


def test_closing_writes_what_waits_and_takes_nothing_more(
    database: Database, prediction: StoredPrediction, monkeypatch: pytest.MonkeyPatch
) -> None:
    log, may_go_on = PredictionLog(database), threading.Event()
    sizes = commits_counted(monkeypatch, lambda: assert_set(may_go_on))
    with ThreadPoolExecutor(2) as pool:
        waiting = [pool.submit(log.write, [prediction._replace(id=new_id())])]
        await_that(lambda: bool(sizes))
        waiting.append(pool.submit(log.write, [prediction]))
        await_that(lambda: log._rows_waiting == 1)
        closing = threading.Thread(target=log.close)
        closing.start()
        may_go_on.set()
        closing.join(10)
        assert [list(one.result()) for one in waiting] == [[None]] * 2
    with pytest.raises(ServerError):
        log.write([prediction])


def test_a_writer_that_nobody_needs_goes_and_comes_again(
    database: Database, log: PredictionLog, prediction: StoredPrediction, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_module, "IDLE_SECONDS", 0.01)
    log.write([prediction])
    writer = log._writer
    if writer is not None:
        writer.join(10)
    assert log._writer is None
    assert log._connection is None
    assert list(log.write([prediction._replace(id=new_id())])) == [None]


def test_who_cannot_be_told_keeps_nothing_from_the_others(
    database: Database, log: PredictionLog, prediction: StoredPrediction, caplog: pytest.LogCaptureFixture
) -> None:
    def gone(failures: Any) -> None:
        raise ValueError("what somebody wrote")

    log.submit([prediction], gone)
    later = prediction._replace(id=new_id())
    assert list(log.write([later])) == [None]
    assert kept(database) == {prediction.id, later.id}
    assert "could not be told of its predictions: ValueError" in caplog.text
    assert "somebody wrote" not in caplog.text


def test_a_child_process_writes_over_a_connection_of_its_own(
    database: Database, log: PredictionLog, prediction: StoredPrediction
) -> None:
    log.write([prediction])
    from_child, from_parent = (prediction._replace(id=new_id()) for _ in range(2))
    child = os.fork()
    if child == 0:
        try:
            os._exit(0 if list(log.write([from_child])) == [None] else 1)
        finally:
            os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    log.write([from_parent])
    assert kept(database) == {prediction.id, from_child.id, from_parent.id}
