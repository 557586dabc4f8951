"""A disk that is really full: a sentence that says what to do, nothing acknowledged is lost, and room mends it all."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, LiteralString

import psycopg
import pytest
import redis
from psycopg.sql import SQL, Identifier
from small_disk import SmallDisk, small_disk
from supervised import Await, Place
from versions import MODEL_TYPE, Aliases, make_version

from forecastle.access.principals import Principal, Role, add_user
from forecastle.embedded import s3_server
from forecastle.embedded.home import Home
from forecastle.errors import ServerError
from forecastle.generator.issues import Portfolio, generate_issues
from forecastle.registry.promotions import Promoter
from forecastle.settings import Settings
from forecastle.store.database import Database
from forecastle.store.issues import import_issues
from forecastle.store.objects import Objects

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="Linux has namespaces")

SERVERS = ("postgresql", "valkey", "s3", "facade")
MEGABYTES = 220
ISSUES = 180  # three projects of 60


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SmallDisk]:
    with small_disk(tmp_path / "small", MEGABYTES) as made:
        yield made


@pytest.fixture
def place(disk: SmallDisk) -> Iterator[Place]:
    """An empty home on the small disk, in which nothing may run when the test is over."""
    place = Place(disk.folder / "home", disk.folder.with_name("said"), disk.prefix)
    yield place
    assert not place.processes()


def addresses_of(home: Path) -> Settings:
    """The addresses of the servers that run there; read without its name, which means another folder out here."""
    records = Home(home).records()
    settings = Settings(
        database_url=records["postgresql"].address,
        redis_url=records["valkey"].address,
        facade_url=records["facade"].address,
    )
    return s3_server.fill(settings, records["s3"].address)


def stock(settings: Settings) -> str:
    """Issues, a version in production, and the key of somebody who may ask."""
    with Database(settings.require_database_url(), 2) as database:
        with database.transaction() as connection:
            import_issues(connection, list(generate_issues(Portfolio(issues=60))))
            key = add_user(connection, "max", Role.ADMIN)
        aliases = Aliases({1: make_version(1, 60)})
        promoter = Promoter(database, Objects.of(settings), aliases, lambda name, found: None)
        promoter.promote(MODEL_TYPE.name, 1, Principal("rita", Role.REVIEWER), "tested")
    return key


def break_the_journal(settings: Settings) -> None:
    """Write what takes a new file of PostgreSQL's journal, and so ends the server."""
    with psycopg.connect(settings.require_database_url(), autocommit=True) as connection:
        for _ in range(40):
            connection.execute("select pg_logical_emit_message(true, 'test', repeat('x', 1000000))")


def count(settings: Settings, table: LiteralString) -> int:
    with psycopg.connect(settings.require_database_url()) as connection:
        row = connection.execute(SQL("select count(*) from {}").format(Identifier(table))).fetchone()
    assert row is not None
    return int(row[0])


def import_file(place: Place, file: Path) -> subprocess.CompletedProcess[str]:
    columns = ("key", "title", "description", "issue_type", "story_points")
    mapping = [word for name in columns for word in ("--map", f"{name}={name}")]
    return place.run("import", "issues", str(file), *mapping)


@pytest.mark.slow
def test_a_full_disk_is_told_everywhere_loses_nothing_and_room_mends_it_without_a_restart(
    disk: SmallDisk, place: Place, tmp_path: Path, client: Callable[[str | None, str], Any], await_that: Await
) -> None:
    file = tmp_path / "issues.csv"
    assert place.run("generate", "issues", str(file), "--issues", "1000").returncode == 0
    with place.up("--only", ",".join(SERVERS)) as supervisor:
        settings = addresses_of(disk.seen / "home")
        facade = client(settings.facade_url, stock(settings))
        await_that(lambda: facade.ask()[0] == 200, 10)
        before = count(settings, "predictions")
        disk.fill()

        acknowledged = 0
        while (asked := facade.ask())[0] == 200:
            acknowledged += 1
        assert (asked[0], asked[1]["code"]) == (503, "server_unavailable")
        assert "is full: make room there" in (disk.seen / "home" / "logs" / "facade.log").read_text()
        with pytest.raises(ServerError, match="look at its log and at the room on its disk"):
            Objects.of(settings).put("kept", b"x" * 100_000)
        refused = import_file(place, file)
        assert refused.returncode == 1
        assert "is full: make room there, and try again; nothing was kept" in refused.stderr
        assert "Traceback" not in refused.stderr

        broker, pushed = redis.Redis.from_url(settings.require_redis_url()), 0
        with suppress(redis.RedisError):
            while broker.rpush("kept", b"x" * 1000):
                pushed += 1
        await_that(lambda: "valkey waits: " in place.said(), 20)
        with pytest.raises(psycopg.OperationalError):
            break_the_journal(settings)
        await_that(lambda: "postgresql waits: " in place.said(), 20)
        assert f"the disk of {place.home} is full" in place.said()
        time.sleep(8)  # five restarts would have been over, and the supervisor with them
        assert supervisor.poll() is None
        assert place.said().count("waits: ") == 2
        assert facade.ask()[0] == 503
        looked = place.run("doctor")
        assert looked.returncode == 1
        assert f"0.0 GB free at {place.home}; next: make room" in looked.stdout

        disk.free()
        await_that(lambda: facade.ask()[0] == 200, 20)
        assert supervisor.poll() is None
        assert before + acknowledged <= count(settings, "predictions")
        assert count(settings, "issues") == ISSUES
        await_that(lambda: "valkey answers again" in place.said(), 20)
        assert pushed <= broker.llen("kept")
        Objects.of(settings).put("kept", b"x" * 100_000)
        assert import_file(place, file).returncode == 0


def test_nothing_starts_on_a_full_disk_and_the_sentence_says_where_room_is_needed(
    disk: SmallDisk, place: Place
) -> None:
    disk.fill()
    for command in (("up", "--only", "postgresql"), ("projects",)):
        refused = place.run(*command)
        assert refused.returncode == 1
        assert f"the disk of {place.home} is full" in refused.stderr
        assert "make room, or set FORECASTLE_HOME to a folder on another disk" in refused.stderr
        assert "Traceback" not in refused.stderr
    disk.free()
    assert place.run("projects").returncode == 0
