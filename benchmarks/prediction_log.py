"""The log of predictions beside a bare COPY of the same rows, in turns.

Run by hand; starts the embedded PostgreSQL where DATABASE_URL names none: python -m benchmarks.prediction_log
"""

from __future__ import annotations

import asyncio
import secrets
import statistics
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from functools import partial
from uuid import UUID

import uvloop

from forecastle.embedded.servers import running
from forecastle.features.packing import pack_known
from forecastle.records.issues import IssueRecord
from forecastle.records.outcomes import Known, Outcomes
from forecastle.settings import Settings
from forecastle.store.database import Database, temporary_database
from forecastle.store.identifiers import new_id
from forecastle.store.issues import import_issues
from forecastle.store.loop_log import LoopLog
from forecastle.store.migrate import migrate
from forecastle.store.prediction_log import PATIENCE_SECONDS, PredictionLog
from forecastle.store.predictions import StoredPrediction, copy_predictions
from forecastle.store.tenants import get_project

ROUNDS = 7
SLOW = f"PostgreSQL was not that fast: {PATIENCE_SECONDS} s"
BATCHES = ((8, 1_000, 16_000), (64, 1, 5_000), (8, 1, 500))
"""Threads, rows that each hands in at once, rows in all."""
SINGLE = ((256, 20_000), (64, 10_000), (16, 4_000), (1, 200))
"""Requests that wait on the event loop for a row each, rows in all."""


def main() -> None:
    with (
        running(Settings.from_env(), ("postgresql",)) as settings,
        temporary_database(settings.require_database_url(), f"benchmark_{secrets.token_hex(4)}") as url,
        Database(url) as database,
    ):
        sample = _sample(_a_project(database))
        log = PredictionLog(database)
        for threads, at_once, rows in BATCHES:
            words = f"{threads:4} threads with {at_once:5,} rows at once"
            _compare(words, database, sample, rows, partial(_by_threads, log, threads, at_once))
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            on_loop = LoopLog(database, log)
            runner.run(_connected(on_loop, sample))
            for requests, rows in SINGLE:
                words = f"{requests:4} requests with    one row at once"
                _compare(words, database, sample, rows, lambda made, n=requests: runner.run(_on_loop(on_loop, n, made)))
            on_loop.close()
        log.close()


def _a_project(database: Database) -> UUID:
    migrate(database)
    with database.transaction() as connection:
        import_issues(connection, [IssueRecord(project_key="A", key="A-1", ordinal=0, time_basis="ordinal", title="x")])
        return get_project(connection, "A").id


def _sample(project: UUID) -> StoredPrediction:
    """What the façade writes of an issue with a description, in a project with 200 known outcomes."""
    outcomes = Outcomes(200, 3.1, 3.0, tuple(float(place % 7 + 1) for place in range(200)))
    texts = dict.fromkeys(("run_id", "dataset_digest", "git_commit", "feature_digest", "bundle_digest"), "0" * 64)
    reasoning = "The words of the issue and the level of the project's last 50 known issues; it was not measured."
    return StoredPrediction(
        id=new_id(), model_type="delivery.story_points", model_name="delivery.story_points", model_version=1,
        alias="production", project_id=project, principal="ada", moment=datetime.now(UTC), input_digest="0" * 64,
        request={"title": "Migrate the cluster in admin", "description": "again and again " * 20, "project_id": "A"},
        answer={"recommended_points": 3.0, "confidence": 0.41, "method": "ml_model", "reasoning": reasoning},
        method="blend", latency_ms=1.0, view="all", estimate=2.9, vector=bytes(300),
        known=pack_known(Known(outcomes), ()), **texts,
    )  # fmt: skip


def _copy(database: Database, rows: Sequence[StoredPrediction]) -> None:
    connection = database.connect(60.0)
    copy_predictions(connection, rows)
    connection.close()


def _by_threads(log: PredictionLog, threads: int, at_once: int, rows: Sequence[StoredPrediction]) -> None:
    def call(own: Sequence[StoredPrediction]) -> None:
        for start in range(0, len(own), at_once):
            assert not any(log.write(own[start : start + at_once])), SLOW

    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(call, [rows[number::threads] for number in range(threads)]))


async def _on_loop(log: LoopLog, requests: int, rows: Sequence[StoredPrediction]) -> None:
    async def ask(own: Sequence[StoredPrediction]) -> None:
        for row in own:
            assert await log.write(row) is None, SLOW

    await asyncio.gather(*(ask(rows[number::requests]) for number in range(requests)))


async def _connected(log: LoopLog, sample: StoredPrediction) -> None:
    while not log.is_connected:
        await log.write(sample._replace(id=new_id()))


def _compare(
    words: str,
    database: Database,
    sample: StoredPrediction,
    rows: int,
    write: Callable[[Sequence[StoredPrediction]], None],
) -> None:
    """Both in turns, so that whatever else runs slows both of them down."""
    speeds: list[list[float]] = [[], []]
    for _ in range(ROUNDS):
        for found, way in zip(speeds, (partial(_copy, database), write), strict=True):
            made = [sample._replace(id=new_id()) for _ in range(rows)]
            started = time.perf_counter()
            way(made)
            found.append(rows / (time.perf_counter() - started))
    bare, logged = map(statistics.median, speeds)
    ratio = statistics.median(mine / other for other, mine in zip(*speeds, strict=True))
    print(
        f"{words}, {rows:6,} in all: log {logged:7,.0f} rows/s, bare COPY {bare:7,.0f} rows/s, ratio {ratio:.2f}",
        flush=True,
    )


if __name__ == "__main__":
    main()
