"""Predictions in partitions beside the one table of before: upgrading, writing, looking up, what they name, removing.

Run by hand; starts the embedded PostgreSQL where DATABASE_URL names none: python -m benchmarks.partitions
"""

from __future__ import annotations

import argparse
import secrets
import statistics
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from uuid import UUID

import psycopg
from psycopg import sql
from psycopg.types.json import Jsonb

from forecastle.embedded.servers import running
from forecastle.settings import Settings
from forecastle.store.database import Connection, Database, temporary_database, with_database
from forecastle.store.identifiers import new_id
from forecastle.store.migrate import migrate, migrations
from forecastle.store.predictions import StoredPrediction, insert_predictions, write_predictions
from forecastle.store.references import named_by_ledger, read_logged
from forecastle.store.tenants import default_workspace, ensure_projects
from jobs.maintenance import BATCH_ROWS, remove_expired

FAMILIES, MONTHS, BEFORE_PARTITIONS = ("delivery", "reliability"), 24, 2
CLEANED_AT, PAST = datetime(2027, 1, 15, tzinfo=UTC), datetime(2026, 1, 15, tzinfo=UTC)
"""All that is filled in is past its retention then, and nothing that is written now."""
BLOCKS, WRITES, LOOK_UPS, ARCHIVED = 20, 100, 200, 200

FILL = """
insert into predictions (id, model_type, model_name, model_version, alias, run_id, dataset_digest, git_commit,
    feature_digest, bundle_digest, project_id, principal, moment, input_digest, request, history, answer, method,
    latency_ms, created_at)
select (lpad(to_hex((extract(epoch from made_at) * 1000)::bigint), 12, '0')
    || '7' || right(replace(gen_random_uuid()::text, '-', ''), 19))::uuid,
    %(family)s || '.something', 'm', 1, 'production', 'run', 'd', 'c', 'f', 'b', projects.id, 'ada', made_at, 'i',
    jsonb_build_object('title', repeat('word ', 30)), '{}', '{}', 'median', 1, made_at
from projects, generate_series(0, %(rows)s - 1) as number, lateral (
    select timestamptz '2024-01-01' + number * interval '730 days' / %(rows)s as made_at) as moments"""
