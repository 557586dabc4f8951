"""Every command of docker-compose.yml, run natively against real servers; only addresses are replaced."""

from __future__ import annotations

import os
import re
import secrets
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from forecastle.embedded.servers import running as serving
from forecastle.settings import Settings
from forecastle.store.database import Database, temporary_database, with_database
from forecastle.store.migrate import require_current
from projects import ROOT

Await = Callable[[Callable[[], bool], float], None]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())


def command_of(service: str) -> list[str]:
    """The service's own command, or that of the image."""
    told = COMPOSE["services"][service].get("command")
    if told is None:
        text = (ROOT / "Dockerfile").read_text().replace("\\\n", " ")
        told = re.findall(r'"([^"]+)"', re.search(r"^CMD \[(.+)\]", text, re.MULTILINE)[1])  # type: ignore[index]
    return [sys.executable if word == "python" else word for word in told]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def environment(settings: Settings, home: Path, **more: str) -> dict[str, str]:
    names = set(COMPOSE["x-forecastle"]["environment"])
    handed = {name: value for name, value in settings.as_environment().items() if name in names}
    folder = str(Path(sys.executable).parent)
    return {
        "PATH": f"{folder}{os.pathsep}{os.defpath}",
        **handed,
        "HOME": str(home),
        "FORECASTLE_HOME": str(home),
        **more,
    }


@contextmanager
def running(words: Sequence[str], variables: Mapping[str, str], log: Path) -> Iterator[None]:
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*words], env=dict(variables), cwd=ROOT, stdout=output, stderr=output, start_new_session=True
        )
    try:
        yield
    finally:
        process.terminate()
        process.wait(timeout=30)


def answers(url: str, host: str | None = None) -> bool:
    headers = {"Host": host} if host else {}
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=5) as response:
            return bool(response.status == 200)
    except OSError:
        return False


@pytest.fixture
def empty(postgresql: Settings) -> Iterator[str]:
    """URL of a database without any table."""
    with temporary_database(postgresql.require_database_url(), f"compose_{secrets.token_hex(6)}") as url:
        yield url


def test_migrate_brings_an_empty_database_up_to_date(postgresql: Settings, empty: str, tmp_path: Path) -> None:
    variables = environment(postgresql, tmp_path, DATABASE_URL=empty)
    ran = subprocess.run(command_of("migrate"), env=variables, cwd=ROOT, capture_output=True, text=True, check=True)
    assert "applied 0001 foundation" in ran.stdout
    with Database(empty) as database:
        require_current(database)


def test_the_facade_answers(own_storage: Settings, database_url: str, tmp_path: Path, await_that: Await) -> None:
    port = free_port()
    words = [str(port) if word == "8700" else word for word in command_of("facade")]
    words = ["127.0.0.1" if word == "0.0.0.0" else word for word in words]
    variables = environment(own_storage, tmp_path, DATABASE_URL=database_url)
    with running(words, variables, tmp_path / "facade.log"):
        await_that(lambda: answers(f"http://127.0.0.1:{port}/health/live"), 30)


def test_mlflow_answers_by_the_name_of_its_service_and_by_no_other(
    own_storage: Settings, empty: str, tmp_path: Path, await_that: Await
) -> None:
    port = free_port()
    words = [re.sub(r"\b5000\b", str(port), word).replace("0.0.0.0", "127.0.0.1") for word in command_of("mlflow")]
    store = with_database(empty, empty.rsplit("/", 1)[1]).replace("postgresql://", "postgresql+psycopg://")
    more = {"MLFLOW_BACKEND_STORE_URI": store, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    url = f"http://127.0.0.1:{port}/api/2.0/mlflow/experiments/get?experiment_id=0"
    with running(words, environment(own_storage, tmp_path, **more), tmp_path / "mlflow.log"):
        await_that(lambda: answers(url, f"mlflow:{port}"), 120)
        assert answers(url, f"localhost:{port}")
        assert not answers(url, "elsewhere.example:80")


@pytest.mark.parametrize("service", ["worker", "beat"])
def test_worker_and_beat_say_that_they_are_well(
    service: str, own_storage: Settings, servers: Settings, database_url: str, tmp_path: Path, await_that: Await
) -> None:
    alive = tmp_path / "alive"
    words = [str(alive) if word == "/tmp/alive" else word for word in command_of(service)]
    with serving(Settings(home=tmp_path / "broker"), ("valkey",)) as broker:
        assert broker.redis_url is not None
        tracking = {"MLFLOW_TRACKING_URI": servers.require_tracking_uri()}
        variables = environment(
            own_storage, tmp_path, DATABASE_URL=database_url, REDIS_URL=broker.redis_url, **tracking
        )
        with running(words, variables, tmp_path / f"{service}.log"):
            await_that(alive.exists, 60)
