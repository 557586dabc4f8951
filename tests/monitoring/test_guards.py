"""Guards fail for certain, not by chance."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from gates import VALID, losses
from hypothesis import given
from hypothesis import strategies as st

from forecastle.monitoring.comparison import PairedSums
from forecastle.monitoring.coverage import Coverage, coverage
from forecastle.monitoring.guards import ClusterDifference, Guard, check_guards, differences_by_cluster

MARGIN = 0.02


def guard(name: str, *guards: Guard) -> Guard:
    (found,) = [guard for guard in guards if guard.name == name]
    return found


def held(low: float, high: float) -> Guard:
    found = Coverage(rows=400, share=(low + high) / 2, low=low, high=high, median_width=1.0)
    return guard("coverage", *check_guards(replace(VALID, coverage=found), (), MARGIN))


@pytest.mark.parametrize(
    "low, high, passed",
    [(0.75, 0.85, True), (0.5, 0.771, True), (0.829, 0.95, True), (0.5, 0.769, False), (0.831, 0.95, False)],
)
def test_coverage_fails_where_its_interval_excludes_the_target_by_three_points(
    low: float, high: float, passed: bool
) -> None:
    assert held(low, high).passed is passed


def test_coverage_of_no_rows_excludes_nothing() -> None:
    none = np.array([])
    found = guard("coverage", *check_guards(replace(VALID, coverage=coverage(none, none, none)), (), MARGIN))
    assert (found.passed, found.figure) == (True, None)
    assert found.sentence.startswith("intervals held no outcome")


def test_a_model_type_without_intervals_has_no_guard_on_coverage() -> None:
    found = check_guards(replace(VALID, coverage=None, coverage_target=None), (), MARGIN)
    assert [guard.name for guard in found] == ["parity", "feature code", "data validation", "clusters"]


def test_every_guard_names_its_figure_and_its_limit() -> None:
    broken = replace(VALID, parity_failures=3, validation_failures=2, known_feature_digests=frozenset({"another"}))
    found = {guard.name: (guard.passed, guard.figure, guard.limit) for guard in check_guards(broken, (), MARGIN)}
    assert found == {
        "coverage": (True, 0.8, "77.0% to 83.0%"),
        "parity": (False, 3, 0),
        "feature code": (False, "3f786850e387", "known"),
        "data validation": (False, 2, 0),
        "clusters": (True, None, 0.04),
    }


def clusters(ratios: dict[str, float], rows: int = 200, noise: float = 0.1) -> tuple[ClusterDifference, ...]:
    """Clusters whose candidate loses this many times as much."""
    sums = {}
    for seed, (name, ratio) in enumerate(ratios.items()):
        reference = losses(seed, rows)
        candidate = ratio * reference * np.exp(noise * np.random.default_rng(seed + 100).normal(size=rows))
        sums[name] = PairedSums.over_time(candidate, reference)
    return differences_by_cluster(sums, MARGIN)


def test_a_cluster_fails_beyond_two_margins_only() -> None:
    found = clusters({"a": 1.0, "b": 1.035, "c": 1.15})
    checked = guard("clusters", *check_guards(VALID, found, MARGIN))
    assert not checked.passed
    assert checked.sentence.startswith("worse by more than 4.0% for certain in: c (L +")
    assert guard("clusters", *check_guards(VALID, found[:2], MARGIN)).passed


def test_more_clusters_ask_for_more_certainty_in_each() -> None:
    alone, among = clusters({"bad": 1.1}), clusters({"bad": 1.1} | {f"p{number}": 1.0 for number in range(15)})
    assert among[0].low < alone[0].low
    assert among[0].p_worse == pytest.approx(16 * alone[0].p_worse)


def test_clusters_too_small_to_judge_neither_fail_nor_count() -> None:
    reference = np.ones(200)
    bad = {"bad": PairedSums.over_time(reference * 1.2 + 0.01 * losses(1, 200), reference)}
    tiny = {f"tiny {number}": PairedSums.over_time(np.full(4, 9.0), np.ones(4)) for number in range(50)}
    found = differences_by_cluster(bad | tiny, MARGIN)
    assert found[0] == differences_by_cluster(bad, MARGIN)[0]
    assert {(of.low, of.p_worse) for of in found[1:]} == {(-np.inf, 1.0)}
    assert guard("clusters", *check_guards(VALID, found[1:], MARGIN)).figure is None


@given(st.lists(st.floats(0.8, 1.4), min_size=1, max_size=12))
def test_the_guard_fails_where_a_corrected_bound_is_beyond_the_limit_and_nowhere_else(ratios: list[float]) -> None:
    found = clusters({str(number): ratio for number, ratio in enumerate(ratios)})
    checked = guard("clusters", *check_guards(VALID, found, MARGIN))
    assert checked.passed == all(of.p_worse >= 0.05 for of in found)
    assert checked.passed or checked.figure > checked.limit  # type: ignore[operator]


def test_equal_models_fail_in_one_of_sixteen_clusters_in_few_trials() -> None:
    trials = 200
    random = np.random.default_rng(20_261_120)
    alarms = 0
    for _ in range(trials):
        pairs = np.exp(random.normal(size=(16, 2, 60)))
        found = differences_by_cluster({str(n): PairedSums.over_time(c, p) for n, (c, p) in enumerate(pairs)}, MARGIN)
        alarms += not guard("clusters", *check_guards(VALID, found, MARGIN)).passed
    assert alarms / trials < 0.1  # 5 % at most, plus three standard errors
