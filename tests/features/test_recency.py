"""What was known at a moment is what had become known by then, and nothing later."""

from __future__ import annotations

import math
import statistics

from hypothesis import given
from hypothesis import strategies as st

from forecastle.features.recency import KnownOutcomes
from forecastle.records.outcomes import NONE_KNOWN, RECENT, ROLLING

moments = st.integers(0, 12).map(float)
histories = st.lists(st.tuples(moments, st.floats(0, 100)), max_size=60)


@given(histories, moments)
def test_what_was_known_equals_a_naive_recomputation(history: list[tuple[float, float]], moment: float) -> None:
    found = KnownOutcomes([known for known, _ in history], [value for _, value in history]).at(moment)
    known = [value for at, value in sorted(history, key=lambda pair: pair[0]) if at <= moment]
    if not known:
        assert found is NONE_KNOWN
        return
    assert found.count == len(known)
    assert math.isclose(found.mean, statistics.fmean(known), rel_tol=1e-9, abs_tol=1e-12)
    assert found.median == statistics.median(known)
    assert found.recent == tuple(known)
    assert found.rolling_median == statistics.median(known[-ROLLING:])


@given(histories, moments, st.floats(0, 1000))
def test_outcomes_that_become_known_later_have_no_influence(
    history: list[tuple[float, float]], moment: float, other: float
) -> None:
    def at(values: list[float]) -> object:
        return KnownOutcomes([known for known, _ in history], values).at(moment)

    truth = [value for _, value in history]
    altered = [other if known > moment else value for known, value in history]
    assert at(altered) == at(truth)


def test_ties_keep_the_order_of_the_rows() -> None:
    assert KnownOutcomes([2.0, 1.0, 2.0], [7.0, 5.0, 9.0]).at(2.0).recent == (5.0, 7.0, 9.0)


def test_only_the_recent_outcomes_are_kept_one_by_one_but_all_of_them_count() -> None:
    many = RECENT + 25
    found = KnownOutcomes([float(i) for i in range(many)], [float(i) for i in range(many)]).at(1e9)
    assert (found.count, found.mean, found.median) == (many, (many - 1) / 2, (many - 1) / 2)
    assert found.recent == tuple(float(i) for i in range(25, many))
    assert found.rolling_median == statistics.median(range(many - ROLLING, many))