FORMER_COLUMNS = {name.strip() for name in FILL[FILL.index("(") + 1 : FILL.index(")")].split(",")}
FORMER_DELETE = """
with old as (select id from predictions where created_at < %s and starts_with(model_type, %s)
    order by created_at limit %s for update skip locked),
known as (delete from ground_truth where prediction_id in (select id from old)),
gone as (delete from predictions where id in (select id from old) returning id)
select count(*) as n from gone"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    rows = parser.parse_args().rows
    with running(Settings.from_env(), ("postgresql",)) as settings, ExitStack() as stack:
        url = settings.require_database_url()
        former, copy = (stack.enter_context(_empty(url)) for _ in range(2))
        with Database(former) as database:
            sample = _fill_former(database, rows)
        _copy(url, former, copy)
        with Database(copy) as database, _timed(f"upgrade with {rows:,} predictions"):
            migrate(database)
        dropped = stack.enter_context(_empty(url))
        with Database(former) as old, Database(copy) as new:
            _compare("write, a transaction each", _writes(old, new, sample), WRITES)
            _compare(f"look up by id, {len(FAMILIES)} x {MONTHS} months", _look_ups(old, new), LOOK_UPS)
            _archive(new, rows)
        _copy(url, copy, dropped)
        with Database(former) as database, _timed(f"remove {rows:,} rows, one table, batches of {BATCH_ROWS:,}"):
            _delete_former(database)
        with Database(copy) as database:
            _delete_in_batches(database, rows)
        with Database(dropped) as database:
            _drop_under_load(database, sample)


@contextmanager
def _empty(url: str) -> Iterator[str]:
    with temporary_database(url, f"benchmark_{secrets.token_hex(4)}") as made:
        yield made


def _copy(url: str, source: str, target: str) -> None:
    names = [sql.Identifier(address.rsplit("/", 1)[1]) for address in (target, source)]
    with psycopg.connect(with_database(url, "postgres"), autocommit=True) as connection:
        connection.execute(sql.SQL("drop database {}").format(names[0]))
        connection.execute(sql.SQL("create database {} template {}").format(*names))


def _fill_former(database: Database, rows: int) -> StoredPrediction:
    """The schema of before with this many predictions; returns one that is like what the façade writes."""
    with database.transaction() as connection:
        for migration in migrations()[:BEFORE_PARTITIONS]:
            connection.execute(migration.text.encode())
        connection.execute("create table schema_migrations (number integer primary key, name text, applied_at text)")
        connection.execute("insert into schema_migrations select number, '' from generate_series(1, 2) as number")
        project = ensure_projects(connection, default_workspace(connection), ["A"])["A"]
        for family in FAMILIES:
            connection.execute(FILL, {"family": family, "rows": rows // len(FAMILIES)})
    text = {"title": "Migrate the cluster in admin", "description": "again " * 30}
    texts = dict.fromkeys(("model_name", "alias", "run_id", "dataset_digest", "git_commit", "feature_digest"), "x" * 40)
    return StoredPrediction(
        id=new_id(), model_type="delivery.something", model_version=1, bundle_digest="b", project_id=project,
        principal="ada", moment=PAST, input_digest="i", request=text, answer=text, method="median", latency_ms=1.0,
        **texts,
    )  # fmt: skip


def _writes(old: Database, new: Database, sample: StoredPrediction) -> tuple[Callable[[], None], Callable[[], None]]:
    names = [name for name in sample._fields if name in FORMER_COLUMNS]
    # The columns are names of our own fields.
    insert = f"insert into predictions ({', '.join(names)}, history) values ({', '.join(['%s'] * len(names))}, '{{}}') "  # noqa: S608

    def former(connection: Connection) -> None:
        values = sample._replace(id=new_id())._asdict()
        row = [Jsonb(values[name]) if isinstance(values[name], dict) else values[name] for name in names]
        connection.cursor().executemany(f"{insert} on conflict (id) do nothing".encode(), [row])

    return lambda: old.retrying(former), lambda: write_predictions(new, [sample._replace(id=new_id())])


def _look_ups(old: Database, new: Database) -> tuple[Callable[[], None], Callable[[], None]]:
    with new.transaction() as connection:
        found = connection.execute(
            "select id from predictions where created_at < %s order by random() limit %s", (PAST, BLOCKS * LOOK_UPS)
        )
        ids = [row["id"] for row in found]

    def of(database: Database) -> Callable[[], None]:
        asked: Iterator[UUID] = iter(ids)

        def look_up() -> None:
            with database.transaction() as connection:
                # As `get_prediction`, whose columns the table of before does not have.
                connection.execute("select * from predictions where id = %s", (next(asked),)).fetchone()

        return look_up

    return of(old), of(new)


def _archive(database: Database, rows: int) -> None:
    """What archiving asks: once what predictions name, and before each version goes whether the ledger names it."""
    with database.transaction() as connection:
        connection.execute("analyze predictions")
        with _timed(f"what {rows:,} predictions name"):
            read_logged(connection)
        with _timed(f"whether the ledger names one, of {ARCHIVED} versions"):
            for version in range(ARCHIVED):
                named_by_ledger(connection, [("m", version, f"run {version}")])


def _compare(what: str, pair: tuple[Callable[[], None], Callable[[], None]], times: int) -> None:
    """Both in turns, so that whatever else runs slows both down."""
    seconds: list[list[float]] = [[], []]
    for _ in range(BLOCKS):
        for done, found in zip(pair, seconds, strict=True):
            started = time.perf_counter()
            for _ in range(times):
                done()
            found.append((time.perf_counter() - started) / times)
    before, after = (statistics.median(found) * 1000 for found in seconds)
    ratio = statistics.median(b / a for a, b in zip(*seconds, strict=True))
    print(f"{what}: {before:.3f} ms before, {after:.3f} ms in partitions, ratio {ratio:.2f}", flush=True)


@contextmanager
def _timed(what: str) -> Iterator[None]:
    started = time.perf_counter()
    yield
    print(f"{what}: {time.perf_counter() - started:.2f} s", flush=True)


def _delete_former(database: Database) -> None:
    for family in FAMILIES:
        gone = BATCH_ROWS
        while gone == BATCH_ROWS:
            with database.transaction() as connection:
                row = connection.execute(FORMER_DELETE, (PAST, f"{family}.", BATCH_ROWS)).fetchone()
            assert row is not None
            gone = row["n"]


def _delete_in_batches(database: Database, rows: int) -> None:
    """The same in partitions, none of which is dropped, as somebody reads them."""
    with database.transaction() as reader:
        reader.execute("select from predictions limit 1")
        with _timed(f"remove {rows:,} rows, partitions, batches of {BATCH_ROWS:,}"):
            remove_expired(database, CLEANED_AT)


def _drop_under_load(database: Database, sample: StoredPrediction) -> None:
    """Drop all months that are past, while predictions are written into one that is not."""
    stop, writes = threading.Event(), list[float]()

    def write() -> None:
        while not stop.is_set():
            started = time.perf_counter()
            with database.transaction() as connection:
                insert_predictions(connection, [sample._replace(id=new_id())])
            writes.append(time.perf_counter() - started)

    writer = threading.Thread(target=write)
    writer.start()
    started = time.perf_counter()
    removed = remove_expired(database, CLEANED_AT)
    took = time.perf_counter() - started
    stop.set()
    writer.join()
    gone, months = (sum(getattr(done, name) for done in removed.values()) for name in ("predictions", "months"))
    print(f"remove {gone:,} rows by dropping {months} months: {took:.2f} s", end="; ")
    median, longest = (found * 1000 for found in (statistics.median(writes), max(writes)))
    print(f"{len(writes)} predictions written meanwhile, median {median:.1f} ms, longest {longest:.0f} ms")


if __name__ == "__main__":
    main()
