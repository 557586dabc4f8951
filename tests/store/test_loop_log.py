"""The log of an event loop: what it says is durable is, over a connection of its own, and a bad row fails alone."""

from __future__ import annotations

import asyncio
import select
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import psycopg
import pytest
from loop_logs import LONG, AtTheLog, NewLoop, at_the_log, becomes, ids, kept, several
from predictions import id_at

from forecastle.errors import InputError, ServerError
from forecastle.store import loop_link
from forecastle.store.database import Database
from forecastle.store.identifiers import new_id
from forecastle.store.loop_link import MOST_AT_ONCE, Link
from forecastle.store.predictions import StoredPrediction, get_prediction


@pytest.fixture
def log(database: Database, new_loop: NewLoop) -> Iterator[AtTheLog]:
    with at_the_log(database, new_loop) as found:
        yield found


def copies_counted(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """An entry for each COPY that is begun over the log's own connection, from now on."""
    begun: list[int] = []
    original = Link._begin

    def counting(link: Link) -> None:
        begun.append(len(link._waiting))
        original(link)

    monkeypatch.setattr(Link, "_begin", counting)
    return begun


def test_the_first_rows_are_durable_too_and_later_ones_go_over_a_connection_of_its_own(
    log: AtTheLog, prediction: StoredPrediction
) -> None:
    first = several(prediction, 5)
    assert not log.own.is_connected
    assert log.write(first) == [None] * 5
    assert log.handed_on == [1] * 5
    assert kept(log.database) == ids(first)
    log.run(becomes(lambda: log.own.is_connected))
    for _ in range(3):
        later = several(prediction, 4)
        assert log.write(later) == [None] * 4
        assert ids(later) <= kept(log.database)
    assert log.handed_on == [1] * 5
    with log.database.transaction() as connection:
        assert get_prediction(connection, later[0].id) == later[0]


def test_many_rows_at_once_take_few_copies(
    log: AtTheLog, prediction: StoredPrediction, monkeypatch: pytest.MonkeyPatch
) -> None:
    log.connect(prediction)
    begun = copies_counted(monkeypatch)
    rows = several(prediction, 2 * MOST_AT_ONCE + 50)
    assert log.write(rows) == [None] * len(rows)
    assert kept(log.database) == ids(rows, [prediction])
    assert begun == [1, MOST_AT_ONCE + 50, 50]
    assert log.handed_on == []


def test_rows_that_the_socket_does_not_take_at_once_are_sent_when_it_takes_more(
    log: AtTheLog, prediction: StoredPrediction, monkeypatch: pytest.MonkeyPatch
) -> None:
    log.connect(prediction)
    waited = flushes_watched(monkeypatch)
    rows = several(prediction, MOST_AT_ONCE + 20, request={"title": LONG})
    assert log.write(rows) == [None] * len(rows)
    assert True in waited
    assert not waited[-1]
    assert kept(log.database) == ids(rows, [prediction])
    assert log.handed_on == []


def flushes_watched(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """For each time that something was to be sent, from now on, whether some of it had to wait."""
    waited: list[bool] = []
    original = Link._flush

    def watched(link: Link) -> None:
        original(link)
        waited.append(link._is_flushing)

    monkeypatch.setattr(Link, "_flush", watched)
    return waited


FORBIDDING = """
    create function refuse() returns trigger language plpgsql as $$
    begin
        if new.principal = 'slow' then perform pg_sleep(0.1); end if;
        if new.principal = 'forbidden' then raise exception 'refused' using errcode = '22000'; end if;
        return new;
    end $$;
    create trigger refuse before insert on predictions for each row execute function refuse();
"""


@pytest.mark.parametrize(
    ("changed", "refusal"),
    [
        ({"principal": "forbidden"}, InputError),
        ({"request": {"title": "half of a pair \ud800"}}, InputError),
        ({"request": {"title": "a NUL \x00"}}, InputError),
        ({"principal": "a NUL \x00"}, InputError),
        ({"project_id": new_id()}, psycopg.errors.ForeignKeyViolation),
    ],
    ids=["trigger", "surrogate", "NUL in JSON", "NUL in text", "project"],
)
def test_a_row_that_cannot_be_kept_fails_alone_and_the_connection_stays(
    log: AtTheLog, database_url: str, prediction: StoredPrediction, changed: dict[str, Any], refusal: type[Exception]
) -> None:
    log.connect(prediction)
    with psycopg.connect(database_url) as connection:
        connection.execute(FORBIDDING)
    link, rows = log.link, several(prediction, 7)
    rows[4] = rows[4]._replace(**changed)
    failures = log.write(rows)
    assert [type(failure) for failure in failures] == [type(None)] * 4 + [refusal] + [type(None)] * 2
    assert kept(log.database) == ids(rows, [prediction]) - {rows[4].id}
    assert sum(log.handed_on) == 7
    later = several(prediction, 3)
    assert log.write(later) == [None] * 3
    assert sum(log.handed_on) == 7
    assert log.link is link


def test_a_refusal_that_libpq_reads_while_it_sends_is_heard(
    log: AtTheLog, database_url: str, prediction: StoredPrediction, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the socket takes no more, libpq reads; what it has read, the socket does not announce again."""
    log.connect(prediction)
    with psycopg.connect(database_url) as connection:
        connection.execute(FORBIDDING)
    original = Link._flush

    def late(link: Link) -> None:
        if link._is_flushing:
            select.select([link._socket], [], [], 0.05)
        original(link)

    monkeypatch.setattr(Link, "_flush", late)
    link, rows = log.link, several(prediction, 200, request={"title": LONG})
    rows[0], rows[60] = rows[0]._replace(principal="slow"), rows[60]._replace(principal="forbidden")
    failures = log.write(rows)
    assert [number for number, failure in enumerate(failures) if failure is not None] == [60]
    assert log.link is link


def test_a_table_that_takes_no_copy_is_an_error_of_each_row_until_it_takes_one(
    log: AtTheLog, database_url: str, prediction: StoredPrediction, monkeypatch: pytest.MonkeyPatch
) -> None:
    log.connect(prediction)
    link, begun = log.link, copies_counted(monkeypatch)
    with psycopg.connect(database_url) as connection:
        connection.execute("alter table predictions rename column known to unknown")
    assert [type(failure) for failure in log.write(several(prediction, 4))] == [psycopg.errors.UndefinedColumn] * 4
    assert len(begun) == 1
    with psycopg.connect(database_url) as connection:
        connection.execute("alter table predictions rename column unknown to known")
    rows = several(prediction, 4)
    assert log.write(rows) == [None] * 4
    assert kept(log.database) == ids(rows, [prediction])
    assert log.link is link


def test_a_month_that_nobody_made_is_made(log: AtTheLog, prediction: StoredPrediction) -> None:
    log.connect(prediction)
    link = log.link
    rows = [*several(prediction, 2), prediction._replace(id=id_at(datetime(2041, 5, 1, tzinfo=UTC)))]
    assert log.write(rows) == [None] * 3
    assert kept(log.database) == ids(rows, [prediction])
    assert log.link is link


def test_a_caller_that_went_away_changes_nothing_for_the_others(log: AtTheLog, prediction: StoredPrediction) -> None:
    log.connect(prediction)
    rows = several(prediction, 9)

    async def some_go_away() -> list[Exception | None]:
        told = log.begun(rows)
        for gone in told[::2]:
            gone.cancel()
        return await asyncio.gather(*told[1::2])

    assert log.run(some_go_away()) == [None] * 4
    assert ids(rows[1::2]) <= kept(log.database)
    assert log.handed_on == []


def test_more_than_may_wait_are_refused_at_once(
    log: AtTheLog, prediction: StoredPrediction, monkeypatch: pytest.MonkeyPatch
) -> None:
    log.connect(prediction)
    monkeypatch.setattr(loop_link, "MOST_WAITING", 5)
    rows = several(prediction, 7)

    async def too_many() -> list[bool]:
        told = log.begun(rows)
        at_once = [one.done() for one in told]
        await asyncio.gather(*told[:5])
        assert all(isinstance(one.result(), ServerError) for one in told[5:])
        return at_once

    assert log.run(too_many()) == [False] * 5 + [True] * 2
    assert kept(log.database) == ids(rows[:5], [prediction])


def test_who_waits_is_told_also_where_the_other_log_cannot_begin(
    log: AtTheLog, prediction: StoredPrediction, monkeypatch: pytest.MonkeyPatch
) -> None:
    log.connect(prediction)

    def without_a_thread(*words: Any) -> Any:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(log.other, "submit", without_a_thread)
    rows = several(prediction, 3)
    rows[1] = rows[1]._replace(principal="a NUL \x00")
    assert [type(failure) for failure in log.write(rows)] == [RuntimeError] * 3
    later = several(prediction, 3)
    assert log.write(later) == [None] * 3
    assert kept(log.database) == ids(later, [prediction])
