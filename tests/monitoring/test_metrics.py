"""Metrics and their intervals."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import spearmanr, t

import projects
from forecastle.monitoring.metrics import METRICS, difference_over_time, mean_over_time


def test_each_metric_says_what_it_is_called() -> None:
    answers, outcomes = np.array([1.0, 2.0, 8.0, 3.0]), np.array([2.0, 5.0, 4.0, 3.0])
    found = {name: metric.measure(answers, outcomes).value for name, metric in METRICS.items()}
    assert found["mae"] == pytest.approx((1 + 3 + 4 + 0) / 4)
    assert found["within_factor_2"] == pytest.approx(3 / 4)
    assert found["rank_correlation"] == pytest.approx(spearmanr(answers, outcomes).statistic)


def test_a_constant_answer_has_no_rank_correlation() -> None:
    assert math.isnan(METRICS["rank_correlation"].measure(np.ones(9), np.arange(9.0)).value)


def test_every_declared_metric_is_known() -> None:
    for model_type in projects.discover().values():
        assert set(model_type.metrics) <= set(METRICS)


def test_the_interval_of_a_mean_is_the_t_interval_of_blocks_of_equal_size() -> None:
    values = np.random.default_rng(7).gamma(2.0, size=200)
    found = mean_over_time(values)
    means = values.reshape(10, 20).mean(axis=1)
    reach = t.ppf(0.975, 9) * means.std(ddof=1) / math.sqrt(10)
    assert found.value == pytest.approx(values.mean())
    assert (found.low, found.high) == pytest.approx((values.mean() - reach, values.mean() + reach))


def test_the_interval_of_independent_rows_holds_the_mean_as_often_as_it_says() -> None:
    random = np.random.default_rng(11)
    found = [mean_over_time(random.gamma(2.0, size=100)) for _ in range(1_000)]
    assert 0.92 <= np.mean([one.low <= 2.0 <= one.high for one in found]) <= 0.975


def test_rows_that_hang_together_give_a_wider_interval_than_rows_in_random_order() -> None:
    random = np.random.default_rng(3)
    drifting = np.repeat(random.gamma(2.0, size=20), 20)
    ordered, shuffled = mean_over_time(drifting), mean_over_time(random.permutation(drifting))
    assert ordered.high - ordered.low > 1.5 * (shuffled.high - shuffled.low)


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=60))
def test_a_mean_lies_in_its_interval_and_no_bound_below_zero(values: list[float]) -> None:
    found = mean_over_time(np.array(values))
    assert found.value == pytest.approx(np.mean(values), abs=1e-3)
    assert 0 <= found.low <= found.value * (1 + 1e-9) + 1e-9
    assert found.high >= found.value * (1 - 1e-9) - 1e-9


def test_fewer_rows_than_blocks_that_a_t_interval_needs_bound_nothing() -> None:
    assert not mean_over_time(np.array([1.0, 2.0, 4.0])).bounded
    assert math.isnan(mean_over_time(np.zeros(0)).value)


def test_a_share_has_no_bound_above_one() -> None:
    answers, outcomes = np.ones(40), np.where(np.arange(40) == 0, 9.0, 1.0)
    assert METRICS["within_factor_2"].measure(answers, outcomes).high == 1.0


def test_a_method_against_itself_differs_by_nothing_and_half_the_error_is_half() -> None:
    losses = np.random.default_rng(5).gamma(2.0, size=50)
    same, half = difference_over_time(losses, losses), difference_over_time(losses / 2, losses)
    assert (same.value, same.low, same.high) == (0.0, 0.0, 0.0)
    assert (half.value, half.low, half.high) == pytest.approx((-0.5, -0.5, -0.5))
