"""Numbers of one issue: how its group went, how estimates turned out, and where it lies on its project's ladder."""

from __future__ import annotations

import math
import statistics
from array import array
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forecastle.features.issues import (
    MOST_LOG,
    IssueFeatures,
    group_numbers,
    labels_of,
    log_ratios,
    packed,
    ratio_numbers,
)
from forecastle.features.levels import LogScale, log_levels
from forecastle.records.outcomes import NONE_KNOWN, Outcomes

SCALE = LogScale(floor=0.25, cold_centre=1.0, cold_spread=0.8)
values = st.lists(st.floats(0.25, 1000), min_size=1, max_size=60)


def issue(outcomes: Outcomes = NONE_KNOWN, centre: float = 0.0, spread: float = 1.0) -> IssueFeatures:
    return IssueFeatures(
        cluster="A",
        names=(),
        numbers=array("d"),
        title=(),
        description=(),
        labels=(),
        scale=SCALE,
        levels=log_levels(outcomes, SCALE),
        centre=centre,
        spread=spread,
        weight=1.0,
    )


@given(values, st.floats(-5, 5))
def test_group_numbers_equal_a_naive_recomputation(values: list[float], centre: float) -> None:
    found = group_numbers("type", Outcomes.of_latest(values), SCALE, centre)
    logs = [math.log(value) for value in values]
    assert found == pytest.approx(
        {
            "type.count": math.log(1 + len(logs)),
            "type.mean": statistics.fmean(logs) - centre,
            "type.median": statistics.median(logs) - centre,
            "type.last_3": statistics.fmean(logs[-3:]) - centre,
            "type.last_10": statistics.fmean(logs[-10:]) - centre,
            "type.spread": statistics.pstdev(logs),
        },
        abs=1e-7,
    )


def test_an_empty_group_counts_none_and_knows_nothing_else() -> None:
    found = group_numbers("type", NONE_KNOWN, SCALE, 1.0)
    assert found.pop("type.count") == 0.0
    assert all(math.isnan(value) for value in found.values())


def test_ratios_are_those_of_outcomes_that_somebody_had_estimated() -> None:
    outcomes = Outcomes.of_latest([2.0, 3.0, 8.0], [1.0, math.nan, 16.0])
    assert log_ratios(outcomes, SCALE) == pytest.approx([math.log(2), -math.log(2)])
    found = ratio_numbers("project", outcomes, SCALE)
    assert found == pytest.approx(dict.fromkeys(found, 0.0), abs=1e-12)
    assert set(found) == {"project.ratio_mean", "project.ratio_median", "project.ratio_last_3"}


@pytest.mark.parametrize("outcomes", [NONE_KNOWN, Outcomes.of_latest([2.0, 4.0], [math.nan] * 2)])
def test_without_estimates_there_are_no_ratios(outcomes: Outcomes) -> None:
    assert log_ratios(outcomes, SCALE) == ()
    assert all(math.isnan(value) for value in ratio_numbers("project", outcomes, SCALE).values())


def test_outcomes_that_came_without_estimates_are_no_error() -> None:
    assert log_ratios(Outcomes.of_latest([2.0, 4.0]), SCALE) == ()


@given(values, st.floats(-3, 3), st.floats(0.25, 3))
def test_the_ladder_of_an_issue_holds_the_projects_deciles_as_deviations(
    values: list[float], centre: float, spread: float
) -> None:
    found = issue(Outcomes.of_latest(values), centre, spread)
    levels = found.levels
    assert len(found.ladder) == len(levels.ladder)
    for rung, of_project in zip(found.ladder, levels.ladder, strict=True):
        assert rung * spread + centre == pytest.approx(of_project + levels.centre, abs=1e-9)


@given(st.floats(0.25, 1e6), st.floats(-5, 5), st.floats(0.25, 3))
def test_units_and_deviations_are_each_others_inverse(value: float, centre: float, spread: float) -> None:
    found = issue(centre=centre, spread=spread)
    assert found.to_units(found.to_deviation(value)) == pytest.approx(value, rel=1e-9)


def test_a_wild_deviation_is_a_finite_number_of_units() -> None:
    assert issue().to_units(1e9) == math.exp(MOST_LOG)
    assert issue().to_units(-1e9) >= 0.0


def test_names_are_shared_by_issues_that_have_the_same_numbers() -> None:
    (first, numbers), (second, _) = packed({"a": 1.0, "b": math.nan}), packed({"a": 2.0, "b": 3.0})
    assert first is second
    assert first == ("a", "b")
    assert str(list(numbers)) == "[1.0, nan]"


def test_labels_say_which_field_they_are_of_and_leave_out_what_is_not_said() -> None:
    request = {"issue_type": "Bug", "component": "", "reporter": None, "title": "x"}
    assert labels_of(request, ("issue_type", "component", "reporter", "assignee")) == ("issue_type=Bug",)


def test_features_may_be_held_against_each_other() -> None:
    assert replace(issue(), weight=2.0) != issue()
    assert issue() == replace(issue(), estimate=issue().estimate, similar=issue().similar)
