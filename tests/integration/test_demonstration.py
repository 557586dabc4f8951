"""The demonstration, as its command line starts it: from an empty home to answers of a promoted version."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import projects


@pytest.mark.slow
def test_the_demonstration_goes_all_the_way_and_leaves_nothing_running(tmp_path: Path) -> None:
    mine = {name: value for name, value in os.environ.items() if not name.startswith(("FORECASTLE_", "MLFLOW_"))}
    environment = {**mine, "FORECASTLE_HOME": str(tmp_path / "home"), "FORECASTLE_HTTP_PORT": "0"}
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
    ended = subprocess.run(
        [sys.executable, "-m", "cli.main", "demo", "--once"],
        cwd=projects.ROOT, env={**environment, "PATH": path}, capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    rows = [line for line in ended.stdout.splitlines() if "delivery.story_points/1" in line]
    assert len(rows) == 6
    assert all(row.startswith("| DEMO") for row in rows)
    assert not list((tmp_path / "home").glob("**/postmaster.pid"))
