"""`forecastle doctor`: each check by itself, and the whole against real servers."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Callable
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

import pytest

from cli import checks
from cli.checks import Finding, Verdict
from forecastle.access.principals import Role, add_user
from forecastle.embedded.status import Status
from forecastle.errors import ConfigurationError
from forecastle.settings import Settings
from forecastle.store import broker
from forecastle.store.database import Database

OK, WARN, FAIL = Verdict.OK, Verdict.WARN, Verdict.FAIL
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(run_with: Run) -> Run:
    """Runs `forecastle doctor`."""
    return lambda settings, *options: run_with(settings, "doctor", *options)


def found(run: Run, settings: Settings) -> tuple[int, dict[str, dict[str, str]]]:
    code, out, err = run(settings, "--json")
    assert err == ""
    document = json.loads(out)
    assert document["ok"] is (code == 0)
    return code, {finding["name"]: finding for finding in document["findings"]}


RUNS = Status("valkey", "running", True, 7, "redis://127.0.0.1:1/0")


@pytest.mark.parametrize(
    "finding, verdict, words",
    [
        (checks.python((3, 11)), OK, "3.11"),
        (checks.python((3, 10)), FAIL, "make PYTHON="),
        (checks.python((3, 14)), FAIL, "make PYTHON="),
        (checks.disk("/data", 10_000_000_000), OK, "10.0 GB free at /data"),
        (checks.disk("/data", 4_000_000_000), WARN, "make room"),
        (checks.disk("/data", 400_000_000), FAIL, "make room"),
        (checks.home("/data", 0o40700, True), OK, "/data"),
        (checks.home("/data", None, True), OK, "will be made"),
        (checks.home("/data", 0o40777, True), WARN, "chmod go-w '/data'"),
        (checks.home("/data", 0o40700, False), FAIL, "FORECASTLE_HOME"),
        (checks.port(0, False, False), OK, "any"),
        (checks.port(8700, True, False), OK, "free"),
        (checks.port(8700, False, True), OK, "façade's"),
        (checks.port(8700, False, False), WARN, "FORECASTLE_HTTP_PORT"),
        (checks.server(RUNS, True, "REDIS_URL"), OK, "redis://127.0.0.1:1/0"),
        (checks.server(replace(RUNS, state="not answering"), False, "REDIS_URL"), FAIL, "forecastle logs valkey"),
        (checks.server(replace(RUNS, state="stopped"), False, "REDIS_URL"), WARN, "forecastle up"),
        (checks.server(replace(RUNS, state="stopped", is_wanted=False), False, "REDIS_URL"), OK, "told not to"),
        (checks.server(replace(RUNS, state="given by URL"), False, "REDIS_URL"), FAIL, "unset REDIS_URL"),
        (checks.postgresql_version(180004), OK, "18.4"),
        (checks.postgresql_version(140000), OK, "14.0"),
        (checks.postgresql_version(130012), FAIL, "PostgreSQL 14 or newer"),
        (checks.mlflow_version("3.17.2", "3.17.2"), OK, "3.17.2"),
        (checks.mlflow_version("3.18.0", "3.17.2"), FAIL, "install mlflow==3.17.2"),
        (checks.mlflow_version(None, "3.17.2"), WARN, "does not tell"),
        (checks.clock(2.0), OK, "2.0 s ahead"),
        (checks.clock(-2.1), FAIL, "2.1 s behind"),
        (checks.users(0), WARN, "forecastle users add"),
        (checks.users(2), OK, "2 known"),
        (checks.migrations("lacks some; run `forecastle migrate`"), FAIL, "forecastle migrate"),
        (checks.migrations("is away"), FAIL, "forecastle logs postgresql"),
        (checks.storage("no bucket"), FAIL, "forecastle storage test"),
        (checks.broker("refused"), FAIL, "REDIS_URL"),
        (checks.leftovers(["a", "b"]), WARN, "a, b"),
        (checks.leftovers([]), OK, "none"),
    ],
)
def test_a_check_says_what_is_so_and_what_to_type(finding: Finding, verdict: Verdict, words: str) -> None:
    assert finding.verdict == verdict
    assert words in f"{finding.found} {finding.advice}"
    assert bool(finding.advice) == (verdict != OK)


def test_nothing_is_started_and_a_machine_where_nothing_runs_is_well(run: Run, tmp_path: Path) -> None:
    code, out, err = run(Settings(http_port=0))
    assert (code, err) == (0, "")
    assert not (tmp_path / "home").exists()
    assert out.count("forecastle up --detach") == 7
    assert {line.split()[0] for line in out.splitlines()} == {"ok", "warn"}


def test_servers_of_this_home_are_asked(run: Run, servers: Settings) -> None:
    own = Settings(home=servers.home, http_port=0, artifacts=servers.artifacts)
    storage = {
        name: getattr(servers, name)
        for name in ("s3_endpoint_url", "aws_access_key_id", "aws_secret_access_key", "aws_region")
    }
    code, findings = found(run, replace(own, **storage))
    assert code == 1  # nobody has migrated the database of this run's server
    assert findings["migrations"]["verdict"] == FAIL
    assert findings["postgresql"]["verdict"] == OK
    assert findings["mlflow version"]["found"] == version("mlflow")
    assert findings["storage"]["verdict"] == OK


def test_servers_that_are_given_are_asked(run: Run, database_url: str, own_storage: Settings) -> None:
    settings = replace(own_storage, home=Path(".forecastle"), database_url=database_url, http_port=0)
    code, findings = found(run, settings)
    assert code == 0, findings
    assert findings["postgresql"]["found"].startswith("given by URL at postgresql://127.0.0.1:")
    assert findings["clock"]["verdict"] == findings["migrations"]["verdict"] == OK
    assert findings["users"]["verdict"] == WARN
    with Database(database_url) as database, database.transaction() as connection:
        add_user(connection, "ada", Role.ADMIN)
    assert found(run, settings)[1]["users"]["verdict"] == OK


@pytest.mark.parametrize(
    "changed, name",
    [
        ({"database_url": "postgresql://u:s3cr3t@127.0.0.1:1/x"}, "postgresql"),
        ({"redis_url": "redis://:s3cr3t@127.0.0.1:1/0"}, "broker"),
        ({"mlflow_tracking_uri": "http://u:s3cr3t@127.0.0.1:1"}, "mlflow"),
        ({"facade_url": "http://127.0.0.1:1"}, "facade"),
        (
            {
                "artifacts": "s3://bucket",
                "s3_endpoint_url": "http://127.0.0.1:1",
                "aws_access_key_id": "key",
                "aws_secret_access_key": "s3cr3t",
            },
            "storage",
        ),
    ],
)
def test_a_given_server_that_does_not_answer_fails_and_no_secret_is_told(
    run: Run, changed: dict[str, str], name: str
) -> None:
    settings = Settings(http_port=0, **changed)
    code, findings = found(run, settings)
    assert code == 1
    assert [finding["name"] for finding in findings.values() if finding["verdict"] == FAIL] == [name]
    assert findings[name]["advice"]
    assert "s3cr3t" not in run(settings)[1]


def test_a_port_that_is_taken_and_a_home_that_is_no_folder_are_told(run: Run, tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        code, findings = found(run, Settings(http_port=taken.getsockname()[1]))
    assert (code, findings["port"]["verdict"]) == (0, WARN)
    file = tmp_path / "file"
    file.touch()
    code, findings = found(run, Settings(home=file / "home", http_port=0))
    assert (code, findings["home"]["verdict"]) == (1, FAIL)


def test_stale_files_are_named(run: Run, tmp_path: Path) -> None:
    (tmp_path / "home" / "run").mkdir(parents=True)
    (tmp_path / "home" / "run" / "supervisor.json").write_text("{")
    gone = {"address": "redis://:x@127.0.0.1:1/0", "pid": os.getpid(), "started": "x", "owner": 1, "owner_started": "x"}
    (tmp_path / "home" / "run" / "servers.json").write_text(json.dumps({"valkey": gone}))
    code, findings = found(run, Settings(http_port=0))
    assert code == 0
    assert findings["pid files"]["found"] == "stale: run/servers.json (valkey), run/supervisor.json"
    (tmp_path / "home" / "run" / "servers.json").write_text("{")
    code, findings = found(run, Settings(http_port=0))
    assert (code, findings["servers"]["verdict"]) == (1, FAIL)


def test_a_broker_that_takes_connections_and_says_nothing_is_told() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as silent,
        pytest.raises(ConfigurationError, match="does not answer"),
    ):
        broker.ping(f"redis://127.0.0.1:{silent.getsockname()[1]}/0")
