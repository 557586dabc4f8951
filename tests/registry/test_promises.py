"""Intervals and confidence of hours, held against generated data whose noise is known."""

from __future__ import annotations

import math
from functools import cache

import pytest
from generated import quick

from forecastle.generator.dated import DatedPortfolio, generate_dated_issues
from forecastle.registry.dataset import rows_of_issues
from forecastle.registry.examples import extract_all
from forecastle.registry.training import Fitted, fit
from forecastle.registry.walking import Budget
from projects import get_model_type

EFFORT = get_model_type("delivery.effort")
NOISES = (0.3, 0.8)
every_noise = pytest.mark.parametrize("noise", NOISES)


@cache
def fitted(noise: float) -> Fitted:
    portfolio = DatedPortfolio(projects=4, issues=350, noise=noise, estimate_noise=noise)
    rows = rows_of_issues(EFFORT, generate_dated_issues(portfolio)).rows
    return fit(quick(EFFORT), extract_all(EFFORT, rows), budget=Budget(trials=1))


def error_of(share: float, rows: int) -> float:
    """How far a share of this many rows may be off by chance, once in some hundred times."""
    return 3 * math.sqrt(share * (1 - share) / rows)


@every_noise
def test_intervals_hold_as_many_outcomes_as_promised_and_none_lies_below_zero(noise: float) -> None:
    found = fitted(noise)
    assert found.overall.rows > 180
    assert found.overall.coverage.low <= EFFORT.coverage_target + 0.03
    assert found.overall.coverage.high >= EFFORT.coverage_target - 0.03
    for answer in found.answers:
        assert 0 <= answer.low <= answer.settled.value <= answer.high < math.inf


@every_noise
@pytest.mark.parametrize("view", list(EFFORT.views))
def test_the_intervals_of_each_view_hold_what_they_promise(noise: float, view: str) -> None:
    found = fitted(noise)
    held = [
        answer.low <= row.target <= answer.high
        for row, answer in zip(found.held_back, found.answers, strict=True)
        if answer.view == view
    ]
    assert len(held) > 40
    target = EFFORT.coverage_target
    assert abs(sum(held) / len(held) - target) < 0.03 + error_of(target, len(held))


@every_noise
def test_confidence_is_the_share_of_answers_that_come_true_within_a_factor_of_two(noise: float) -> None:
    found = fitted(noise)
    hits = [
        answer.settled.is_hit(row.target) == (answer.settled.value / 2 <= row.target <= answer.settled.value * 2)
        and answer.settled.is_hit(row.target)
        for row, answer in zip(found.held_back, found.answers, strict=True)
    ]
    share = sum(hits) / len(hits)
    promised = sum(answer.confidence for answer in found.answers) / len(hits)
    assert all(0 < answer.confidence < 1 for answer in found.answers)
    assert abs(promised - share) < 0.03 + error_of(share, len(hits))


def test_no_answer_promises_more_than_the_noise_allows_and_louder_data_promise_less() -> None:
    """Within a factor of two lie erf(ln 2 / (noise · √2)) of the outcomes at best."""
    means = []
    for noise in NOISES:
        answers = fitted(noise).answers
        means.append(sum(answer.confidence for answer in answers) / len(answers))
        assert means[-1] < math.erf(math.log(2) / (noise * math.sqrt(2))) + error_of(0.5, len(answers))
    assert means[0] > means[1] + 0.1


def test_louder_data_have_wider_intervals() -> None:
    quiet, loud = (
        sorted(answer.high / answer.low for answer in fitted(noise).answers)[len(fitted(noise).answers) // 2]
        for noise in NOISES
    )
    assert loud > 1.5 * quiet
