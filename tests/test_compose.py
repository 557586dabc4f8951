"""docker-compose.yml, checked without an engine: its shape, its names, and that its commands are real."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from forecastle.settings import Settings
from projects import ROOT

COMPOSE = ROOT / "docker-compose.yml"
OURS = "forecastle:0.1.0"
OTHERS = {"HOME", "MLFLOW_BACKEND_STORE_URI", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION"}


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load(COMPOSE.read_text())
    return loaded


def test_the_file_keeps_the_compose_schema() -> None:
    program = Path(sys.executable).with_name("check-jsonschema")
    command = [str(program), "--builtin-schema", "vendor.compose-spec", str(COMPOSE)]
    checked = subprocess.run(command, capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_every_variable_is_required_and_named_in_the_example() -> None:
    used = re.findall(r"\$\{(\w+)([^}]*)\}", COMPOSE.read_text())
    declared = re.findall(r"^(\w+)=(.*)$", (ROOT / "deploy" / "example.env").read_text(), re.MULTILINE)
    assert {name for name, _ in used} == {name for name, _ in declared}
    assert all(rule.startswith(":?") for _, rule in used)
    assert all(not value for _, value in declared)


def test_every_service_volume_and_mounted_file_that_is_named_exists(compose: dict[str, Any]) -> None:
    for service in compose["services"].values():
        assert set(service.get("depends_on", {})) <= set(compose["services"])
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            assert (ROOT / source).is_file() if source.startswith(".") else source in compose["volumes"]


def test_every_setting_that_is_handed_over_is_one(compose: dict[str, Any]) -> None:
    known = set(Settings(home=Path("x")).as_environment()) | {
        item.metadata["variable"] for item in Settings.__dataclass_fields__.values()
    }
    for service in compose["services"].values():
        if service.get("image") == OURS:
            assert set(service["environment"]) <= known | OTHERS


def test_our_containers_run_as_nobody_special_with_a_limit_and_a_health_check(compose: dict[str, Any]) -> None:
    ours = {name: service for name, service in compose["services"].items() if service.get("image") == OURS}
    assert set(ours) == {"mlflow", "migrate", "facade", "worker", "beat"}
    for name, service in ours.items():
        assert (service["user"], service["read_only"], service["cap_drop"]) == ("10001", True, ["ALL"])
        if name != "migrate":
            assert service["healthcheck"]["test"]
            assert service["deploy"]["resources"]["limits"]["memory"]


def test_only_loopback_is_published(compose: dict[str, Any]) -> None:
    ports = [port for service in compose["services"].values() for port in service.get("ports", [])]
    assert ports
    assert all(port.startswith("127.0.0.1:") for port in ports)


def test_the_image_copies_only_what_exists_and_serves_what_the_embedded_facade_serves() -> None:
    text = (ROOT / "Dockerfile").read_text()
    for sources in re.findall(r"^COPY (.+) \S+$", text, re.MULTILINE):
        assert all((ROOT / source).exists() for source in sources.split())
    from forecastle.embedded.facade_server import command

    told = re.search(r"^CMD \[(.+)\]", text.replace("\\\n", " "), re.MULTILINE)
    assert told is not None
    words = re.findall(r'"([^"]+)"', told[1])
    assert words[-1] == command("0.0.0.0", 8700, 1)[-1]
    assert set(words[1:]) <= {*command("0.0.0.0", 8700, 1), "-m"}
