"""Naive rules say what they say of what was known, and nothing more."""

from __future__ import annotations

import math
from types import SimpleNamespace

import pytest

from forecastle.records.outcomes import NOTHING_KNOWN, Known, Outcomes
from forecastle.registry.baselines import BASELINES, LEAST_OF_TYPE, baseline, baselines_for

ASKED = SimpleNamespace(estimate=6.0, similar=math.log(8.0))
SILENT = SimpleNamespace(estimate=math.nan, similar=math.nan)
PROJECT = Outcomes(3, 4.0, 3.0, (1.0, 3.0, 8.0))
KNOWN = Known(PROJECT, {"issue_type": Outcomes.of_latest([5.0] * LEAST_OF_TYPE)})
FEW = Known(PROJECT, {"issue_type": Outcomes.of_latest([5.0] * (LEAST_OF_TYPE - 1))})


@pytest.mark.parametrize(
    "name, expected",
    [("rolling_median", 3.0), ("median", 3.0), ("mean", 4.0), ("type_median", 5.0), ("similarity", 8.0),
     ("estimate", 6.0)],
)  # fmt: skip
def test_each_rule_says_what_it_is_named_after(name: str, expected: float) -> None:
    assert baseline(name, ASKED, KNOWN) == pytest.approx(expected)
    assert name in BASELINES


@pytest.mark.parametrize("name", ["type_median", "similarity", "estimate"])
def test_where_a_rule_has_nothing_to_go_by_the_rolling_median_answers(name: str) -> None:
    assert baseline(name, SILENT, FEW) == PROJECT.rolling_median


@pytest.mark.parametrize("name", sorted(BASELINES))
def test_where_nothing_is_known_at_all_no_rule_says_anything(name: str) -> None:
    assert math.isnan(baseline(name, SILENT, NOTHING_KNOWN))


def test_an_estimate_needs_no_history() -> None:
    assert baseline("estimate", ASKED, NOTHING_KNOWN) == 6.0


def test_the_estimate_answers_only_where_there_is_one_for_certain() -> None:
    priors = {"rolling_median": 0.0, "estimate": -0.1}
    assert baselines_for(priors, "estimate_hours") == priors
    assert baselines_for(priors, None) == {"rolling_median": 0.0}


def test_a_rule_that_nobody_wrote_is_an_error() -> None:
    with pytest.raises(KeyError):
        baseline("guess", ASKED, KNOWN)
