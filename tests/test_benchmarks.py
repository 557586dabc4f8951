"""Benchmarks run, and say the same of the same seed."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

import projects

ASKED = [sys.executable, "-m", "benchmarks.gate", "--json", "--trials", "2", "--seed", "7"]


def simulate() -> list[dict[str, Any]]:
    ran = subprocess.run(ASKED, cwd=projects.ROOT, capture_output=True, text=True, check=True)
    lines: list[dict[str, Any]] = json.loads(ran.stdout)["lines"]
    return lines


def test_the_gate_is_simulated_at_every_size_for_every_truth_and_alike_from_the_same_seed() -> None:
    lines = simulate()
    assert {(line["rows"], line["clusters"], line["truth"]) for line in lines} >= {
        (rows, clusters, truth)
        for rows in (100, 300, 1_000, 10_000)
        for clusters in (1, 3, 5, 16)
        for truth in ("equal", "3 % worse", "3 % better")
    }
    for line in lines:
        verdicts = [line["shares"][verdict] for verdict in ("PROMOTE", "HOLD", "REJECT", "NOT ENOUGH DATA")]
        assert sum(verdicts) == pytest.approx(1)
    assert simulate() == lines
