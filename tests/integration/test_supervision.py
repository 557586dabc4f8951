"""`forecastle up` keeps servers running, for real: every server here is killed, silenced or broken."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import psycopg
import pytest
import redis
from supervised import Await, Place

from forecastle.embedded.home import Home
from forecastle.settings import Settings
from forecastle.store.objects import Objects

THREE = ("postgresql", "valkey", "s3")
linux_only = pytest.mark.skipif(sys.platform != "linux", reason="Linux ends children with their parent")

# Keeps Valkey running, with little patience for one that does not answer.
IMPATIENT = """
import sys
from pathlib import Path
from forecastle.embedded.servers import terminating_raises
from forecastle.embedded.supervisor import Patience, supervising
from forecastle.settings import Settings
say = lambda message: print(message, file=sys.stderr, flush=True)
patience = Patience(probe_seconds=0.2, silent_seconds=1)
with terminating_raises(0), supervising(Settings(home=Path(sys.argv[1])), ("valkey",), say, patience) as supervisor:
    supervisor.start(("valkey",))
    say("ready")
    supervisor.watch()
"""
# A command that needs Valkey only for itself.
BRIEF = """
import sys
from pathlib import Path
from forecastle.embedded.servers import running
from forecastle.settings import Settings
with running(Settings(home=Path(sys.argv[1])), ("valkey",)) as given:
    print(given.redis_url, flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    """An empty home in which nothing may run when the test is over."""
    place = Place(tmp_path / "a home")
    yield place
    deadline = time.monotonic() + 10
    while place.processes() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not place.processes()


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """PostgreSQL, Valkey and S3, kept running while this module's tests kill them."""
    place = Place(tmp_path_factory.mktemp("kept") / "home")
    with place.up("--only", ",".join(THREE)):
        yield place


def write_and_read(name: str, settings: Settings) -> tuple[Callable[[], None], Callable[[], bool]]:
    """What leaves something with a server, and what looks whether it is there."""
    if name == "postgresql":
        url = settings.require_database_url()

        def execute(statement: Any) -> Any:
            with psycopg.connect(url, autocommit=True) as connection:
                return connection.execute(statement)

        return (
            lambda: execute("create table kept as select 7 as number") and None,
            lambda: psycopg.connect(url).execute("select number from kept").fetchone() == (7,),
        )
    if name == "valkey":
        client = redis.Redis.from_url(settings.require_redis_url())
        return lambda: client.set("kept", "7") and None, lambda: client.get("kept") == b"7"
    objects = Objects.of(settings)
    return lambda: objects.put("kept", b"7"), lambda: objects.get("kept") == b"7"


@pytest.mark.parametrize("name", THREE)
def test_a_server_that_is_killed_is_back_with_data_and_address(kept: Place, name: str, await_that: Await) -> None:
    before = kept.settings(name)
    assert before is not None
    write, is_there = write_and_read(name, before)
    write()
    seconds = kept.kill(name, await_that)
    print(f"{name} answers {seconds:.2f} s after kill -9")
    assert kept.settings(name) == before
    assert is_there()
    condition = {one["name"]: one for one in json.loads(kept.run("status", "--json").stdout)["servers"]}[name]
    assert (condition["state"], condition["restarts"]) == ("running", 1)


def test_all_killed_at_once_are_back(kept: Place, await_that: Await) -> None:
    before = kept.settings(*THREE)
    pids = {kept.send(name, signal.SIGKILL) for name in THREE}

    def are_back() -> bool:
        return not {kept.pid(name) for name in THREE} & pids and kept.settings(*THREE) == before

    await_that(are_back, 20)
    await_that(lambda: kept.run("status").returncode == 0, 10)


def test_a_second_supervisor_is_refused_with_the_process_of_the_first(kept: Place) -> None:
    pid = json.loads((kept.home / "run" / "supervisor.json").read_text())["pid"]
    for arguments in (("up",), ("up", "--detach")):
        refused = kept.run(*arguments)
        assert refused.returncode == 1
        assert f"runs already in {kept.home} (process {pid})" in refused.stderr
        assert "forecastle down" in refused.stderr


def test_a_damaged_state_file_is_written_again(kept: Place, await_that: Await) -> None:
    file = kept.home / "run" / "supervisor.json"
    file.write_text("{")
    assert kept.run("up").returncode == 1  # the lock says so, not the file
    await_that(lambda: file.read_text() != "{", 10)
    assert kept.run("status").returncode == 0


def test_commands_use_what_is_kept_running(kept: Place) -> None:
    told = kept.run("storage", "test")
    assert (told.returncode, told.stderr) == (0, "")


def test_no_password_is_shown(kept: Place) -> None:
    shown = kept.run("status").stdout + kept.run("status", "--json").stdout + kept.run("doctor").stdout
    secrets = ("postgresql/password", "valkey/password", "s3/keys")
    for secret in (part for name in secrets for part in (kept.home / name).read_text().split(":")):
        assert secret not in shown
        assert secret not in kept.run("logs", "--lines", "1000").stdout


def test_detached_servers_run_until_down(place: Place) -> None:
    assert place.run("status").returncode == 1
    started = place.run("up", "--detach", "--only", "valkey", "--only", "s3")
    assert started.returncode == 0, started.stderr
    assert "ready, in the background as process" in started.stderr
    shown = place.run("status")
    assert shown.returncode == 0
    assert "stopped, not wanted" in shown.stdout
    document = json.loads(place.run("status", "--json").stdout)
    states = {one["name"]: one["state"] for one in document["servers"]}
    assert states == {
        **dict.fromkeys(("postgresql", "mlflow", "facade", "worker", "beat"), "stopped"),
        **dict.fromkeys(("valkey", "s3"), "running"),
    }
    assert all(one["memory_bytes"] > 1e6 for one in document["servers"] if one["state"] == "running")
    logs = place.run("logs", "--lines", "3")
    assert "valkey | " in logs.stdout
    assert "supervisor | ready" in logs.stdout
    stopped = place.run("down")
    assert stopped.returncode == 0
    assert f"stopped process {document['supervisor']}, which kept running: s3, valkey" in stopped.stderr
    assert not place.processes()
    again = place.run("down")
    assert (again.returncode, again.stderr.split(":")[0]) == (0, "nothing to stop")


def test_what_cannot_start_in_the_background_is_told(place: Place) -> None:
    break_valkey(place)
    ended = place.run("up", "--detach", "--only", "valkey")
    assert ended.returncode == 1
    assert "valkey ended with code 1" in ended.stderr
    assert "Traceback" not in ended.stderr


def break_valkey(place: Place) -> None:
    """Data that neither the server nor its checker can read."""
    folder = place.home / "valkey" / "appendonlydir"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "appendonly.aof.manifest").write_text("no manifest\n")


