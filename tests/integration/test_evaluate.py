"""The evaluation on real public data, beside baselines that pandas computes on its own."""

from __future__ import annotations

import gzip
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import projects
from cli.training import evaluate_files
from forecastle.registry.evaluation import FIRST_ROWS, Evaluation
from forecastle.settings import Settings
from forecastle.sources.importing import IssueImport
from forecastle.sources.presets import PRESETS
from projects.delivery.story_points.trainer import TRAINER

pytestmark = pytest.mark.public_data

SMALL = 3  # how many of the smallest projects the fast part walks through
SEVERAL = 7  # and the slow part; `make bench` walks through all


@pytest.fixture(scope="session")
def files(public_data: Callable[[str], Path]) -> list[Path]:
    """Every file of story points, the smallest first."""
    return sorted(public_data("story_points").glob("*.csv.gz"), key=lambda path: path.stat().st_size)


@pytest.fixture
def evaluated(
    postgresql: Settings, monkeypatch: pytest.MonkeyPatch
) -> Callable[[Sequence[Path]], tuple[Evaluation, dict[str, str]]]:
    monkeypatch.setenv("DATABASE_URL", postgresql.require_database_url())

    def evaluate(paths: Sequence[Path]) -> tuple[Evaluation, dict[str, str]]:
        asked = IssueImport(paths, PRESETS["deepse"], projects.EXPECTATIONS / "issues.json", project_from_file=True)
        found = evaluate_files("delivery.story_points", asked)
        return found.evaluation, dict(found.keys)

    return evaluate


def independent_losses(path: Path) -> tuple[int, dict[str, float]]:
    """Scored rows and mean absolute errors of the naive rules, from the file alone."""
    with gzip.open(path, "rt", newline="") as file:
        points = pd.read_csv(file)["storypoint"].astype(float)
    said = {
        "rolling_median": points.rolling(50, min_periods=1).median().shift(1),
        "median": points.expanding().median().shift(1),
        "mean": points.expanding().mean().shift(1),
    }
    said["type_median"] = said["rolling_median"]  # these files name no types
    return len(points) - 50, {name: float((values - points).abs()[50:].mean()) for name, values in said.items()}


def assert_baselines_are_independent(found: Evaluation, keys: dict[str, str], paths: Sequence[Path]) -> None:
    by_key = {keys[result.cluster]: result for result in found.clusters}
    assert set(by_key) == {path.name.removesuffix(".csv.gz") for path in paths}
    for path in paths:
        rows, losses = independent_losses(path)
        result = by_key[path.name.removesuffix(".csv.gz")]
        assert result.rows == rows
        assert {name: result.baselines[name] for name in losses} == pytest.approx(losses, rel=0, abs=1e-9)
        assert result.baselines[result.best_baseline] == min(result.baselines.values())


def test_on_small_projects_baselines_equal_an_independent_computation_and_nothing_is_clearly_worse(
    files: list[Path], evaluated: Callable[[Sequence[Path]], tuple[Evaluation, dict[str, str]]]
) -> None:
    assert FIRST_ROWS == 50
    found, keys = evaluated(files[:SMALL])
    assert_baselines_are_independent(found, keys, files[:SMALL])
    for result in found.clusters:
        assert not result.clearly_worse, keys[result.cluster]
        assert sum(result.served_by.values()) == pytest.approx(1)
        assert set(result.served_by) <= {*result.baselines, *TRAINER.candidates, *TRAINER.blends}
        assert 0.65 < result.coverage.share <= 1
    best = np.mean([result.baselines[result.best_baseline] for result in found.clusters])
    assert found.macro(lambda result: result.served) < 1.05 * best


def test_what_is_served_where_nothing_was_ever_fitted_is_the_rolling_median_on_the_scale(
    files: list[Path],
    evaluated: Callable[[Sequence[Path]], tuple[Evaluation, dict[str, str]]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("forecastle.registry.evaluation.REFITS", ())
    found, _ = evaluated(files[:1])
    (result,) = found.clusters
    assert found.refits == 0
    assert result.served_by == {"rolling_median": 1.0}
    # A median between two values of the scale is moved to one of them, which is at most half a step.
    assert result.served == pytest.approx(result.baselines["rolling_median"], rel=0.1)


@pytest.mark.slow
@pytest.mark.timeout(1_200)
def test_over_several_projects_what_is_served_is_better_than_the_rolling_median(
    files: list[Path], evaluated: Callable[[Sequence[Path]], tuple[Evaluation, dict[str, str]]]
) -> None:
    found, keys = evaluated(files[:SEVERAL])
    assert_baselines_are_independent(found, keys, files[:SEVERAL])
    served = found.macro(lambda result: result.served)
    assert served < found.macro(lambda result: result.baselines["rolling_median"])
    assert [keys[result.cluster] for result in found.clusters if result.clearly_worse] == []
    assert found.macro(lambda result: result.coverage.share) >= 0.77
