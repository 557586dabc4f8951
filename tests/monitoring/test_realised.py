"""Figures of what was served, from sums alone."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from forecastle.monitoring.comparison import BLOCKS, compare_over_time
from forecastle.monitoring.coverage import coverage
from forecastle.monitoring.realised import LEAST_ROWS, realised
from forecastle.monitoring.sums import RealisedSums
from forecastle.store import performance

losses = st.floats(0.01, 100)
rows = st.lists(st.tuples(losses, losses, st.booleans()), min_size=LEAST_ROWS, max_size=80)
FEW = RealisedSums(rows=LEAST_ROWS - 1, compared=LEAST_ROWS - 1, loss=10, baseline_loss=20, promised=5, held=4)


def blocks_of(found: list[tuple[float, float, bool]]) -> list[RealisedSums]:
    parts = [list(part) for part in np.array_split(np.array(found, dtype=object), BLOCKS)]
    return [
        RealisedSums(
            rows=len(part),
            compared=len(part),
            loss=sum(row[0] for row in part),
            baseline_loss=sum(row[1] for row in part),
            promised=len(part),
            held=sum(row[2] for row in part),
        )
        for part in parts
    ]


@given(rows)
def test_sums_of_blocks_say_what_the_rows_say(found: list[tuple[float, float, bool]]) -> None:
    figures = realised(blocks_of(found), 0.8)
    served, reference = (np.array([row[place] for row in found]) for place in (0, 1))
    expected = compare_over_time(served, reference)
    assert figures.mean_absolute_error == pytest.approx(served.mean())
    assert figures.baseline_mean_absolute_error == pytest.approx(reference.mean())
    assert figures.skill is not None
    assert figures.skill.value == pytest.approx(-expected.difference, abs=1e-9)
    for bound, against in ((figures.skill.low, -expected.high), (figures.skill.high, -expected.low)):
        if bound is None:
            assert math.isinf(against)
        elif abs(bound) < 1e6:  # further out the roots hang on the last bits of a sum
            assert bound == pytest.approx(against, rel=1e-4, abs=1e-6)


@given(rows)
def test_coverage_is_the_share_of_intervals_that_held_with_its_exact_interval(
    found: list[tuple[float, float, bool]],
) -> None:
    figures = realised(blocks_of(found), 0.8).coverage
    outcomes = np.array([0.5 if row[2] else 2.0 for row in found])
    expected = coverage(outcomes, np.zeros(len(found)), np.ones(len(found)))
    assert figures is not None
    assert (figures.share, figures.low, figures.high) == (expected.share, expected.low, expected.high)
    assert figures.target == 0.8


def test_with_too_few_rows_a_sentence_stands_in_the_place_of_figures() -> None:
    figures = realised([FEW], 0.8)
    assert (figures.mean_absolute_error, figures.skill, figures.coverage) == (None, None, None)
    assert (figures.rows, figures.note) == (29, "29 known outcomes are too few for figures; there are some from 30 on")


def test_with_too_few_baselines_there_is_coverage_and_no_loss() -> None:
    figures = realised([replace(FEW, rows=100)], 0.8)
    assert figures.coverage is not None
    assert (figures.mean_absolute_error, figures.skill) == (None, None)
    assert "29 rows with a baseline are too few" in str(figures.note)


def test_where_no_row_has_an_interval_there_is_no_coverage() -> None:
    assert realised([replace(FEW, rows=40, compared=40, promised=0, held=0)], 0.8).coverage is None


def test_a_baseline_that_serves_itself_has_no_skill_and_that_for_certain() -> None:
    part = RealisedSums(rows=10, compared=10, loss=20, baseline_loss=20, promised=10, held=8)
    assert vars(realised([part] * 10, 0.8).skill) == {"value": 0.0, "low": 0.0, "high": 0.0}


def test_projects_are_the_unit_of_variance_where_there_are_enough_of_them() -> None:
    blocks = [RealisedSums(20, 20, 80 + number, 100, 20, 16) for number in range(10)]
    projects = [RealisedSums(40, 40, loss, 200, 40, 32) for loss in (110, 240, 150, 200, 145)]
    alone, together = realised(blocks, 0.8).skill, realised(blocks, 0.8, projects).skill
    assert alone is not None
    assert together is not None
    assert alone.value == pytest.approx(together.value)
    assert together.low is not None
    assert alone.low is not None
    assert together.low < alone.low  # projects differ more than blocks of all of them do
    assert realised(blocks, 0.8, projects[:4]).skill != together


def test_the_store_cuts_as_many_blocks_as_the_comparison() -> None:
    assert performance.BLOCKS == BLOCKS
