"""Outcomes that an import tells to predictions, performance over them, and forgetting a person, on synthetic rows.

Run by hand; starts the embedded PostgreSQL where DATABASE_URL names none: python -m benchmarks.ground_truth
"""

from __future__ import annotations

import argparse
import secrets
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

import projects
from forecastle.embedded.servers import running
from forecastle.records.issues import IssueRecord
from forecastle.registry.performance import performance_of, realised_of
from forecastle.settings import Settings
from forecastle.store import forgetting
from forecastle.store.database import Connection, Database, temporary_database
from forecastle.store.issues import import_issues
from forecastle.store.migrate import migrate
from forecastle.store.tenants import get_project

EFFORT, PERSON, PROJECTS, MONTHS, TIMES = "delivery.effort", "Ada Lovelace", 10, 12, 5
INDEXES = ("predictions_by_issue", "predictions_by_version")

FILL = """
insert into predictions (family, id, model_type, model_name, model_version, alias, run_id, dataset_digest, git_commit,
    feature_digest, bundle_digest, project_id, principal, moment, input_digest, request, history, answer, method,
    latency_ms, issue_key, target, value, low, high, baseline)
select 'delivery', (left(least_id(made_at)::text, 14) || '7' || right(gen_random_uuid()::text, 21))::uuid,
    'delivery.effort', 'delivery.effort', 1 + number % 3, 'production', repeat('r', 32), repeat('d', 64),
    repeat('c', 40), repeat('f', 64), repeat('b', 64), issues.project_id, 'ada', made_at, repeat('i', 64),
    jsonb_build_object('title', repeat('word ', 30), 'assignee',
        case when number % 100 = 0 then 'Ada Lovelace' else 'Bob' end),
    '{}', jsonb_build_object('reasoning', repeat('word ', 40)), 'median', 1, issues.key, 'effort_hours',
    2 + random(), 1, 5, 3
from (select *, row_number() over (order by id) as number from issues) as issues,
    lateral (select now() - (number % 330) * interval '1 day' as made_at) as moments"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=100_000)
    rows = parser.parse_args().rows
    with (
        running(Settings.from_env(), ("postgresql",)) as settings,
        temporary_database(settings.require_database_url(), f"truth_{secrets.token_hex(6)}") as url,
        Database(url) as database,
    ):
        migrate(database)
        _import(database, _issues(rows, done=False))
        _fill(database, rows)
        done = _issues(rows, done=True)
        with _timed(f"import that tells {rows:,} outcomes to {rows:,} predictions"):
            _import(database, done)
        with _timed("the same again"):
            _import(database, done)
        _in_transaction(database, _analyze)
        _ask(database)
        with _timed(f"forget a person in {rows // 100:,} of {rows:,} predictions, rolled back"):
            _in_transaction(database, _forget)


def _issues(rows: int, done: bool) -> list[IssueRecord]:
    created = datetime.now(UTC) - timedelta(days=400)
    outcome = {"effort_hours": 3.0, "completed_at": created + timedelta(days=401)} if done else {}
    return [
        IssueRecord(
            project_key=f"P{number % PROJECTS}", key=f"K-{number}", ordinal=0, time_basis="date", created_at=created,
            title=f"Issue {number}", **outcome,
        )
        for number in range(rows)
    ]  # fmt: skip


def _fill(database: Database, rows: int) -> None:
    """Fill the log without and with the indexes of ground truth, in turns; the last time stays."""
    taken: dict[bool, list[float]] = {False: [], True: []}
    _in_transaction(database, _make_months)
    for indexed in [False, True] * TIMES:
        _in_transaction(database, _empty_log)
        with database.transaction() as connection:
            definitions = [
                row["indexdef"]
                for row in connection.execute(
                    "select indexdef from pg_indexes where indexname = any(%s)", (list(INDEXES),)
                )
            ]
            if not indexed:
                for name in INDEXES:
                    connection.execute(f"drop index {name}".encode())
            started = time.perf_counter()
            connection.execute(FILL.encode())
            taken[indexed].append(time.perf_counter() - started)
            if not indexed:
                for definition in definitions:
                    connection.execute(definition.replace(" ON ONLY ", " ON ").encode())  # and of every month
    without, with_both = (1e6 * statistics.median(taken[indexed]) / rows for indexed in (False, True))
    print(f"a row of predictions in bulk: {without:.1f} µs, with both indexes {with_both:.1f} µs (median of {TIMES})")
    _in_transaction(database, _analyze)


def _analyze(connection: Connection) -> None:
    connection.execute("analyze")  # as autovacuum does within a minute


def _make_months(connection: Connection) -> None:
    connection.execute(
        "select make_prediction_month('delivery', now() - ago * interval '1 month') from generate_series(0, %s) as ago",
        (MONTHS,),
    )


def _empty_log(connection: Connection) -> None:
    connection.execute("truncate predictions, ground_truth")


def _import(database: Database, issues: list[IssueRecord]) -> None:
    _in_transaction(database, lambda connection: import_issues(connection, issues))


def _ask(database: Database) -> None:
    model_types = projects.discover()
    for _ in range(TIMES):
        with _timed("performance of the model type, 3 versions in 10 projects"):
            performance_of(database, model_types, EFFORT)
    with database.transaction() as connection:
        project = get_project(connection, "P0").id
        for _ in range(TIMES):
            with _timed("realised figures of a passport"):
                realised_of(connection, model_types[EFFORT], EFFORT, 1, project)


def _forget(connection: Connection) -> None:
    print(dict(forgetting.forget_person(connection, PERSON, "benchmark").erased))
    connection.rollback()


def _in_transaction(database: Database, work: Callable[[Connection], object]) -> None:
    with database.transaction() as connection:
        work(connection)


@contextmanager
def _timed(what: str) -> Iterator[None]:
    started = time.perf_counter()
    yield
    print(f"{what}: {time.perf_counter() - started:.2f} s", flush=True)


if __name__ == "__main__":
    main()
