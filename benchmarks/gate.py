"""How often does the gate err? Simulated losses with a known truth, judged by the gate itself.

    python -m benchmarks.gate [--json | --write] [--trials 500] [--seed 20261120]

Each trial draws losses of production, candidate, best baseline and first approved version on the same rows, and hands
them to `forecastle.monitoring.gate`. `--write` renews the figures in docs/gate.md.
"""

from __future__ import annotations

import json
import math
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import product
from typing import Any

import click
import numpy as np
from numpy.typing import NDArray
from scipy.signal import lfilter

from forecastle.monitoring.coverage import Coverage, coverage
from forecastle.monitoring.decision import Measured, Replacement
from forecastle.monitoring.evidence import Contender, Evidence
from forecastle.monitoring.gate import decide, measure
from forecastle.monitoring.guards import Validity
from forecastle.monitoring.policies import GatePolicy
from forecastle.monitoring.verdict import Verdict
from projects import ROOT

Floats = NDArray[np.float64]

REPORT = ROOT / "docs" / "gate.md"
FIGURES = "## Figures\n"

ROWS = (100, 300, 1_000, 3_000, 10_000)
CLUSTERS = (1, 3, 5, 16)
TRUTHS = {"equal": 0.0, "3 % worse": 0.03, "3 % better": -0.03}
EFFECTS = {
    "none": "The difference is the same in every cluster.",
    "at hand": "Clusters differ by a standard deviation of 3 %, and the truth is that of the clusters at hand.",
    "drawn": "Clusters differ by a standard deviation of 3 %, and the truth is that of all clusters there could be.",
}

POLICY = GatePolicy(metric="mae", margin=0.02, least_rows=100)
EFFECT = 0.03
SIGMA = 1.0  # of the logarithm of a loss: its coefficient of variation is then 1.3, as that of story points' errors
LEVEL = 0.6  # standard deviation of the clusters' logarithmic levels, as that of ten projects' errors in story points
TIME = 0.3  # autocorrelation of neighbouring rows of a cluster
CORRELATIONS = np.array([0.9, 0.9, 0.8, 0.85])  # of each contender's log losses with what they share
LOSSES = np.array([1.0, 1.0, 1.08, 1.03])  # expected loss of candidate (were it equal), production, baseline, first
TARGET = 0.8


@dataclass(frozen=True)
class Cell:
    effect: str
    rows: int
    clusters: int


@dataclass(frozen=True, eq=False)
class Draw:
    """`losses` has the shape (contenders, rows); `clusters` (shape: rows) are those of rows in order of time."""

    clusters: NDArray[np.int_]
    losses: Floats
    covered: Coverage


def draw(random: np.random.Generator, cell: Cell) -> Draw:
    """Log-normal losses that contenders share in part, of clusters of unequal size and level, correlated in time."""
    sizes = 1 / np.arange(1, cell.clusters + 1)
    clusters = random.choice(cell.clusters, size=cell.rows, p=sizes / sizes.sum())
    shared, own = random.normal(size=cell.rows), random.normal(size=(len(LOSSES), cell.rows))
    noise = np.sqrt(CORRELATIONS)[:, None] * shared + np.sqrt(1 - CORRELATIONS)[:, None] * own
    noise = lfilter([math.sqrt(1 - TIME**2)], [1, -TIME], noise)
    in_time = np.empty_like(noise)
    in_time[:, np.argsort(clusters, kind="stable")] = noise  # rows of a cluster follow each other in time
    levels = np.exp(LEVEL * random.normal(size=cell.clusters))
    losses = LOSSES[:, None] * levels[clusters] * np.exp(SIGMA * in_time)
    losses[0] *= 1 + _effects(random, cell, levels * np.bincount(clusters, minlength=cell.clusters))[clusters]
    held = (random.random(cell.rows) < TARGET).astype(float)
    return Draw(clusters, losses, coverage(held, np.ones(cell.rows), np.ones(cell.rows)))


def _effects(random: np.random.Generator, cell: Cell, weights: Floats) -> Floats:
    """How much each cluster's relative difference departs from the truth."""
    if cell.effect == "none":
        return np.zeros(cell.clusters)
    effects = EFFECT * random.normal(size=cell.clusters)
    return effects - np.average(effects, weights=weights) if cell.effect == "at hand" else effects


def judge(drawn: Draw, truth: float) -> Measured:
    candidate, production, baseline, first = drawn.losses
    evidence = Evidence(
        asked_at=np.arange(len(candidate), dtype=float),
        trained_until=0.0,
        clusters=drawn.clusters,
        candidate=Contender("candidate", candidate * (1 + truth)),
        production=Contender("production", production),
        baseline=Contender("baseline", baseline),
        first_approved=Contender("first", first),
        validity=Validity(drawn.covered, TARGET, 0, "same", frozenset({"same"}), 0),
    )
    return measure(evidence, POLICY)


