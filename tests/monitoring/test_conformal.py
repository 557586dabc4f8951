"""Split conformal thresholds keep their promise on finite samples."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from forecastle.monitoring.conformal import LATEST_ROWS, LEAST_OWN_ROWS, calibrate, threshold


@pytest.mark.parametrize("rows, target", [(4, 0.8), (19, 0.8), (50, 0.9)])
def test_the_next_score_is_held_as_often_as_promised(rows: int, target: float) -> None:
    trials = 6_000
    draws = np.random.default_rng(rows).exponential(size=(trials, rows + 1))
    share = np.mean([row[-1] <= threshold(row[:-1].tolist(), target) for row in draws])
    exact = math.ceil((rows + 1) * target) / (rows + 1)
    error = 4 * math.sqrt(exact * (1 - exact) / trials)
    assert share >= target - error
    assert abs(share - exact) < error


def test_too_few_scores_promise_nothing_short_of_everything() -> None:
    assert threshold([], 0.8) == math.inf
    assert threshold([1.0, 2.0, 3.0], 0.8) == math.inf
    assert threshold([1.0, 2.0, 4.0, 3.0], 0.8) == 4.0


@given(st.lists(st.floats(0, 1), min_size=1, max_size=60), st.floats(0.05, 0.95), st.floats(0.05, 0.95))
def test_a_higher_target_reaches_at_least_as_far(scores: list[float], first: float, second: float) -> None:
    assert threshold(scores, min(first, second)) <= threshold(scores, max(first, second))


def test_a_cluster_has_a_threshold_of_its_own_from_a_hundred_rows_on() -> None:
    found = calibrate({"few": [9.0] * (LEAST_OWN_ROWS - 1), "enough": [1.0] * LEAST_OWN_ROWS}, 0.8)
    assert LEAST_OWN_ROWS == 100
    assert found.by_cluster == {"enough": 1.0}
    assert found.of("enough") == 1.0
    assert found.of("few") == found.of("never seen") == found.pooled == 9.0


def test_old_scores_of_a_cluster_do_not_count() -> None:
    found = calibrate({"one": [99.0] * 1_000 + [1.0] * LATEST_ROWS}, 0.8)
    assert found.pooled == found.of("one") == 1.0


def test_without_scores_the_pooled_threshold_is_infinite() -> None:
    assert calibrate({}, 0.8).of("any") == math.inf
