"""Rows a second of a batch: the façade's evaluation of trees beside the bare estimators, in one run, interleaved.

Each candidate with trees is fitted on the same synthetic issues of `delivery.effort`, and asked about the same rows:
the estimator that people load by its `predict` on a ready matrix, in the precision that it looks at; ours on the same
matrix, from features as they come out of requests, and one row at a time. Answers are compared.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any

import click
import numpy as np
from threadpoolctl import threadpool_limits

from cli.tables import table
from forecastle.features.issues import IssueFeatures
from forecastle.generator.dated import DatedPortfolio, generate_dated_issues
from forecastle.learning.design import Design
from forecastle.learning.forests import deviations, forest_of
from forecastle.learning.forms import ForestForm
from forecastle.learning.regressors import BoostedTreesRegressor, HistogramTreesRegressor
from forecastle.registry.dataset import rows_of_issues
from forecastle.registry.examples import extract_all
from projects import get_model_type

MODEL_TYPE = "delivery.effort"
PROJECTS = 5


@dataclass(frozen=True)
class Measured:
    """Of one candidate: nodes of its trees, and the seconds that each way took at its best."""

    candidate: str
    nodes: int
    furthest: float
    """The largest difference between the estimator's answer and ours, relative."""
    rows: int
    seconds: Mapping[str, float]

    def ratio(self, way: str) -> float:
        """Rows a second beside those of the bare estimator."""
        return self.seconds["bare"] / self.seconds[way]


@click.command()
@click.option("--rows", default=1_000, show_default=True, help="Rows of a batch.")
@click.option("--issues", default=4_000, show_default=True, help="Issues that are learned from.")
@click.option("--repeats", default=60, show_default=True)
@click.option("--json", "as_json", is_flag=True)
def main(rows: int, issues: int, repeats: int, as_json: bool) -> None:
    """Measure a batch of ROWS rows."""
    taught, targets = features(issues)
    with threadpool_limits(1):
        found = [measured(name, fitted, taught[-rows:], repeats) for name, fitted in candidates(taught, targets)]
    if as_json:
        click.echo(
            json.dumps([{**one.__dict__, "ratio": {way: one.ratio(way) for way in one.seconds}} for one in found])
        )
        return
    ways = list(found[0].seconds)
    cells = [
        [one.candidate, f"{one.nodes:,}", f"{one.furthest:.0e}"]
        + [f"{one.rows / one.seconds[way]:,.0f} ({one.ratio(way):.2f})" for way in ways]
        for one in found
    ]
    click.echo("\n".join(table(["candidate", "nodes", "differs", *(f"{way}, rows/s" for way in ways)], cells)))


def features(issues: int) -> tuple[list[IssueFeatures], list[float]]:
    """Features and outcomes of synthetic issues, as the view with an estimate sees them."""
    model_type = get_model_type(MODEL_TYPE)
    made = generate_dated_issues(DatedPortfolio(projects=PROJECTS, issues=issues // PROJECTS))
    extracted = extract_all(model_type, rows_of_issues(model_type, made).rows)
    examples = list(islice(extracted.views["estimated"], issues))
    return [example.features for example in examples], [example.target for example in examples]


def candidates(taught: list[IssueFeatures], targets: list[float]) -> list[tuple[str, Any]]:
    design = Design(taught)
    return [
        (name, made.fit(design, targets))
        for name, made in (
            ("boosted_trees, depth 4", BoostedTreesRegressor(depth=4)),
            ("boosted_trees, depth 6", BoostedTreesRegressor(depth=6)),
            ("gradient_boosting, 15 leaves", HistogramTreesRegressor(leaves=15)),
        )
    ]


def measured(name: str, fitted: Any, asked: list[IssueFeatures], repeats: int) -> Measured:
    form = fitted.form()
    assert isinstance(form, ForestForm)
    bare = fitted.booster_ if isinstance(fitted, BoostedTreesRegressor) else fitted.boosting_
    numbers = Design(asked).numbers
    ready = numbers.astype(np.float32) if form.single else numbers
    forest = forest_of(form)
    ways: dict[str, Callable[[], Any]] = {
        "bare": lambda: bare.predict(ready),
        "matrix": lambda: forest.totals(numbers),
        "features": lambda: deviations(form, asked),
        "one by one": lambda: [form.deviation(issue) for issue in asked],
    }
    expected = np.asarray(bare.predict(ready), float)
    for way in ("matrix", "features", "one by one"):
        found = np.asarray(ways[way]())
        np.testing.assert_allclose(found, expected, rtol=form.tolerance, atol=form.tolerance)
    furthest = float(np.max(np.abs(found - expected) / np.maximum(np.abs(expected), 1)))
    best = dict.fromkeys(ways, float("inf"))
    for repeat in range(repeats):
        for way, ask in ways.items():
            if way == "one by one" and repeat % 20:  # a hundred times as slow, and as steady
                continue
            started = time.perf_counter()
            ask()
            best[way] = min(best[way], time.perf_counter() - started)
    return Measured(name, forest.nodes, furthest, len(asked), best)


if __name__ == "__main__":
    main()
