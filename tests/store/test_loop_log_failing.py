"""The log of an event loop while PostgreSQL ends connections, loses answers, is away or does not get on."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from loop_logs import LONG, AtTheLog, NewLoop, at_the_log, becomes, ids, kept, several
from processes import await_that
from wire import Wire, wired

from forecastle.errors import ServerError
from forecastle.store import loop_link
from forecastle.store import loop_log as loop_log_module
from forecastle.store.database import Database
from forecastle.store.loop_link import Link
from forecastle.store.predictions import StoredPrediction

WAITING = """
    create function wait() returns trigger language plpgsql as $$
    begin
        perform pg_advisory_xact_lock_shared(1);
        if new.principal = 'slow' then perform pg_sleep(0.1); end if;
        return new;
    end $$;
    create trigger wait before insert on predictions for each row execute function wait();
"""
LOCKS = {"asked": "lock table predictions in exclusive mode", "sent": "select pg_advisory_xact_lock(1)"}
"""What keeps a COPY from being begun, and its rows from being written."""


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop_log_module, "AGAIN_SECONDS", 0.1)


@pytest.fixture
def waiting(database_url: str) -> None:
    """Rows wait for a lock that a test may hold, and some are slow."""
    with psycopg.connect(database_url) as connection:
        connection.execute(WAITING)


@pytest.fixture
def admin(database_url: str) -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(database_url, autocommit=True) as connection:
        yield connection


@pytest.fixture
def log(database: Database, new_loop: NewLoop) -> Iterator[AtTheLog]:
    with at_the_log(database, new_loop) as found:
        yield found


@pytest.fixture
def wire(database_url: str) -> Iterator[Wire]:
    parts = urlsplit(database_url)
    assert parts.hostname is not None
    assert parts.port is not None
    with wired(parts.hostname, parts.port) as found:
        yield found


@pytest.fixture
def over_the_wire(wire: Wire, database_url: str) -> Iterator[Database]:
    parts = urlsplit(database_url)
    who = parts.netloc.rpartition("@")[0]
    with Database(urlunsplit(parts._replace(netloc=f"{who}@127.0.0.1:{wire.port}"))) as found:
        yield found


@contextmanager
def held(database_url: str, lock: str) -> Iterator[None]:
    with psycopg.connect(database_url) as connection:
        connection.execute(lock)
        yield


def waits(admin: psycopg.Connection[Any]) -> bool:
    """Whether somebody waits for a lock."""
    asked = "select count(*) > 0 from pg_stat_activity where wait_event_type = 'Lock' and datname = current_database()"
    ((someone_waits,),) = admin.execute(asked).fetchall()
    return bool(someone_waits)


def end(admin: psycopg.Connection[Any], log: AtTheLog) -> None:
    """End the connection, and return when the server has done with it."""
    admin.execute("select pg_terminate_backend(%s, 5000)", (log.link._connection.info.backend_pid,))


def goes_on(log: AtTheLog, prediction: StoredPrediction) -> None:
    """Rows go over a connection of the log's own again."""

    async def until_connected() -> None:
        while not log.own.is_connected:
            assert await log.own.write(prediction._replace(id=several(prediction, 1)[0].id)) is None

    log.run(until_connected())
    log.handed_on.clear()
    assert log.write(several(prediction, 3)) == [None] * 3
    assert log.handed_on == []


@pytest.mark.parametrize("is_heard", [True, False], ids=["heard", "not heard yet"])
def test_a_connection_that_is_ended_while_nothing_is_written_costs_nothing(
    log: AtTheLog, admin: psycopg.Connection[Any], prediction: StoredPrediction, is_heard: bool
) -> None:
    log.connect(prediction)
    end(admin, log)
    if is_heard:
        log.run(becomes(lambda: not log.own.is_connected))
    rows = several(prediction, 5)
    assert log.write(rows) == [None] * 5
    assert kept(log.database) == ids(rows, [prediction])
    goes_on(log, prediction)


@pytest.mark.parametrize("size", [5, 60])
@pytest.mark.parametrize("when", list(LOCKS))
def test_a_connection_that_is_ended_in_the_middle_costs_nothing(
    log: AtTheLog,
    database_url: str,
    admin: psycopg.Connection[Any],
    waiting: None,
    prediction: StoredPrediction,
    when: str,
    size: int,
) -> None:
    """With many large rows the server leaves some unread, and what it says last comes with a broken connection."""
    log.connect(prediction)
    rows = several(prediction, size, **({"request": {"title": LONG}} if size > 5 else {}))

    async def ended() -> list[Exception | None]:
        with held(database_url, LOCKS[when]):
            told = log.begun(rows)
            await becomes(lambda: waits(admin))
            assert log.link._state.name == when.upper()
            end(admin, log)
        return await asyncio.gather(*told)

    assert log.run(ended()) == [None] * size
    assert kept(log.database) == ids(rows, [prediction])
    goes_on(log, prediction)