def test_a_server_that_never_starts_again_stops_the_rest_with_a_sentence(place: Place) -> None:
    with place.up("--only", "valkey,s3") as supervisor:
        break_valkey(place)
        place.send("valkey", signal.SIGKILL)
        assert supervisor.wait(60) == 1
    assert "starting it again did not help 5 times" in place.said()
    assert str(place.home / "logs" / "valkey.log") in place.said()
    assert "stopping s3" in place.said()
    assert "Traceback" not in place.said()
    assert place.run("status").returncode == 1


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_all_in_reverse_order(place: Place, number: signal.Signals) -> None:
    with place.up("--only", ",".join(THREE)) as supervisor:
        supervisor.send_signal(number)
        assert supervisor.wait(30) == 0
    stops = [line for line in place.said().splitlines() if line.startswith("stopping ")]
    assert stops == ["stopping s3", "stopping valkey", "stopping postgresql"]
    assert not place.processes()
    assert not (place.home / "run" / "supervisor.json").exists()


@pytest.mark.parametrize("pause", [0, 0.1, 0.3, 0.6])
def test_sigterm_during_the_start_stops_all(place: Place, pause: float, await_that: Await) -> None:
    supervisor = place.begin(sys.executable, "-m", "cli.main", "up", "--only", ",".join(THREE))
    await_that(lambda: "starting postgresql" in place.said(), 20)
    time.sleep(pause)
    supervisor.terminate()
    assert supervisor.wait(30) == 0, place.said()
    await_that(lambda: not place.processes(), 5)


@linux_only
def test_kill_9_of_the_supervisor_leaves_nothing_and_the_next_one_has_the_data(place: Place, await_that: Await) -> None:
    with place.up("--only", ",".join(THREE)) as supervisor:
        before = place.settings(*THREE)
        assert before is not None
        pairs = [write_and_read(name, before) for name in THREE]
        for write, _ in pairs:
            write()
        supervisor.kill()
        supervisor.wait()
        began = time.monotonic()
        await_that(lambda: not place.processes(), 10)
        print(f"nothing is left {time.monotonic() - began:.2f} s after kill -9 of the supervisor")
    told = place.run("down")
    assert (told.returncode, told.stderr.split(":")[0]) == (0, "nothing to stop")
    assert "stale" in place.run("doctor").stdout
    with place.up("--only", ",".join(THREE)):
        assert place.settings(*THREE) == before
        assert all(is_there() for _, is_there in pairs)


