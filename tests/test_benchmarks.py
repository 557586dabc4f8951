"""Benchmarks run, and say the same of the same seed."""

from __future__ import annotations

import http.server
import json
import math
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import projects
from benchmarks.contenders.applications import LAYERS
from benchmarks.contenders.house import PROJECT, furnished
from benchmarks.contenders.in_process import Job, layers_cpu
from benchmarks.load.figures import Spread, interleave, percentile
from benchmarks.load.generator import Load, ask, request_of, run
from benchmarks.load.usage import cpu_seconds, pss_mib, tree
from benchmarks.numeric import MODEL_TYPE as NUMERIC
from benchmarks.numeric.model import NAMES, SCORER, NumericFeatures
from benchmarks.numeric.training import Numeric, fit
from benchmarks.retraining import DECLARED, SCENARIOS, World, live
from benchmarks.serving import BEGIN, END, with_figures
from forecastle.settings import Settings

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


@given(st.lists(st.floats(allow_nan=False), min_size=1), st.floats(min_value=0.01, max_value=1))
def test_a_percentile_is_the_least_value_that_enough_of_them_do_not_exceed(values: list[float], share: float) -> None:
    ordered = sorted(values)
    found = percentile(ordered, share)
    needed = math.ceil(share * len(ordered))
    assert sum(value <= found for value in ordered) >= needed
    assert sum(value < found for value in ordered) < needed


def test_of_nothing_there_is_no_percentile_and_no_spread() -> None:
    assert math.isnan(percentile([], 0.5))
    with pytest.raises(ValueError, match="no round"):
        Spread.of([])
    assert Spread.of([3.0, 1.0, 2.0]) == Spread(2.0, 1.0, 3.0)


def test_contenders_take_turns() -> None:
    asked: list[str] = []
    found = interleave({name: lambda name=name: asked.append(name) or len(asked) for name in "ab"}, rounds=2)
    assert asked == ["a", "b", "a", "b"]
    assert found == {"a": [1, 3], "b": [2, 4]}


class _Server(http.server.ThreadingHTTPServer):
    def handle_error(self, *said: object) -> None:
        """A connection that was closed before its answer, as at the end of every load."""


class _Slow(http.server.BaseHTTPRequestHandler):
    """Answers with what it was sent, late where that is `stall`, with status 500 where it is `fail`."""

    protocol_version = "HTTP/1.1"
    wbufsize = -1  # head and body in one packet
    stall_seconds = 0.5

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if body == b"stall":
            time.sleep(self.stall_seconds)
        self.send_response(500 if body == b"fail" else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *said: object) -> None:
        """Nothing."""


@pytest.fixture
def slow() -> Iterator[int]:
    with _Server(("127.0.0.1", 0), _Slow) as server:
        threading.Thread(target=server.serve_forever).start()
        yield server.server_port
        server.shutdown()


def test_the_generator_counts_what_was_answered_and_what_failed(slow: int) -> None:
    assert ask(slow, request_of("/", b"hello", {"X-More": "1"})) == (200, b"hello")
    requests = [request_of("/", body, {}) for body in (b"right", b"fail")]
    found = run(Load(slow, requests, connections=2, seconds=0.3))
    assert found.answered > 0
    assert found.failed > 0
    assert 0 < found.p50 <= found.p99 <= found.longest
    assert found.cpu_seconds > 0


def test_a_stall_counts_for_every_request_that_was_due_meanwhile(slow: int) -> None:
    requests = [request_of("/", body, {}) for body in (b"stall", *[b"quick"] * 10_000)]
    found = run(Load(slow, requests, connections=1, seconds=0.6, rate=100.0))
    assert found.failed == 0
    assert found.longest >= 1000 * _Slow.stall_seconds
    assert found.p50 > 50  # most were due while the one connection stalled


def test_usage_is_that_of_a_process_and_of_all_below_it() -> None:
    burn = "import time\nwhile time.process_time() < 0.5: pass\ninput()"  # ticks count a little less
    parent = "import subprocess, sys; subprocess.run([sys.executable, '-c', sys.argv[1]])"
    with subprocess.Popen([sys.executable, "-c", parent, burn], stdin=subprocess.PIPE) as process:
        deadline = time.monotonic() + 30
        while cpu_seconds(process.pid) < 0.3 and time.monotonic() < deadline:
            time.sleep(0.01)
        assert cpu_seconds(process.pid) >= 0.3
        assert len(tree(process.pid)) == 2
        assert pss_mib(process.pid) > 2
    assert tree(os.getpid())[0] == os.getpid()


def test_figures_stand_between_their_marks() -> None:
    page = f"before\n{BEGIN}\nold\n{END}\nafter\n"
    assert with_figures(page, "new") == f"before\n{BEGIN}\n\nnew\n\n{END}\nafter\n"
    assert with_figures((projects.ROOT / "docs" / "serving.md").read_text(), "new").count("new") >= 1


@pytest.fixture(scope="module")
def numeric() -> Numeric:
    return fit()


def test_the_numeric_form_answers_what_its_booster_says(numeric: Numeric) -> None:
    form = SCORER.load(json.loads(json.dumps(numeric.form.as_json())))
    found = [form.estimate(NumericFeatures(NAMES, row)) for row in numeric.asked.tolist()]
    assert found == pytest.approx(numeric.expected, rel=form.tolerance, abs=form.tolerance)


def test_every_layer_of_the_facade_answers(numeric: Numeric, tmp_path: Path) -> None:
    body = json.dumps({**dict(zip(NAMES, numeric.asked[0].tolist(), strict=True)), "project_id": PROJECT})
    with furnished(tmp_path, numeric) as house:
        found = layers_cpu(house, Job(NUMERIC.name, [body], house.headers, calls=1, rounds=1))
    assert found.keys() == LAYERS.keys()


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


@pytest.mark.slow
def test_partitions_are_held_against_the_schema_of_before(postgresql: Settings) -> None:
    asked = [sys.executable, "-m", "benchmarks.partitions", "--rows", "20000"]
    told = {**os.environ, **postgresql.as_environment()}
    ran = subprocess.run(asked, cwd=projects.ROOT, env=told, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.count("ratio") == 2
    assert "by dropping" in ran.stdout.splitlines()[-1]
