"""Coverage carries the exact interval of Clopper and Pearson."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom

from forecastle.monitoring.coverage import Coverage, coverage


def held(rows: int, inside: int) -> Coverage:
    outcomes = np.array([0.5] * inside + [2.0] * (rows - inside))
    return coverage(outcomes, np.zeros(rows), np.ones(rows))


@pytest.mark.parametrize(
    "rows, inside, low, high",
    [
        (10, 8, 0.4439045, 0.9747893),
        (10, 0, 0.0, 0.3084971),
        (10, 10, 0.6915029, 1.0),
        (100, 80, 0.7081573, 0.8733444),
    ],
)
def test_intervals_equal_published_values(rows: int, inside: int, low: float, high: float) -> None:
    found = held(rows, inside)
    assert found.share == inside / rows
    assert found.low == pytest.approx(low, abs=1e-6)
    assert found.high == pytest.approx(high, abs=1e-6)


@given(st.integers(1, 400), st.data())
def test_the_share_lies_in_its_interval_and_each_bound_cuts_off_a_fortieth(rows: int, data: st.DataObject) -> None:
    inside = data.draw(st.integers(0, rows))
    found = held(rows, inside)
    assert 0.0 <= found.low <= found.share <= found.high <= 1.0
    if inside:
        assert binom.sf(inside - 1, rows, found.low) == pytest.approx(0.025, rel=1e-6)
    if inside < rows:
        assert binom.cdf(inside, rows, found.high) == pytest.approx(0.025, rel=1e-6)


def test_both_ends_belong_to_an_interval() -> None:
    found = coverage(np.array([0.0, 3.0, 3.1]), np.array([0.0, 1.0, 1.0]), np.array([1.0, 3.0, 3.0]))
    assert (found.rows, found.share, found.median_width) == (3, 2 / 3, 2.0)


def test_no_rows_say_nothing() -> None:
    found = coverage(np.array([]), np.array([]), np.array([]))
    assert (found.rows, found.low, found.high) == (0, 0.0, 1.0)
    assert math.isnan(found.share)