def test_a_port_that_was_taken_meanwhile_is_replaced(place: Place) -> None:
    with place.up("--only", "valkey"):
        before = place.settings("valkey")
    assert before is not None
    port = int((place.home / "run" / "valkey.port").read_text())
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        taken.bind(("127.0.0.1", port))
        taken.listen()
        with place.up("--only", "valkey"):
            after = place.settings("valkey")
            assert after is not None
            assert f":{port}/" in str(before.redis_url)
            assert f":{port}/" not in str(after.redis_url)


def test_files_of_processes_that_are_gone_do_no_harm(place: Place) -> None:
    (place.home / "run").mkdir(parents=True)
    stale = {"pid": os.getpid(), "started": "1", "is_ready": True, "servers": {}}
    (place.home / "run" / "supervisor.json").write_text(json.dumps(stale))
    gone = {"address": "redis://:x@127.0.0.1:1/0", "pid": 1, "started": "x", "owner": 1, "owner_started": "x"}
    (place.home / "run" / "servers.json").write_text(json.dumps({"valkey": gone}))
    assert place.run("down").returncode == 0
    with place.up("--only", "valkey"):
        assert place.run("status").returncode == 0


@pytest.mark.parametrize("content", ["", "{", '{"valkey": 1}', "[]"])
def test_a_damaged_list_of_servers_is_a_sentence(place: Place, content: str) -> None:
    (place.home / "run").mkdir(parents=True)
    (place.home / "run" / "servers.json").write_text(content)
    for command in (("up", "--only", "valkey"), ("status",)):
        refused = place.run(*command)
        assert refused.returncode == 1
        assert "servers.json cannot be read: stop Forecastle, remove the file and start again" in refused.stderr
        assert "Traceback" not in refused.stderr
    assert place.run("doctor").returncode == 1


@pytest.mark.parametrize("content", [b"", b"\xff\xfe\x00", b"no number\n", b"99999999\n"])
def test_broken_files_of_processes_and_ports_do_not_hinder_the_start(place: Place, content: bytes) -> None:
    assert place.run("projects").returncode == 0
    for file in ("postgresql/data/postmaster.pid", "run/postgresql.port", "run/supervisor.json"):
        (place.home / file).write_bytes(content)
    listed = place.run("projects")
    assert (listed.returncode, "Traceback" in listed.stderr) == (0, False), listed.stderr


def test_a_taken_port_of_the_facade_is_told_with_the_one_it_has_instead(place: Place) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        asked = replace(place, variables={"FORECASTLE_HTTP_PORT": str(port)})
        with asked.up("--only", "facade"):
            given = asked.settings("postgresql", "s3", "facade")
            assert given is not None
            assert f":{port}" not in str(given.facade_url)
            has = str(given.facade_url).rpartition(":")[2]
            assert f"port {port} is taken by another program: facade listens on {has}" in asked.said()


def test_a_server_that_falls_silent_is_started_again(place: Place, await_that: Await) -> None:
    with place.up(command=(sys.executable, "-c", IMPATIENT, str(place.home))):
        before = place.send("valkey", signal.SIGSTOP)
        await_that(lambda: place.pid("valkey") != before and place.settings("valkey") is not None, 20)
        assert "valkey did not answer for " in place.said()


def test_a_server_of_another_command_is_used_and_taken_over_when_that_ends(place: Place, await_that: Await) -> None:
    command = [sys.executable, "-c", BRIEF, str(place.home)]
    with subprocess.Popen(
        command, env=place.environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as brief:
        assert brief.stdout is not None
        address = brief.stdout.readline().strip()
        with place.up("--only", "valkey"):
            assert Home(place.home).records()["valkey"].owner == brief.pid
            brief.communicate()  # its end of input
            await_that(lambda: place.settings("valkey") is not None, 20)
            after = place.settings("valkey")
            assert after is not None
            assert after.redis_url == address
    assert "valkey ended with the process that had started it" in place.said()


def test_logs_are_shown_with_the_name_of_their_server_only_when_asked_for(place: Place) -> None:
    with place.up("--only", "valkey"):
        pass
    assert "valkey |" not in place.said()
    with place.up("--only", "valkey", "--verbose"):
        pass
    assert "valkey | " in place.said()


def test_a_server_that_does_not_exist_is_told(place: Place) -> None:
    for arguments in (("up", "--only", "oracle"), ("logs", "oracle")):
        refused = place.run(*arguments)
        assert refused.returncode == 2
        assert "there is no server oracle; there are postgresql, valkey, s3" in refused.stderr


@pytest.mark.slow
def test_a_terminal_that_is_closed_leaves_nothing(place: Place, await_that: Await) -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)  # nohup ignores it, and children inherit that
    try:
        with place.up() as supervisor:
            supervisor.send_signal(signal.SIGHUP)
            supervisor.wait(30)
    finally:
        signal.signal(signal.SIGHUP, before)
    await_that(lambda: not place.processes(), 20)
