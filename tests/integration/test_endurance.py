"""Minutes of load with promotions, while PostgreSQL and workers of the façade are killed again and again.

FORECASTLE_ENDURANCE_SECONDS says how long (120). Every answer is held against what its version answers when it is asked
alone, at the end every acknowledged one is looked for, and the worker that lived through all of it may not have grown.
"""

from __future__ import annotations

import os
import signal
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from load import Repeated, running
from processes import await_that, processes_of
from supervised import Place
from versions import MODEL_TYPE, Aliases, issues_of, make_version

from benchmarks.asking import Answer, Load, digest, memory_bytes, mixed
from forecastle.access.principals import Principal, Role, add_user
from forecastle.registry.promotions import Promoter
from forecastle.store import promotions as ledger
from forecastle.store.database import Database
from forecastle.store.issues import import_issues
from forecastle.store.objects import Objects

SECONDS = float(os.environ.get("FORECASTLE_ENDURANCE_SECONDS", "120"))
POSTGRESQL_KILLED, WORKERS_KILLED = 3, 7
"""How often within that time; five restarts of PostgreSQL without two quiet minutes would stop everything."""
WORKERS, CONNECTIONS = 2, 6
SWAP_SECONDS, LOOK_SECONDS = 1.0, 0.5
PAUSE_SECONDS = 0.008
"""Without it the façade takes all of two cores, and the tests beside this one wait for PostgreSQL in vain."""
MOST_GROWTH = 1.1
NAME = MODEL_TYPE.name
REVIEWER = Principal("rita", Role.REVIEWER)
QUESTIONS = [
    {"project_id": project, "title": title}
    for project in ("DEMO1", "DEMO2", "DEMO3")
    for title in ("Migrate the cluster in admin", "Rename the label in settings")
]

pytestmark = [pytest.mark.slow, pytest.mark.timeout(SECONDS + 150)]


@dataclass(frozen=True)
class House:
    """A supervised façade of two workers, in whose ledger two versions stand."""

    place: Place
    database: Database
    promoter: Promoter
    load: Load

    def swap(self) -> int:
        """Move production to the other version; its number."""
        with self.database.transaction() as connection:
            serving = ledger.serving(connection, NAME)[NAME].promotion.to_version
        if serving == 2:
            return self.promoter.rollback(NAME, REVIEWER, "endured").promotion.to_version
        return self.promoter.promote(NAME, 2, REVIEWER, "endured").promotion.to_version

    def workers(self) -> list[int]:
        """Processes of the workers, the oldest first."""
        facade = self.place.pid("facade")
        found = Path(f"/proc/{facade}/task/{facade}/children").read_text().split()
        spawned = [pid for pid in map(int, found) if b"granian" in Path(f"/proc/{pid}/cmdline").read_bytes()]
        return sorted(spawned, key=_started_at)


def _started_at(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19])


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    place = Place(tmp_path / "home", variables={"FORECASTLE_HTTP_WORKERS": str(WORKERS)})
    names = ("postgresql", "s3", "facade")
    with ExitStack() as stack:
        stack.enter_context(place.up(*(f"--only={name}" for name in names)))
        given = place.settings(*names)
        assert given is not None
        database = stack.enter_context(Database(given.require_database_url(), 4))
        with database.transaction() as connection:
            import_issues(connection, issues_of(MODEL_TYPE, 150))
            key = add_user(connection, "ada", Role.MEMBER)
        versions = {number: make_version(number, issues) for number, issues in ((1, 80), (2, 150))}
        promoter = Promoter(database, Objects.of(given), Aliases(versions), lambda name, found: None)
        promoter.promote(NAME, 1, REVIEWER, "the first")
        url = urlsplit(str(given.facade_url))
        load = Load(
            (str(url.hostname), int(url.port or 80)), key, MODEL_TYPE.route, QUESTIONS, pause_seconds=PAUSE_SECONDS
        )
        yield House(place, database, promoter, load)
    assert processes_of(place.home) == []


@dataclass
class Growth:
    """Resident bytes of one process, looked at again and again."""

    pid: int
    looks: list[int] = field(default_factory=list)

    def look(self) -> None:
        self.looks.append(memory_bytes(self.pid, "Rss"))

    def halves(self) -> tuple[float, float]:
        """The median of each half, in MB, without the first tenth, in which all is asked for the first time."""
        looks = self.looks[len(self.looks) // 10 :]
        middle = len(looks) // 2
        return statistics.median(looks[:middle]) / 1e6, statistics.median(looks[middle:]) / 1e6


def test_nothing_acknowledged_is_lost_doubled_or_mixed_and_no_worker_grows(
    house: House, record_property: Callable[[str, object], None]
) -> None:
    alone, connection = {}, house.load.connect()
    for number in (1, 2):
        if number == 2:
            house.swap()
        alone[f"{NAME}/{number}"] = house.load.ask_alone(connection, f"{NAME}/{number}")
    connection.close()
    assert all(first != second for first, second in zip(*alone.values(), strict=True))
    survivor = house.workers()[0]
    growth, swaps = Growth(survivor), Repeated(house.swap, SWAP_SECONDS)
    with running([swaps, Repeated(growth.look, LOOK_SECONDS)]), house.load.on(CONNECTIONS):
        disturb(house)
    answers = house.load.answers
    check_rows(house, answers)
    assert mixed(answers, alone) == []
    assert {one.label for one in answers} == alone.keys()
    assert not [said for said in house.load.refused if said.startswith("RefusedError") and "503" not in said]
    assert survivor == house.workers()[0]
    before, after = growth.halves()
    record_property("answers", len(answers))
    record_property("refused", len(house.load.refused))
    record_property("swaps", len(swaps.acknowledged))
    record_property("memory of a worker, first and second half", f"{before:.1f} and {after:.1f} MB")
    assert after <= before * MOST_GROWTH


def disturb(house: House) -> None:
    """Kill PostgreSQL and the younger worker with -9, evenly over the time, and see that answers come again."""
    began = time.monotonic()
    moments = [
        *((SECONDS * (number + 1) / (POSTGRESQL_KILLED + 1), "postgresql") for number in range(POSTGRESQL_KILLED)),
        *((SECONDS * (number + 0.5) / WORKERS_KILLED, "worker") for number in range(WORKERS_KILLED)),
    ]
    for moment, what in sorted(moments):
        time.sleep(max(0.0, began + moment - time.monotonic()))
        if what == "postgresql":
            house.place.send("postgresql", signal.SIGKILL)
        else:
            before = house.workers()
            os.kill(before[-1], signal.SIGKILL)
            await_that(lambda before=before: len(house.workers()) == WORKERS and house.workers() != before)
        answered = len(house.load.answers)
        await_that(lambda answered=answered: len(house.load.answers) > answered, 30)
    time.sleep(max(0.0, began + SECONDS - time.monotonic()))


def check_rows(house: House, answers: list[Answer]) -> None:
    """Every acknowledged answer is there once, under the version that it names, and nothing that nobody asked for."""
    with house.database.transaction() as connection:
        rows = connection.execute("select id, model_name, model_version, answer from predictions").fetchall()
    stored: dict[str, Any] = {
        str(row["id"]): (f"{row['model_name']}/{row['model_version']}", digest(row["answer"])) for row in rows
    }
    assert len(stored) == len(rows)
    assert len({one.prediction_id for one in answers}) == len(answers)
    lost = [one for one in answers if stored.get(one.prediction_id) != (one.label, one.digest)]
    assert lost == []
    assert len(rows) <= len(answers) + len(house.load.refused) + 2 * len(QUESTIONS)
