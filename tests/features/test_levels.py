"""Where a project's outcomes lie, on the log scale."""

from __future__ import annotations

import math
import statistics

from hypothesis import given
from hypothesis import strategies as st

from forecastle.features.levels import (
    COLD_CENTRE,
    COLD_SPREAD,
    FLOOR,
    LEAST_FOR_SPREAD,
    LEAST_SPREAD,
    LogLevels,
    log,
    log_levels,
)
from forecastle.records.outcomes import NONE_KNOWN, ROLLING, Outcomes


def known(values: list[float]) -> Outcomes:
    return Outcomes(len(values), statistics.fmean(values), statistics.median(values), tuple(values))


def test_a_cold_start_has_the_customary_level_and_no_deviations() -> None:
    assert log_levels(NONE_KNOWN) == LogLevels(COLD_CENTRE, COLD_SPREAD, 0.0, 0.0, 0.0, 0.0, 0.0)


def test_too_few_outcomes_have_the_spread_of_a_cold_start() -> None:
    assert log_levels(known([1.0, 100.0] * 4)).spread == COLD_SPREAD
    assert log_levels(known([1.0, 100.0] * (LEAST_FOR_SPREAD // 2))).spread > COLD_SPREAD


def test_equal_outcomes_have_the_least_spread() -> None:
    assert log_levels(known([3.0] * 30)).spread == LEAST_SPREAD


def test_outcomes_below_the_floor_count_as_the_floor() -> None:
    assert log(0.0) == log(FLOOR) == math.log(FLOOR)
    assert log(-1.0) == math.log(FLOOR)
    assert log_levels(known([0.0] * 12)) == log_levels(known([FLOOR] * 12))


@given(st.lists(st.floats(0, 1000), min_size=1, max_size=120))
def test_levels_equal_a_naive_recomputation_relative_to_the_centre(values: list[float]) -> None:
    found, logs = log_levels(known(values)), [math.log(max(value, FLOOR)) for value in values]
    centre = statistics.fmean(logs[-ROLLING:])
    expected = {
        "centre": centre,
        "rolling_median": math.log(max(statistics.median(values[-ROLLING:]), FLOOR)) - centre,
        "mean": math.log(max(statistics.fmean(values), FLOOR)) - centre,
        "median": math.log(max(statistics.median(values), FLOOR)) - centre,
        "last_10": statistics.fmean(logs[-10:]) - centre,
        "last_3": statistics.fmean(logs[-3:]) - centre,
    }
    for name, value in expected.items():
        assert math.isclose(getattr(found, name), value, rel_tol=1e-9, abs_tol=1e-9), name
    if len(values) >= LEAST_FOR_SPREAD:
        assert math.isclose(found.spread, max(statistics.stdev(logs), LEAST_SPREAD), rel_tol=1e-6)
