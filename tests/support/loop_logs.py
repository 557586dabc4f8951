"""The log of an event loop, as tests drive it: the loop runs while they wait for something, and not in between."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

from forecastle.store.database import Database
from forecastle.store.identifiers import new_id
from forecastle.store.loop_link import Fate
from forecastle.store.loop_log import LoopLog
from forecastle.store.prediction_log import PATIENCE_SECONDS, PredictionLog
from forecastle.store.predictions import StoredPrediction

LONG = "x" * 200_000
NewLoop = Callable[[], asyncio.AbstractEventLoop]


@dataclass
class AtTheLog:
    """A loop and its log; what went wrong in the loop's callbacks, and how many rows went to the other log."""

    database: Database
    other: PredictionLog
    own: LoopLog
    runner: asyncio.Runner
    wrong: list[dict[str, Any]] = field(default_factory=list)
    handed_on: list[int] = field(default_factory=list)

    @property
    def link(self) -> Any:
        assert self.own._link is not None
        return self.own._link

    def run(self, work: Any) -> Any:
        return self.runner.run(asyncio.wait_for(work, 60))

    def write(self, rows: Sequence[StoredPrediction]) -> list[Exception | None]:
        """Write them at the same time, and what became of each."""

        async def all_of_them() -> list[Exception | None]:
            return await asyncio.gather(*self.begun(rows))

        return list(self.run(all_of_them()))

    def begun(self, rows: Sequence[StoredPrediction]) -> list[Fate]:
        """For coroutines that do something before they wait."""
        return [self.own.write(row) for row in rows]

    def connect(self, row: StoredPrediction) -> None:
        """Write this row, and wait for the log's own connection."""
        assert self.write([row]) == [None]
        self.run(becomes(lambda: self.own.is_connected))
        self.handed_on.clear()


async def becomes(holds: Callable[[], bool]) -> None:
    """Let the loop run until something holds that nobody announces."""
    while not holds():
        await asyncio.sleep(0.002)


@contextmanager
def at_the_log(
    database: Database,
    new_loop: NewLoop,
    patience_seconds: float = PATIENCE_SECONDS,
    of_the_other: Database | None = None,
) -> Iterator[AtTheLog]:
    """A loop whose log writes to this database, the other one perhaps by another way; nothing may go wrong in it."""
    other = PredictionLog(of_the_other or database, patience_seconds=patience_seconds)
    with asyncio.Runner(loop_factory=new_loop) as runner:
        found = AtTheLog(database, other, LoopLog(database, other), runner)
        runner.get_loop().set_exception_handler(lambda loop, context: found.wrong.append(context))
        submit = other.submit

        def counting(predictions: Sequence[StoredPrediction], *words: Any) -> Any:
            found.handed_on.append(len(predictions))
            return submit(predictions, *words)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(other, "submit", counting)
            try:
                yield found
            finally:
                found.own.close()
                other.close()
    assert found.wrong == []


def several(prediction: StoredPrediction, number: int, **changed: Any) -> list[StoredPrediction]:
    """As many of them, with ids of their own."""
    return [prediction._replace(id=new_id(), **changed) for _ in range(number)]


def kept(database: Database) -> set[Any]:
    with database.transaction() as connection:
        return {row["id"] for row in connection.execute("select id from predictions")}


def ids(*groups: Sequence[StoredPrediction]) -> set[Any]:
    return {row.id for rows in groups for row in rows}
