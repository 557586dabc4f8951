"""A method answers where it has shown skill; elsewhere the reference does."""

from __future__ import annotations

import numpy as np
import pytest

from forecastle.monitoring.choosing import FEW_ROWS, SHRINKAGE_ROWS, choose_methods, macro_relative_loss
from forecastle.monitoring.skill import SkillTable

PRIORS = {"reference": 0.0, "model": 0.0}


def choose(model: dict[str, tuple[int, float]], priors: dict[str, float] = PRIORS) -> SkillTable:
    """The table for a model with this many rows and this loss in each cluster; the reference always loses 1."""
    clusters = np.array([name for name, (rows, _) in model.items() for _ in range(rows)], dtype=str)
    losses = np.array([loss for rows, loss in model.values() for _ in range(rows)])
    return choose_methods({"reference": np.ones(len(losses)), "model": losses}, clusters, priors)


def test_a_tie_goes_to_the_reference() -> None:
    found = choose({"a": (500, 1.0)})
    assert (found.default, found.method_for("a")) == ("reference", "reference")


def test_without_any_rows_the_reference_answers() -> None:
    assert choose({}).method_for("anything") == "reference"


def test_a_model_that_beats_the_reference_answers_everywhere() -> None:
    found = choose({"a": (500, 0.8), "b": (500, 0.8)})
    assert (found.default, found.method_for("a"), found.method_for("never seen")) == ("model", "model", "model")


def test_few_rows_follow_the_general_choice_and_many_rows_their_own() -> None:
    everybody = {f"p{number}": (600, 0.7) for number in range(6)}
    assert choose({**everybody, "own": (10, 1.5)}).method_for("own") == "model"
    found = choose({**everybody, "own": (3_000, 1.5)})
    assert found.method_for("own") == "reference"
    assert found.default == found.method_for("p0") == "model"


def test_shrinkage_gives_own_and_general_evidence_the_same_weight_at_its_number_of_rows() -> None:
    found = choose({"a": (SHRINKAGE_ROWS, 0.5), "b": (SHRINKAGE_ROWS, 0.9)})
    general = (2 * SHRINKAGE_ROWS * -0.3) / (2 * SHRINKAGE_ROWS + SHRINKAGE_ROWS)
    assert found.expected["a"]["model"] == pytest.approx((-0.5 + general) / 2)
    assert found.expected["b"]["model"] == pytest.approx((-0.1 + general) / 2)
    assert found.expected["a"]["reference"] == 0.0


def test_a_prior_disadvantage_is_overcome_by_evidence_alone() -> None:
    doubted = {"reference": 0.0, "model": 0.1}
    assert choose({"a": (20, 0.9)}, doubted).method_for("a") == "reference"
    assert choose({"a": (2_000, 0.9)}, doubted).method_for("a") == "model"


def test_clusters_count_alike_whatever_their_size() -> None:
    found = choose({"large": (10_000, 1.1), "small": (500, 0.7), "other": (500, 0.7)})
    assert found.default == "model"


def test_a_cluster_that_the_table_does_not_list_gets_the_default() -> None:
    table = SkillTable("median", {"a": "model"}, {}, {}, {})
    assert (table.method_for("a"), table.method_for("b")) == ("model", "median")


def test_a_reference_without_any_loss_is_not_replaced() -> None:
    zeros, ones = np.zeros(300), np.ones(300)
    found = choose_methods({"reference": zeros, "model": ones}, np.array(["a"] * 300), PRIORS)
    assert found.method_for("a") == "reference"


def test_nothing_answers_in_place_of_a_reference_that_makes_no_error() -> None:
    clusters = np.array(["perfect"] * 300 + ["other"] * 300)
    reference = np.concatenate([np.zeros(300), np.full(300, 2.0)])
    model = np.concatenate([np.full(300, 2.0), np.full(300, 1.0)])
    table = choose_methods({"rolling_median": reference, "model": model}, clusters, {"rolling_median": 0, "model": 0})
    assert table.method_for("perfect") == "rolling_median"
    assert table.method_for("other") == "model"
    assert (table.rows["other"], table.measured["other"]["model"]) == (300, -0.5)


def test_the_general_loss_is_that_over_all_clusters_shrunk_towards_the_prior() -> None:
    found = choose({"a": (300, 0.5), "b": (100, 0.9)}, {"reference": 0.0, "model": 0.1})
    weights = 300 / (300 + FEW_ROWS), 100 / (100 + FEW_ROWS)
    own = (weights[0] * -0.5 + weights[1] * -0.1) / sum(weights)
    assert found.general["model"] == pytest.approx((400 * own + SHRINKAGE_ROWS * 0.1) / (400 + SHRINKAGE_ROWS))
    assert found.general["reference"] == 0.0
    assert found.default == min(found.general, key=found.general.__getitem__)


def test_without_rows_the_general_loss_is_the_prior() -> None:
    assert choose({}, {"reference": 0.0, "model": 0.1}).general == {"reference": 0.0, "model": 0.1}


def test_a_macro_loss_counts_clusters_alike_but_for_those_of_few_rows() -> None:
    clusters = np.array(["large"] * 9_000 + ["small"] * 1_000 + ["tiny"])
    losses = np.array([1.2] * 9_000 + [0.6] * 1_000 + [50.0])
    found = macro_relative_loss(losses, np.ones(10_001), clusters)
    weights = [rows / (rows + FEW_ROWS) for rows in (9_000, 1_000, 1)]
    assert found == pytest.approx((weights[0] * 0.2 - weights[1] * 0.4 + weights[2] * 49) / sum(weights))
    assert macro_relative_loss(np.array([]), np.array([]), np.array([], dtype=str)) == 0.0