def run_cell(cell: Cell, trials: int, seed: int) -> Iterator[dict[str, Any]]:
    """One line of figures a truth, from the same draws."""
    random = np.random.default_rng([seed, list(EFFECTS).index(cell.effect), cell.rows, cell.clusters])
    seen = {truth: Counter[str]() for truth in TRUTHS}
    widths: dict[str, list[float]] = {truth: [] for truth in TRUTHS}
    for _ in range(trials):
        drawn = draw(random, cell)
        for name, truth in TRUTHS.items():
            measured = judge(drawn, truth)
            seen[name].update(_outcomes(measured))
            widths[name].append(measured.width)
    for name in TRUTHS:
        shares = {key: seen[name][key] / trials for key in _KEYS}
        errors = {key: math.sqrt(share * (1 - share) / trials) for key, share in shares.items()}
        width = float(np.median(widths[name]))
        yield {**vars(cell), "truth": name, "median_width": width, "shares": shares, "standard_errors": errors}


_VERDICTS = tuple(verdict.value for verdict in Verdict)
_KEYS = (*_VERDICTS, *(f"{verdict} with a reason" for verdict in _VERDICTS), "U < 0", "L > 0", "guard fails")


def _outcomes(measured: Measured) -> Iterator[str]:
    yield decide(measured).verdict.value
    yield f"{decide(measured, Replacement.DRIFT).verdict} with a reason"
    found = measured.production.found
    if found.high < 0:
        yield "U < 0"
    if found.low > 0:
        yield "L > 0"
    if not all(guard.passed for guard in measured.guards):
        yield "guard fails"


def simulate(trials: int, seed: int) -> list[dict[str, Any]]:
    cells = [Cell(*cell) for cell in product(EFFECTS, ROWS, CLUSTERS)]
    cells = [cell for cell in cells if cell.clusters > 1 or cell.effect != "at hand"]  # one cluster is itself the truth
    with click.progressbar(cells, label="simulating", file=sys.stderr) as bar:
        return [line for cell in bar for line in run_cell(cell, trials, seed)]


def as_markdown(lines: list[dict[str, Any]], measured: str) -> str:
    parts = [measured]
    for effect, meaning in EFFECTS.items():
        parts += ["", f"### Effect of clusters: {effect}", "", meaning, "", *_table(lines, effect)]
    return "\n".join(parts) + "\n"


_COLUMNS = (*_VERDICTS, "PROMOTE with a reason", "U < 0", "L > 0", "guard fails")


def _table(lines: list[dict[str, Any]], effect: str) -> Iterator[str]:
    yield f"| rows | clusters | truth | {' | '.join(_COLUMNS)} | width |"
    yield "| ---: | ---: | --- |" + " ---: |" * (len(_COLUMNS) + 1)
    for line in (line for line in lines if line["effect"] == effect):
        shares = (f"{line['shares'][key]:.1%} ± {line['standard_errors'][key]:.1%}" for key in _COLUMNS)
        cells = (f"{line['rows']:,}", str(line["clusters"]), line["truth"], *shares, f"{line['median_width']:.1%}")
        yield f"| {' | '.join(cells)} |"


def _measured(trials: int, seed: int) -> str:
    commit = _git("rev-parse", "--short", "HEAD") + (" with changes" if _git("status", "--porcelain", "-uno") else "")
    return (
        f"Measured on {datetime.now(UTC):%Y-%m-%d} at commit {commit}, {trials:,} trials a line:\n\n"
        f"    python -m benchmarks.gate --write --trials {trials} --seed {seed}"
    )


def _git(*words: str) -> str:
    return subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()


@click.command()
@click.option("--trials", type=click.IntRange(min=1), default=500, show_default=True)
@click.option("--seed", type=click.IntRange(min=0), default=20_261_120, show_default=True)
@click.option("--json", "json_asked", is_flag=True, help="Print every figure as JSON.")
@click.option("--write", is_flag=True, help="Renew the figures in docs/gate.md.")
def main(trials: int, seed: int, json_asked: bool, write: bool) -> None:
    """How often the gate errs, on simulated losses."""
    measured = _measured(trials, seed)  # before, as files may change while it runs
    lines = simulate(trials, seed)
    if json_asked:
        click.echo(json.dumps({"measured": measured, "trials": trials, "seed": seed, "lines": lines}, indent=2))
    elif write:
        kept = REPORT.read_text().partition(FIGURES)[0]
        REPORT.write_text(f"{kept}{FIGURES}\n{as_markdown(lines, measured)}")
    else:
        click.echo(as_markdown(lines, measured))


if __name__ == "__main__":
    main()