@pytest.mark.parametrize(
    ("is_committed", "resets", "is_other_cut_too"),
    [(True, True, False), (True, False, True), (False, True, True), (False, False, False)],
    ids=["committed, reset", "committed, both closed", "not committed, both reset", "not committed, closed"],
)
def test_rows_whose_answer_is_lost_are_there_once_and_their_callers_hear_so(
    wire: Wire,
    over_the_wire: Database,
    database_url: str,
    database: Database,
    new_loop: NewLoop,
    waiting: None,
    prediction: StoredPrediction,
    admin: psycopg.Connection[Any],
    is_committed: bool,
    resets: bool,
    is_other_cut_too: bool,
) -> None:
    of_the_other = None if is_other_cut_too else database
    with at_the_log(over_the_wire, new_loop, of_the_other=of_the_other) as log:
        log.connect(prediction)
        rows = several(prediction, 5)

        async def lost() -> list[Exception | None]:
            with held(database_url, LOCKS["sent"]):
                told = log.begun(rows)
                await becomes(lambda: waits(admin))
                wire.withhold()
                if not is_committed:
                    wire.cut(resets)
            if is_committed:
                await becomes(lambda: ids(rows) <= kept(database))
                assert not any(one.done() for one in told)
                wire.cut(resets)
            return await asyncio.gather(*told)

        assert log.run(lost()) == [None] * 5
        assert kept(database) == ids(rows, [prediction])
        goes_on(log, prediction)


