"""What was known at a moment is what had become known by then, and nothing later."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence

from hypothesis import given, settings
from hypothesis import strategies as st

from forecastle.features.recency import GroupOutcomes, History, KnownOutcomes
from forecastle.records.outcomes import NONE_KNOWN, RECENT, ROLLING, Case, Outcomes

moments = st.integers(0, 12).map(float)
histories = st.lists(st.tuples(moments, st.floats(0, 100)), max_size=60)
KEYS = [("Bug",), ("Story",), ("never seen",)]
# When each became known, what came out, what was estimated, and which group it is in.
entries = st.lists(
    st.tuples(moments, st.floats(0, 100), st.one_of(st.just(math.nan), st.floats(1, 50)), st.sampled_from(KEYS[:2])),
    max_size=60,
)
Entries = list[tuple[float, float, float, tuple[str]]]


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


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=80))
def test_running_medians_are_the_medians_of_everything_so_far(values: list[float]) -> None:
    known = KnownOutcomes([float(number) for number in range(len(values))], values)
    found = [known.at(float(number)).median for number in range(len(values))]
    assert found == [statistics.median(values[: number + 1]) for number in range(len(values))]


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


def history_of(entries: Entries) -> History:
    def columns(found: Sequence[tuple[float, float, float, tuple[str]]]) -> tuple[list[float], ...]:
        return [e[0] for e in found], [e[1] for e in found], [e[2] for e in found]

    cases = [Case(f"A-{number}", f"Issue {number}", value) for number, (_, value, _, _) in enumerate(entries)]
    groups = {("type", key): [e for e in entries if e[3] == key] for key in KEYS[:2]}
    return History(
        KnownOutcomes(*columns(entries), cases),
        {name: GroupOutcomes(*columns(found)) for name, found in groups.items() if found},
    )


def as_text(outcomes: Outcomes) -> str:
    """NaN equals nothing; as text it does."""
    return str((outcomes.count, outcomes.median, outcomes.recent, outcomes.estimates))


@settings(max_examples=200)
@given(entries, moments, st.sampled_from(KEYS))
def test_groups_and_cases_equal_a_naive_recomputation(entries: Entries, moment: float, key: tuple[str]) -> None:
    found = history_of(entries).at(moment, {"type": key})
    by_then = [(n, e) for n, e in sorted(enumerate(entries), key=lambda pair: pair[1][0]) if e[0] <= moment]
    assert [case.key for case in found.cases] == [f"A-{number}" for number, _ in by_then]
    assert found.project.recent == tuple(e[1] for _, e in by_then)
    assert str(found.project.estimates) == str(tuple(e[2] for _, e in by_then))
    members = [e for _, e in by_then if e[3] == key][-ROLLING:]
    expected = Outcomes.of_latest([e[1] for e in members], [e[2] for e in members])
    assert as_text(found.group("type")) == as_text(expected)
    assert found.group("type").count == len(members)


@given(entries, moments, st.sampled_from(KEYS))
def test_what_becomes_known_later_reaches_no_group_and_no_case(
    entries: Entries, moment: float, key: tuple[str]
) -> None:
    altered = [(at, value, estimate, group) if at <= moment else (at, 99.0, 77.0, KEYS[0])
               for at, value, estimate, group in entries]  # fmt: skip
    first, second = (history_of(each).at(moment, {"type": key}) for each in (entries, altered))
    assert as_text(first.group("type")) == as_text(second.group("type"))
    assert first.cases == second.cases


def test_a_group_that_was_not_asked_for_is_not_there() -> None:
    found = history_of([(1.0, 3.0, math.nan, ("Bug",))]).at(2.0, {})
    assert found.groups == {}
    assert found.group("type") is NONE_KNOWN


def test_only_the_latest_cases_and_members_of_a_group_are_kept() -> None:
    many = RECENT + 30
    found = history_of([(float(i), float(i), math.nan, ("Bug",)) for i in range(many)]).at(1e9, {"type": ("Bug",)})
    assert [case.value for case in found.cases] == [float(i) for i in range(30, many)]
    assert found.group("type").recent == tuple(float(i) for i in range(many - ROLLING, many))
    assert found.group("type").median == statistics.median(range(many - ROLLING, many))
