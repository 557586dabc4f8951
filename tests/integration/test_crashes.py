"""What was acknowledged survives kill -9 of whoever acknowledged it, and what was cut off is undone."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import psycopg
import pytest

import projects
from forecastle.access.principals import Principal, Role, add_user
from forecastle.embedded.servers import running
from forecastle.generator.issues import Portfolio, generate_issues
from forecastle.registry.aliases import VersionFiles
from forecastle.registry.dataset import rows_of_issues
from forecastle.registry.examples import extract_all
from forecastle.registry.promotions import Promoter
from forecastle.registry.training import fit
from forecastle.registry.walking import Budget
from forecastle.settings import Settings
from forecastle.store.database import Database
from forecastle.store.issues import import_issues
from forecastle.store.migrate import migrate
from forecastle.store.objects import Objects

MODEL_TYPE = projects.get_model_type("delivery.story_points")
NAME = MODEL_TYPE.name
REVIEWER = Principal("rita", Role.REVIEWER)
PROVENANCE = {"gate.verdict": "PROMOTE", "run_id": "r", "data.digest": "d", "git.commit": "g", "feature.digest": "f"}


@dataclass
class Aliases:
    """Stands in for MLflow, with its aliases in a file that other processes see."""

    file: Path
    files: Mapping[str, bytes]
    calls: list[tuple[str, int | None]] = field(default_factory=list)

    def version_files(self, name: str, version: int) -> VersionFiles:
        return VersionFiles(version, self.files, PROVENANCE)

    def find_alias(self, name: str, alias: str) -> int | None:
        return self.now().get(alias)

    def set_tag(self, name: str, version: int, key: str, value: str) -> None:
        self.calls.append((key, version))

    def set_alias(self, name: str, alias: str, version: int) -> None:
        self.calls.append((alias, version))
        self.file.write_text(json.dumps({**self.now(), alias: version}))

    def remove_alias(self, name: str, alias: str) -> None:
        self.calls.append((alias, None))
        self.file.write_text(json.dumps({key: value for key, value in self.now().items() if key != alias}))

    def now(self) -> dict[str, int]:
        return json.loads(self.file.read_text()) if self.file.exists() else {}


@pytest.fixture(scope="module")
def bundle() -> dict[str, bytes]:
    """The files of a fitted version."""
    rows = rows_of_issues(MODEL_TYPE, generate_issues(Portfolio(issues=60))).rows
    made = fit(MODEL_TYPE, extract_all(MODEL_TYPE, rows), budget=Budget(trials=1)).bundle
    return {f"bundle/{name}": content for name, content in made.files().items()}


@dataclass(frozen=True)
class Place:
    """A PostgreSQL in a home of its own that can be killed and started again, and what a façade needs."""

    settings: Settings
    stack: ExitStack
    aliases: Aliases
    key: str

    def start_postgresql(self) -> Settings:
        return self.stack.enter_context(running(self.settings, ("postgresql",)))

    def start_facade(self, given: Settings) -> Settings:
        home = self.settings.home.parent / "facade"
        return self.stack.enter_context(running(replace(given, home=home, http_port=0), ("facade",)))

    def kill_postgresql(self) -> None:
        os.kill(_pid(self.settings.home, "postgresql"), signal.SIGKILL)

    def facade_pid(self) -> int:
        return _pid(self.settings.home.parent / "facade", "facade")

    def promote(self, url: str, version: int) -> None:
        with Database(url, 4) as database:
            promoter = Promoter(database, Objects.of(self.settings), self.aliases, lambda name, found: None)
            promoter.promote(NAME, version, REVIEWER, "tested")


def _pid(home: Path, name: str) -> int:
    return int(json.loads((home / "run" / "servers.json").read_text())[name]["pid"])


@pytest.fixture
def place(tmp_path: Path, bundle: dict[str, bytes], own_storage: Settings) -> Iterator[Place]:
    settings = replace(own_storage, home=tmp_path / "home")
    aliases = Aliases(tmp_path / "aliases.json", bundle)
    with running(settings, ("postgresql",)) as given, Database(given.require_database_url(), 2) as database:
        migrate(database)
        with database.transaction() as connection:
            import_issues(connection, list(generate_issues(Portfolio(issues=60))))
            key = add_user(connection, "max", Role.MEMBER)
        with ExitStack() as stack:
            place = Place(settings, stack, aliases, key)
            place.promote(given.require_database_url(), 1)
            yield place


def kept(url: str | None, prediction_id: str) -> dict[str, Any] | None:
    assert url is not None
    with psycopg.connect(url) as connection:
        row = connection.execute("select answer from predictions where id = %s", (prediction_id,)).fetchone()
    return None if row is None else row[0]


def living(group: int) -> list[int]:
    """The processes of a group that are no zombies."""
    found = []
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = status.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[2]) == group and fields[0] not in "ZX":
            found.append(int(status.parent.name))
    return found


def test_an_acknowledged_prediction_survives_kill_9_of_postgresql_and_the_facade_answers_again_by_itself(
    place: Place, client: Callable[[str | None, str], Any], await_that: Callable[[Callable[[], bool], float], None]
) -> None:
    given = place.start_postgresql()
    facade = place.start_facade(given)
    asking, pid = client(facade.facade_url, place.key), place.facade_pid()
    acknowledged = []
    for _ in range(5):
        status, answer = asking.ask()
        assert status == 200
        acknowledged.append(answer)
    place.kill_postgresql()

    status, problem = asking.ask()
    while status == 200:  # a process of PostgreSQL may outlive the first one for a moment, and commit
        acknowledged.append(problem)
        status, problem = asking.ask()
    assert (status, problem["code"]) == (503, "server_unavailable")

    again = place.start_postgresql()
    assert again.database_url == given.database_url
    for answer in acknowledged:
        assert kept(again.database_url, answer["prediction_id"]) == answer
    await_that(lambda: asking.ask()[0] == 200, 5)
    assert place.facade_pid() == pid
    # It also hears of promotions again.
    place.promote(again.require_database_url(), 2)
    await_that(lambda: asking.ask()[1]["model_version"] == f"{NAME}/2", 5)


def test_an_acknowledged_prediction_survives_kill_9_of_every_facade_process(
    place: Place, client: Callable[[str | None, str], Any], await_that: Callable[[Callable[[], bool], float], None]
) -> None:
    given = place.start_postgresql()
    facade = place.start_facade(given)
    group = place.facade_pid()
    status, answer = client(facade.facade_url, place.key).ask()
    assert len(living(group)) > 1
    os.killpg(group, signal.SIGKILL)
    assert status == 200
    assert kept(given.database_url, answer["prediction_id"]) == answer
    await_that(lambda: not living(group), 5)

    anew = place.start_facade(given)
    status, shown = client(anew.facade_url, place.key).send(
        f"/api/v1/ml/predictions/{answer['prediction_id']}/passport"
    )
    assert status == 200
    assert shown["answer"] == answer


def test_a_facade_worker_that_is_killed_is_replaced(
    place: Place, client: Callable[[str | None, str], Any], await_that: Callable[[Callable[[], bool], float], None]
) -> None:
    facade = place.start_facade(place.start_postgresql())
    asking, group = client(facade.facade_url, place.key), place.facade_pid()
    assert asking.ask()[0] == 200
    workers = [pid for pid in living(group) if pid != group]
    for worker in workers:
        os.kill(worker, signal.SIGKILL)

    def answers() -> bool:
        try:
            return bool(asking.ask()[0] == 200)
        except OSError:
            return False

    await_that(answers, 15)
    assert place.facade_pid() == group
    assert not set(workers) & set(living(group))


def test_a_facade_that_starts_before_its_database_answers_once_that_is_there(
    place: Place, client: Callable[[str | None, str], Any], await_that: Callable[[Callable[[], bool], float], None]
) -> None:
    given = place.start_postgresql()
    place.kill_postgresql()
    facade = place.start_facade(given)
    asking = client(facade.facade_url, place.key)
    assert asking.ask()[0] == 503
    assert asking.send("/health/live") == (200, {"status": "alive"})
    place.start_postgresql()
    await_that(lambda: asking.ask()[0] == 200, 5)
