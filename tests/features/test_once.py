"""What is made of outcomes that are kept is made once, and is what is made of others."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from forecastle.features.issues import group_numbers, log_ratios, ratio_numbers
from forecastle.features.levels import LogScale, log_levels
from forecastle.records.outcomes import Outcomes, once

SCALE, OTHER = LogScale(0.25, 1.0, 0.8), LogScale(0.5, 1.0, 0.8)
HOURS = st.floats(0.0, 1e4)


@given(st.lists(st.tuples(HOURS, HOURS | st.just(float("nan"))), max_size=60), st.floats(-3, 3))
def test_kept_outcomes_say_the_same_every_time_on_every_scale(pairs: list[tuple[float, float]], centre: float) -> None:
    alone = Outcomes.of_latest([value for value, _ in pairs], [guess for _, guess in pairs])
    kept = replace(alone, derived={})
    for _ in range(2):
        for scale in (SCALE, OTHER):
            assert repr(log_levels(kept, scale)) == repr(log_levels(alone, scale))
            assert repr(log_ratios(kept, scale)) == repr(log_ratios(alone, scale))
            assert repr(ratio_numbers("a", kept, scale)) == repr(ratio_numbers("a", alone, scale))
            assert repr(group_numbers("a", kept, scale, centre)) == repr(group_numbers("a", alone, scale, centre))
    assert kept == alone
    assert alone.derived is None


def test_it_is_made_once_and_only_of_what_is_kept() -> None:
    made: list[int] = []

    @once
    def count(outcomes: Outcomes, scale: LogScale) -> list[int]:
        made.append(outcomes.count)
        return []

    alone = Outcomes.of_latest([1.0, 2.0])
    kept = replace(alone, derived={})
    assert [count(kept, SCALE) for _ in range(3)] == [[]] * 3
    assert len(made) == 1
    count(kept, OTHER)
    assert len(made) == 2
    count(alone, SCALE)
    count(alone, SCALE)
    assert len(made) == 4
