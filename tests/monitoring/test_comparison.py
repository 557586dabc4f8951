"""Paired losses over time: equal methods are called equal, worse ones worse."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from forecastle.monitoring.comparison import LEAST_BLOCKS, Comparison, PairedSums, compare_over_time, holm


def losses(seed: int, rows: int = 400) -> np.ndarray:
    return np.abs(np.random.default_rng(seed).normal(size=rows))


@given(st.integers(0, 1000), st.integers(LEAST_BLOCKS, 300))
def test_equal_losses_differ_by_nothing_and_are_not_worse(seed: int, rows: int) -> None:
    same = losses(seed, rows)
    assert compare_over_time(same, same) == Comparison(rows, 0.0, 0.0, 0.0, 1.0)


def test_a_clearly_worse_method_is_detected() -> None:
    found = compare_over_time(losses(1) * (1.5 + 0.1 * np.tile([-1, 1], 200)), losses(1))
    assert found.difference == pytest.approx(0.5, abs=0.02)
    assert 0 < found.low < found.difference < found.high
    assert found.p_worse < 0.001


def test_a_clearly_better_method_is_not_called_worse() -> None:
    found = compare_over_time(losses(1) * 0.5, losses(1))
    assert found.difference == pytest.approx(-0.5)
    assert found.high < 0
    assert found.p_worse > 0.999


def test_the_same_difference_in_every_block_is_certain() -> None:
    ones = np.ones(100)
    assert compare_over_time(ones * 2, ones) == Comparison(100, 1.0, 1.0, 1.0, 0.5**10)


def test_one_row_decides_nothing() -> None:
    assert compare_over_time(np.array([9.0]), np.array([1.0])).p_worse == 1.0
    assert compare_over_time(np.array([]), np.array([])).p_worse == 1.0


@given(st.integers(0, 1000), st.integers(2, 200), st.floats(0.1, 10))
def test_the_difference_is_that_of_the_sums_and_lies_in_its_interval(seed: int, rows: int, factor: float) -> None:
    candidate, reference = losses(seed, rows) * factor, losses(seed + 1, rows)
    found = compare_over_time(candidate, reference)
    assert found.low <= found.difference <= found.high
    assert 0 <= found.p_worse <= 1
    assert found.difference == pytest.approx((candidate.sum() - reference.sum()) / reference.sum(), abs=1e-9)
    if rows >= LEAST_BLOCKS:
        assert (found.p_worse < 0.05) == (found.low > 0) or found.p_worse == pytest.approx(0.05)


def test_an_unlucky_first_half_does_not_count_as_many_rows() -> None:
    """Neighbouring rows resemble each other: 400 rows in four runs are not 400 pieces of evidence."""
    runs = np.repeat([1.0, -0.9, 1.0, -0.9, 1.0, -0.9, 1.0, -0.9, 1.0, -0.9], 40)
    assert compare_over_time(10 + runs, np.full(400, 10.0)).p_worse > 0.3


def test_equal_methods_are_called_worse_in_one_of_twenty_trials() -> None:
    random, trials = np.random.default_rng(20_260_101), 2_000
    pairs = np.abs(random.normal(size=(trials, 2, 200)))
    alarms = sum(compare_over_time(candidate, reference).p_worse < 0.05 for candidate, reference in pairs)
    assert 0.035 < alarms / trials < 0.065  # three standard errors around 5 %


def test_errors_where_the_reference_makes_none_are_worse() -> None:
    candidate = losses(3) + 0.1
    assert compare_over_time(candidate, np.zeros(len(candidate))).p_worse < 0.001


@given(st.integers(0, 1000), st.integers(LEAST_BLOCKS, 20), st.floats(0.3, 3), st.sampled_from([0.9, 0.95, 0.99]))
def test_bounds_are_the_differences_that_the_test_just_does_not_refuse(
    seed: int, units: int, factor: float, confidence: float
) -> None:
    random = np.random.default_rng(seed)
    reference = random.gamma(9.0, size=units)
    found = PairedSums(1_000, factor * random.gamma(9.0, size=units) - reference, reference)
    low, high = found.bounds(confidence)
    assert found.p_worse(low) == pytest.approx(1 - confidence, abs=1e-6)
    assert found.p_worse(high) == pytest.approx(confidence, abs=1e-6)


def test_clusters_that_differ_alike_leave_no_doubt_about_the_ratio() -> None:
    reference, codes = np.array([1.0, 2.0, 3.0, 4.0, 5.0, 6.0]), np.array([0, 1, 2, 3, 4, 0])
    found = PairedSums.over_clusters(1.25 * reference, reference, codes).compare()
    assert (found.difference, found.low, found.high) == (0.25, 0.25, 0.25)


def test_a_reference_whose_loss_hangs_on_one_cluster_is_bounded_on_one_side_at_most() -> None:
    reference = np.array([1_000.0, 0.01, 0.01, 0.01, 0.01])
    assert PairedSums(5, np.array([100.0, 1.0, 2.0, -1.0, 0.0]), reference).bounds() == (-np.inf, np.inf)
    low, high = PairedSums(5, np.array([1.0, 1.1, 0.9, 1.0, 1.0]), reference).bounds()
    assert (0 < low < 1, high) == (True, np.inf)
    low, high = PairedSums(5, -np.array([1.0, 1.1, 0.9, 1.0, 1.0]), reference).bounds()
    assert (low, -1 < high < 0) == (-np.inf, True)


def test_equal_methods_are_called_better_in_one_of_twenty_trials_where_clusters_are_of_unequal_size() -> None:
    random, trials = np.random.default_rng(20_261_120), 2_000
    codes = np.repeat(np.arange(6), [200, 100, 66, 50, 40, 33])
    pairs = np.exp(random.normal(size=(trials, 2, len(codes))))
    highs = [PairedSums.over_clusters(candidate, reference, codes).bounds()[1] for candidate, reference in pairs]
    assert 0.03 < np.mean(np.array(highs) < 0) < 0.065  # three standard errors around 5 %; unequal sizes may lower it


def test_holm_equals_a_hand_computed_example() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.5, 0.9]) == pytest.approx([1.0, 1.0])
    assert holm([0.04]) == [0.04]
    assert holm([]) == []


@given(st.lists(st.floats(0, 1), max_size=20))
def test_corrected_values_are_no_smaller_and_keep_their_order(raw: list[float]) -> None:
    corrected = holm(raw)
    assert all(before <= after <= 1 for before, after in zip(raw, corrected, strict=True))
    in_order = [corrected[index] for index in sorted(range(len(raw)), key=raw.__getitem__)]
    assert in_order == sorted(in_order)


def test_fewer_rows_than_blocks_of_evidence_decide_nothing() -> None:
    found = compare_over_time(np.full(4, 2.0), np.full(4, 1.0))
    assert (found.difference, found.low, found.high, found.p_worse) == (1.0, -np.inf, np.inf, 1.0)


def test_a_p_value_that_is_no_number_is_refused() -> None:
    with pytest.raises(ValueError, match="not a number"):
        holm([0.001, float("nan")])