def test_while_the_server_is_away_callers_are_told_and_nothing_turns_in_circles(
    wire: Wire,
    over_the_wire: Database,
    new_loop: NewLoop,
    prediction: StoredPrediction,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    heard = reads_counted(monkeypatch)
    with at_the_log(over_the_wire, new_loop, patience_seconds=0.5) as log:
        log.connect(prediction)
        attempts = attempts_counted(log, monkeypatch)
        assert log.write(several(prediction, 3)) == [None] * 3
        assert heard
        heard.clear()
        wire.is_away = True
        wire.cut()
        began = time.monotonic()

        async def ask_on() -> None:
            while time.monotonic() - began < 1:
                (row,) = several(prediction, 1)
                assert isinstance(await log.own.write(row), ServerError)
                await asyncio.sleep(0.02)

        log.run(ask_on())
        assert len(attempts) <= 11
        assert len(heard) <= 3, "that it broke is heard once, and nothing after that"
        wire.is_away = False
        goes_on(log, prediction)


def attempts_counted(log: AtTheLog, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The threads that connected for the loop, from now on."""
    made: list[str] = []
    original = log.database.connect

    def counting(seconds: float) -> Any:
        if threading.current_thread().name != "prediction log":
            made.append(threading.current_thread().name)
        return original(seconds)

    monkeypatch.setattr(log.database, "connect", counting)
    return made


def reads_counted(monkeypatch: pytest.MonkeyPatch) -> list[None]:
    """An entry for each time that a socket of the log has something to be read, from now on."""
    read: list[None] = []
    original = Link._read

    def counting(link: Link) -> None:
        read.append(None)
        original(link)

    monkeypatch.setattr(Link, "_read", counting)
    return read


@pytest.mark.parametrize("when", list(LOCKS))
def test_where_nobody_may_write_each_waits_as_long_as_patience_lasts_and_then_it_goes_on(
    database: Database,
    database_url: str,
    new_loop: NewLoop,
    waiting: None,
    prediction: StoredPrediction,
    when: str,
) -> None:
    early, late = several(prediction, 4), several(prediction, 4)
    with at_the_log(database, new_loop, patience_seconds=0.6) as log:
        log.connect(prediction)

        async def stuck() -> list[Exception | None]:
            with held(database_url, LOCKS[when]):
                told = log.begun(early)
                await asyncio.sleep(0.4)
                later = log.begun(late)
                failures = await asyncio.gather(*told)
                assert not any(one.done() for one in later), "each has patience of its own"
                assert {type(failure) for failure in failures} == {ServerError}
            return await asyncio.gather(*later)

        assert log.run(stuck()) == [None] * 4
        assert ids(late, [prediction]) <= kept(database) <= ids(early, late, [prediction])
        goes_on(log, prediction)


def test_nobody_waits_longer_than_patience_lasts_where_copies_are_slow_and_many_wait(
    database: Database, new_loop: NewLoop, waiting: None, prediction: StoredPrediction, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop_link, "MOST_AT_ONCE", 1)
    with at_the_log(database, new_loop, patience_seconds=0.45) as log:
        log.connect(prediction)
        rows = several(prediction, 12, principal="slow")  # each a COPY of a tenth of a second
        failures = log.write(rows)
        assert {type(failure) for failure in failures} == {type(None), ServerError}
        assert {row.id for row, failure in zip(rows, failures, strict=True) if failure is None} <= kept(database)


@contextmanager
def no_socket_left() -> Iterator[None]:
    before = sockets()
    yield
    await_that(lambda: sockets() <= before)  # what others in this process open meanwhile, they close again


def sockets() -> set[str]:
    links = [one for one in Path("/proc/self/fd").iterdir() if one.is_symlink()]
    return {target for target in map(os.readlink, links) if target.startswith("socket:")}


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("when", ["idle", "asked", "sent", "ended"])
def test_closing_leaves_no_connection(
    database: Database,
    database_url: str,
    new_loop: NewLoop,
    admin: psycopg.Connection[Any],
    waiting: None,
    prediction: StoredPrediction,
    when: str,
) -> None:
    with no_socket_left(), at_the_log(database, new_loop) as log:
        log.connect(prediction)

        async def in_the_middle() -> None:
            with held(database_url, LOCKS[when]):
                log.begun(several(prediction, 60, request={"title": LONG}))
                await becomes(lambda: waits(admin))
                log.own.close()

        if when in LOCKS:
            log.run(in_the_middle())
        if when == "ended":
            end(admin, log)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("is_made_before", [True, False])
def test_closing_leaves_no_connection_that_is_still_being_made(
    database: Database,
    new_loop: NewLoop,
    prediction: StoredPrediction,
    is_made_before: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    may_go_on, is_made, original = threading.Event(), threading.Event(), database.connect

    def connect(seconds: float) -> Any:
        if threading.current_thread().name == "prediction log":
            return original(seconds)
        assert is_made_before or may_go_on.wait(10)
        made = original(seconds)
        is_made.set()
        return made

    monkeypatch.setattr(database, "connect", connect)
    with no_socket_left(), at_the_log(database, new_loop) as log:

        async def begun() -> None:
            (told,) = log.begun([prediction])
            if is_made_before:
                assert is_made.wait(10)  # and the loop has not heard of it
            log.own.close()
            may_go_on.set()
            await told

        log.run(begun())
        assert not log.own.is_connected


STEPS = st.lists(
    st.tuples(st.sampled_from(["write", "write", "write", "cancel", "end", "end all", "wait"]), st.integers(1, 30)),
    max_size=25,
)


@given(steps=STEPS)
@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_happens_what_was_said_to_be_durable_is_and_nobody_is_forgotten(
    database: Database,
    new_loop: NewLoop,
    admin: psycopg.Connection[Any],
    prediction: StoredPrediction,
    steps: list[tuple[str, int]],
) -> None:
    told: dict[Any, Any] = {}

    async def lived() -> None:
        for step, number in steps:
            if step == "write":
                rows = several(prediction, number)
                told.update({row.id: fate for row, fate in zip(rows, log.begun(rows), strict=True)})
            elif step == "cancel":
                for fate in list(told.values())[-number:]:
                    fate.cancel()
            elif step == "end" and log.own.is_connected:
                end(admin, log)
            elif step == "end all":
                admin.execute(
                    "select pg_terminate_backend(pid) from pg_stat_activity "
                    "where datname = current_database() and pid <> pg_backend_pid()"
                )
            else:
                await asyncio.sleep(number / 1000)
        await asyncio.wait(told.values()) if told else None

    with no_socket_left(), at_the_log(database, new_loop) as log:
        log.run(lived())
        results = {identifier: fate.result() for identifier, fate in told.items() if not fate.cancelled()}
    assert {type(result) for result in results.values()} <= {type(None), ServerError}
    with psycopg.connect(admin.info.dsn, password=admin.info.password) as connection:
        found = {row[0] for row in connection.execute("select id from predictions")}
    assert {identifier for identifier, result in results.items() if result is None} <= found
