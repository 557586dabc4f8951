"""Split conformal thresholds keep their promise on finite samples."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from forecastle.monitoring.conformal import GRID, LATEST_ROWS, LEAST_OWN_ROWS, Thresholds, calibrate, threshold


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


def test_where_nothing_was_scored_no_share_is_made_up() -> None:
    assert math.isnan(calibrate({}, 0.8).share_within("any", 1.0))
    assert math.isnan(Thresholds(1.0, {"a": 2.0}).share_within("a", 1.0))


@given(st.lists(st.floats(0, 5), min_size=1, max_size=150), st.floats(0, 5), st.floats(0, 5))
def test_the_share_within_a_score_is_a_probability_and_grows_with_it(
    scores: list[float], first: float, second: float
) -> None:
    found = calibrate({"a": scores}, 0.8)
    low, high = (found.share_within("never seen", score) for score in sorted((first, second)))
    assert 0 < low <= high < 1
    counted = sum(score <= max(first, second) for score in scores)
    assert abs(high - counted / len(scores)) <= 0.5 / (len(scores) + 1) + 1e-12


def test_a_cluster_with_scores_enough_has_a_share_of_its_own() -> None:
    found = calibrate({"sure": [0.1] * LEAST_OWN_ROWS, "unsure": [2.0] * LEAST_OWN_ROWS, "few": [2.0] * 9}, 0.8)
    assert found.share_within("sure", 1.0) > 0.99
    assert found.share_within("unsure", 1.0) < 0.01
    pooled = LEAST_OWN_ROWS / (2 * LEAST_OWN_ROWS + 9)
    assert found.share_within("few", 1.0) == found.share_within("never seen", 1.0) == pytest.approx(pooled, abs=0.02)


def test_of_many_scores_a_few_are_kept_that_say_nearly_the_same() -> None:
    scores = np.random.default_rng(1).exponential(size=LATEST_ROWS).tolist()
    found = calibrate({"a": scores, "b": scores, "c": scores}, 0.8)
    assert len(found.scores) == len(found.scores_by_cluster["a"]) == GRID
    assert list(found.scores) == sorted(found.scores)
    for score in (0.05, 0.5, 1.0, 3.0):
        exact = sum(one <= score for one in scores) / len(scores)
        assert found.share_within("a", score) == pytest.approx(exact, abs=0.01)
        assert found.share_within("never seen", score) == pytest.approx(exact, abs=0.01)


def test_a_threshold_at_the_target_holds_about_that_share() -> None:
    scores = np.random.default_rng(2).exponential(size=400).tolist()
    found = calibrate({"a": scores}, 0.8)
    assert found.share_within("a", found.of("a")) == pytest.approx(0.8, abs=0.01)
