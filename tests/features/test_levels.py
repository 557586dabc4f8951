"""Where a project's outcomes lie, on the log scale."""

from __future__ import annotations

import math
import statistics

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from forecastle.features.levels import LEAST_FOR_SPREAD, LEAST_SPREAD, RUNGS, LogLevels, LogScale, log_levels
from forecastle.records.outcomes import NONE_KNOWN, ROLLING, Outcomes

SCALE = LogScale(floor=0.25, cold_centre=math.log(3.0), cold_spread=0.8)
values = st.lists(st.floats(0, 1000), min_size=1, max_size=120)


def known(values: list[float]) -> Outcomes:
    return Outcomes(len(values), statistics.fmean(values), statistics.median(values), tuple(values))


def test_a_cold_start_has_the_customary_level_and_no_deviations() -> None:
    assert log_levels(NONE_KNOWN, SCALE) == LogLevels(SCALE.cold_centre, SCALE.cold_spread, 0.0, 0.0, 0.0, 0.0, 0.0)


def test_too_few_outcomes_have_the_spread_of_a_cold_start() -> None:
    assert log_levels(known([1.0, 100.0] * 4), SCALE).spread == SCALE.cold_spread
    assert log_levels(known([1.0, 100.0] * (LEAST_FOR_SPREAD // 2)), SCALE).spread > SCALE.cold_spread


def test_equal_outcomes_have_the_least_spread() -> None:
    assert log_levels(known([3.0] * 30), SCALE).spread == LEAST_SPREAD


def test_outcomes_below_the_floor_count_as_the_floor() -> None:
    assert SCALE.log(0.0) == SCALE.log(SCALE.floor) == math.log(SCALE.floor)
    assert SCALE.log(-1.0) == math.log(SCALE.floor)
    assert log_levels(known([0.0] * 12), SCALE) == log_levels(known([SCALE.floor] * 12), SCALE)


@given(values)
def test_levels_equal_a_naive_recomputation_relative_to_the_centre(values: list[float]) -> None:
    found, logs = log_levels(known(values), SCALE), [math.log(max(value, SCALE.floor)) for value in values]
    centre = statistics.fmean(logs[-ROLLING:])
    expected = {
        "centre": centre,
        "rolling_median": math.log(max(statistics.median(values[-ROLLING:]), SCALE.floor)) - centre,
        "mean": math.log(max(statistics.fmean(values), SCALE.floor)) - centre,
        "median": math.log(max(statistics.median(values), SCALE.floor)) - centre,
        "last_10": statistics.fmean(logs[-10:]) - centre,
        "last_3": statistics.fmean(logs[-3:]) - centre,
    }
    for name, value in expected.items():
        assert math.isclose(getattr(found, name), value, rel_tol=1e-9, abs_tol=1e-9), name
    if len(values) >= LEAST_FOR_SPREAD:
        assert math.isclose(found.spread, max(statistics.stdev(logs), LEAST_SPREAD), rel_tol=1e-6)


@given(values)
def test_the_ladder_holds_the_deciles_and_is_empty_where_too_few_are_known(values: list[float]) -> None:
    found = log_levels(known(values), SCALE)
    if len(values) < 2 * RUNGS:
        assert found.ladder == ()
        return
    logs = [SCALE.log(value) for value in values]
    expected = np.quantile(logs, [rung / (RUNGS + 1) for rung in range(1, RUNGS + 1)]) - found.centre
    np.testing.assert_allclose(found.ladder, expected, rtol=0, atol=1e-9)
