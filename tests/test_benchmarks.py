"""Benchmarks run, and say the same of the same seed."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

import projects
from benchmarks.retraining import DECLARED, SCENARIOS, World, live

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


def test_a_simulated_life_trains_when_it_decides_to_and_its_strategies_share_their_versions() -> None:
    world = World(SCENARIOS["stay"][1])
    decided, never = live(world, DECLARED, 7), live(world, False, 7)
    verdicts = [decision.verdict.value for decision in decided.decisions]
    assert len(verdicts) == 6
    assert verdicts.count("RETRAIN") == decided.trainings == len(world.made) - 1 > 0
    assert never.trainings == 0
    asked = [len(losses) for losses in never.losses]
    assert [len(losses) for losses in decided.losses] == asked
    first = verdicts.index("RETRAIN") + 1
    assert all((one == other).all() for one, other in zip(decided.losses[:first], never.losses[:first], strict=True))
