"""The embedded servers, for real: every test starts them in a folder of its own."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import urllib.request
from functools import partial
from pathlib import Path
from typing import Any

import psycopg
import pytest
from processes import STARTER, await_that, processes_of

import forecastle
from forecastle.embedded import account, postgresql
from forecastle.embedded.account import Account
from forecastle.embedded.servers import addresses, running
from forecastle.errors import ServerError
from forecastle.settings import Settings

POSTGRESQL = ("postgresql",)
NOBODY = 65534
linux_only = pytest.mark.skipif(sys.platform != "linux", reason="Linux ends children with their parent")
root_only = pytest.mark.skipif(os.geteuid() != 0, reason="only root can change to another user")


def only_postgresql(home: Path) -> Any:
    return running(Settings(home=home), POSTGRESQL)


def value(url: str | None, statement: str) -> Any:
    assert url is not None
    with psycopg.connect(url) as connection:
        row = connection.execute(statement).fetchone()
    assert row is not None
    return row[0]


def execute(url: str | None, statement: str) -> None:
    assert url is not None
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(statement)


def postmaster(home: Path) -> int:
    return int(json.loads((home / "run" / "servers.json").read_text())["postgresql"]["pid"])


def start_elsewhere(home: Path, needs: str = "postgresql", **popen: Any) -> subprocess.Popen[str]:
    environment = {"PYTHONPATH": str(Path(forecastle.__file__).parents[1]), "PATH": os.defpath}
    return subprocess.Popen(
        [popen.pop("python", sys.executable), "-c", STARTER, str(home), needs, "database_url"],
        **{"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True, "env": environment, **popen},
    )


def said(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def test_an_empty_folder_becomes_a_server_with_both_databases(home: Path) -> None:
    with only_postgresql(home) as given:
        names = value(given.database_url, "SELECT array_agg(datname::text) FROM pg_database")
        assert {"forecastle", "mlflow"} <= set(names)
        assert value(given.database_url, "SHOW server_encoding") == "UTF8"
        assert value(given.database_url, "SHOW timezone") == "UTC"
        assert value(given.database_url, "SHOW fsync") == "on"
        assert value(given.database_url, "SHOW listen_addresses") == "127.0.0.1"
        locale = "SELECT datlocprovider::text || datlocale FROM pg_database WHERE datname = 'mlflow'"
        assert value(given.database_url, locale) == "bC.UTF-8"
        assert value(given.database_url, "SELECT count(*) FROM pg_stat_activity WHERE usename <> 'forecastle'") == 0


def test_data_and_address_are_there_after_a_restart_and_nothing_is_left_in_between(home: Path) -> None:
    with only_postgresql(home) as first:
        execute(first.database_url, "CREATE TABLE kept AS SELECT 7 AS number")
    assert not processes_of(home)
    assert not (home / "run" / "servers.json").exists()
    with only_postgresql(home) as second:
        assert second.database_url == first.database_url
        assert value(second.database_url, "SELECT number FROM kept") == 7


def test_folders_and_secrets_are_for_the_owner_alone_and_no_command_line_tells_the_password(
    home: Path,
) -> None:
    with only_postgresql(home):
        password = (home / "postgresql" / "password").read_text()
        assert not any(password in command for command in processes_of(home))
        for folder in (home, home / "run", home / "logs", home / "postgresql"):
            assert folder.stat().st_mode & 0o777 == 0o700
        for file in ("run/servers.json", "postgresql/password", "logs/postgresql.log"):
            assert (home / file).stat().st_mode & 0o777 == 0o600


def test_the_mode_of_a_folder_that_was_there_before_stays(home: Path) -> None:
    home.mkdir(parents=True)
    home.chmod(0o755)
    with only_postgresql(home):
        pass
    assert home.stat().st_mode & 0o777 == 0o755


def test_a_wrong_password_is_refused(home: Path) -> None:
    with only_postgresql(home) as given:
        password = (home / "postgresql" / "password").read_text()
        with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
            psycopg.connect(str(given.database_url).replace(password, "wrong"))


def test_an_acknowledged_commit_survives_kill_9_of_the_server(home: Path) -> None:
    with only_postgresql(home) as given:
        execute(given.database_url, "CREATE TABLE kept AS SELECT 7 AS number")
        os.kill(postmaster(home), signal.SIGKILL)
    with only_postgresql(home) as given:
        assert value(given.database_url, "SELECT number FROM kept") == 7


@linux_only
def test_kill_9_of_the_starter_ends_its_servers_and_the_next_start_has_the_data(home: Path) -> None:
    starter = start_elsewhere(home)
    execute(said(starter), "CREATE TABLE kept AS SELECT 7 AS number")
    starter.kill()
    starter.communicate()
    with only_postgresql(home) as given:  # may find the old server on its way out
        assert value(given.database_url, "SELECT number FROM kept") == 7
    await_that(lambda: not processes_of(home))


@linux_only
def test_kill_9_of_the_starter_leaves_no_process(home: Path) -> None:
    starter = start_elsewhere(home)
    said(starter)
    starter.kill()
    starter.communicate()
    await_that(lambda: not processes_of(home), seconds=5)
    assert addresses(Settings(home=home), POSTGRESQL) is None


def test_sigterm_stops_in_order(home: Path) -> None:
    starter = start_elsewhere(home)
    said(starter)
    starter.terminate()
    starter.communicate()
    assert starter.returncode == 128 + signal.SIGTERM
    assert not processes_of(home)
    assert not (home / "run" / "servers.json").exists()


def test_ctrl_c_at_the_terminal_stops_in_order(home: Path) -> None:
    starter = start_elsewhere(home, start_new_session=True, stderr=subprocess.DEVNULL)
    said(starter)
    os.killpg(starter.pid, signal.SIGINT)  # what a terminal does
    starter.communicate()
    assert "received fast shutdown request" in (home / "logs" / "postgresql.log").read_text()
    assert not processes_of(home)
    assert not (home / "run" / "servers.json").exists()


def test_an_exception_in_the_block_stops_the_servers(home: Path) -> None:
    with pytest.raises(ZeroDivisionError), only_postgresql(home):
        _ = 1 / 0
    assert not processes_of(home)


def test_a_closed_terminal_does_not_hinder_start_or_stop(home: Path) -> None:
    def closed(message: str) -> None:
        raise BrokenPipeError(message)

    with running(Settings(home=home), POSTGRESQL, closed) as given:
        assert value(given.database_url, "SELECT 1") == 1
    assert not processes_of(home)


def test_a_pid_file_that_names_a_living_stranger_does_not_stop_the_start(home: Path) -> None:
    with only_postgresql(home):
        pid_file = (home / "postgresql" / "data" / "postmaster.pid").read_text().splitlines()
    with subprocess.Popen(["sleep", "600"]) as stranger:
        lines = "\n".join([str(stranger.pid), *pid_file[1:]])
        (home / "postgresql" / "data" / "postmaster.pid").write_text(lines)
        with only_postgresql(home) as given:
            assert value(given.database_url, "SELECT 1") == 1
        assert stranger.poll() is None
        stranger.kill()


def test_an_initdb_that_was_cut_short_is_made_again(home: Path) -> None:
    half = home / "postgresql" / "data.half"
    half.mkdir(parents=True)
    (half / "PG_VERSION").write_text("18")
    with only_postgresql(home) as given:
        assert value(given.database_url, "SELECT 1") == 1
    assert not half.exists()


def test_with_a_url_given_nothing_starts_and_no_folder_is_made(home: Path) -> None:
    given = Settings(
        home=home,
        database_url="postgresql://a/b",
        redis_url="redis://b",
        artifacts="s3://bucket",
        mlflow_tracking_uri="http://c",
        facade_url="http://d",
    )
    with running(given, ("postgresql", "valkey", "s3", "mlflow", "facade")) as settings:
        assert settings == given
    assert not home.exists()
    assert addresses(given) == given


def test_a_second_process_uses_the_running_servers_and_leaves_them_running(home: Path) -> None:
    starter = start_elsewhere(home)
    url = said(starter)
    with only_postgresql(home) as second:
        assert second.database_url == url
    found = addresses(Settings(home=home), POSTGRESQL)
    assert found is not None
    assert value(found.database_url, "SELECT 1") == 1
    assert addresses(Settings(home=home)) is None  # MLflow does not run
    starter.communicate("")
    assert starter.returncode == 0
    assert addresses(Settings(home=home), POSTGRESQL) is None


def test_two_that_start_at_once_share_one_server(home: Path) -> None:
    starters = [start_elsewhere(home), start_elsewhere(home)]
    urls = {said(starter) for starter in starters}
    assert len(urls) == 1
    for starter in starters:
        starter.communicate("")


def test_a_remembered_port_that_is_taken_is_replaced(home: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as occupied:
        port = occupied.getsockname()[1]
        (home / "run").mkdir(parents=True)
        (home / "run" / "postgresql.port").write_text(str(port))
        with only_postgresql(home) as given:
            assert f":{port}/" not in str(given.database_url)
            assert value(given.database_url, "SELECT 1") == 1


def test_a_port_that_is_taken_at_the_last_moment_is_replaced(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as occupied, socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        ports = iter([occupied.getsockname()[1], probe.getsockname()[1]])
        probe.close()
        monkeypatch.setattr("forecastle.embedded.home.Home.choose_port", lambda self, name, preferred=0: next(ports))
        with only_postgresql(home) as given:
            assert value(given.database_url, "SELECT 1") == 1


def test_a_failed_start_shows_the_end_of_the_log_but_never_the_password(home: Path) -> None:
    with only_postgresql(home):
        password = (home / "postgresql" / "password").read_text()
    with (home / "postgresql" / "data" / "postgresql.conf").open("a") as file:
        file.write(f"\nno_such_setting = '{password}'\n")
    with pytest.raises(ServerError, match="no_such_setting") as caught, only_postgresql(home):
        pass
    assert "or set DATABASE_URL" in str(caught.value)
    assert password not in str(caught.value)


def test_another_major_version_of_the_data_is_refused(home: Path) -> None:
    with only_postgresql(home):
        pass
    (home / "postgresql" / "data" / "PG_VERSION").write_text("17\n")
    with pytest.raises(ServerError, match="made by PostgreSQL 17"), only_postgresql(home):
        pass


def test_a_database_for_mlflow_is_made_where_it_may_be_and_asked_for_where_not(home: Path) -> None:
    with only_postgresql(home) as given:
        assert given.database_url is not None
        assert value(postgresql.ensure_database(given.database_url, "elsewhere"), "SELECT 1") == 1
        execute(given.database_url, "CREATE ROLE weak LOGIN PASSWORD 'weak'")
        weak = f"postgresql://weak:weak@{given.database_url.partition('@')[2]}"
        with pytest.raises(ServerError, match="CREATE DATABASE another"):
            postgresql.ensure_database(weak, "another")


@root_only
@pytest.mark.parametrize("uid", [NOBODY, 54321], ids=["with a name", "without a name"])
def test_an_ordinary_user_starts_it_too(uid: int) -> None:
    python = readable_python(uid)
    folder = Path(tempfile.mkdtemp(prefix="forecastle-test-"))
    try:
        os.chown(folder, uid, uid)
        paths = [Path(forecastle.__file__).parents[1], Path(psycopg.__file__).parents[1]]
        environment = {"PYTHONPATH": os.pathsep.join(map(str, paths)), "PATH": os.defpath}
        other: dict[str, Any] = {"python": python, "user": uid, "group": uid, "extra_groups": [], "cwd": "/"}
        starter = start_elsewhere(folder / "home", env=environment, **other)
        assert value(said(starter), "SELECT 1") == 1
        assert (folder / "home" / "postgresql" / "data").stat().st_uid == uid
        starter.communicate("")
        assert starter.returncode == 0
        assert not processes_of(folder)
    finally:
        shutil.rmtree(folder)


def readable_python(uid: int) -> str:
    """An interpreter of our version that the user can run with our packages, or the test is skipped."""
    probe = f"import sys; sys.path.insert(0, {str(Path(psycopg.__file__).parents[1])!r}); import psycopg"
    name = f"python3.{sys.version_info.minor}"
    for python in filter(None, (sys.executable, shutil.which(name, path="/usr/local/bin:/usr/bin"))):
        try:
            subprocess.run([python, "-c", probe], user=uid, group=uid, cwd="/", env={}, check=True)
        except (OSError, subprocess.CalledProcessError):
            continue
        return python
    pytest.skip("no interpreter and packages that an ordinary user can read")


@root_only
def test_root_without_namespaces_hands_over_to_nobody_and_takes_back(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with only_postgresql(home) as given:
        execute(given.database_url, "CREATE TABLE kept AS SELECT 7 AS number")
    with monkeypatch.context() as patch:
        patch.setattr(postgresql, "choose_account", partial(account.choose_account, namespaces=False))
        with only_postgresql(home) as given:
            assert value(given.database_url, "SELECT number FROM kept") == 7
            assert (home / "postgresql" / "data").stat().st_uid == NOBODY
            assert Path(f"/proc/{postmaster(home)}").stat().st_uid == NOBODY
    with only_postgresql(home) as given:
        assert value(given.database_url, "SELECT number FROM kept") == 7
        assert (home / "postgresql" / "data").stat().st_uid == 0


@root_only
def test_nobody_starts_in_an_empty_home_with_programs_it_cannot_reach(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgresql, "choose_account", partial(account.choose_account, namespaces=False))
    monkeypatch.setattr(Account, "can_run", lambda self, *command: command[0] == "/bin/sh")
    with only_postgresql(home) as given:
        assert value(given.database_url, "SELECT 1") == 1
        copy = Path(os.readlink(f"/proc/{postmaster(home)}/exe")).parents[3]
        assert copy.name.startswith("forecastle-postgresql-")
        execute(given.database_url, "CREATE TABLE kept AS SELECT 7 AS number")
        os.kill(postmaster(home), signal.SIGKILL)
    assert not copy.exists()
    with only_postgresql(home) as given:
        assert value(given.database_url, "SELECT number FROM kept") == 7


def rest(address: str | None, path: str, body: Any = None, method: str | None = None, host: str = "") -> bytes:
    data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
    request = urllib.request.Request(f"{address}{path}", data=data, method=method)
    request.add_header("Content-Type", "application/json")
    if host:
        request.add_header("Host", host)
    with urllib.request.urlopen(request, timeout=30) as answer:
        content: bytes = answer.read()
    return content


def test_mlflow_keeps_an_experiment_and_a_file_and_leaves_nothing_behind(home: Path) -> None:
    reported: list[str] = []
    with running(Settings(home=home), on_progress=reported.append) as given:
        uri = given.mlflow_tracking_uri
        assert rest(uri, "/health") == b"OK"
        assert rest(uri, "/version", host=f"localhost:{str(uri).rpartition(':')[2]}") == b"3.17.2"
        made = json.loads(rest(uri, "/api/2.0/mlflow/experiments/create", {"name": "delivery.effort"}))
        assert made["experiment_id"]
        rest(uri, "/api/2.0/mlflow-artifacts/artifacts/a/file.txt", b"whole", "PUT")
        assert (home / "s3" / "data" / "forecastle" / "mlflow" / "a" / "file.txt").read_bytes() == b"whole"
        store = str(given.database_url).rpartition("/")[0] + "/mlflow"
        assert value(store, "SELECT count(*) FROM experiments WHERE name = 'delivery.effort'") == 1
        password = (home / "postgresql" / "password").read_text()
        assert not any(password in command for command in processes_of(home))
        assert addresses(Settings(home=home)) == given
    assert not processes_of(home)
    assert not (home / "run" / "servers.json").exists()
    assert reported[:3] == ["starting postgresql", "starting s3", "starting mlflow"]
    assert password not in (home / "logs" / "mlflow.log").read_text()
