"""What a gate must not look at is refused, with a sentence that says what to do."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from gates import VALID, evidence, losses

from forecastle.errors import InputError
from forecastle.monitoring.evidence import Contender
from forecastle.monitoring.guards import Validity


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, -0.1])
@pytest.mark.parametrize("whose", ["candidate", "production", "baseline", "first_approved"])
def test_a_loss_that_is_no_loss_is_refused_whosever_it_is(whose: str, bad: float) -> None:
    broken = losses(1, 20)
    broken[7] = bad
    parts: dict[str, Any] = {"candidate": losses(2, 20), "production": losses(3, 20)}
    parts[whose] = broken if whose in parts else Contender(whose, broken)
    with pytest.raises(InputError, match="1 losses are negative or no finite number, the first one in row 7; mend"):
        evidence(**parts)


@pytest.mark.parametrize(
    "changed, sentence",
    [
        ({"asked_at": np.arange(20.0)[::-1]}, "sort them by asked_at"),
        ({"asked_at": np.full(20, np.nan)}, "sort them by asked_at"),
        ({"trained_until": 3.0}, "3 of 20 rows lie before both versions were trained"),
        ({"clusters": np.array(["one"] * 19, dtype=str)}, "clusters: .* hand one value a row"),
        ({"asked_at": np.arange(19.0)}, "hand one value a row"),
        ({"baseline": Contender("median", np.ones((20, 1)))}, "median: .* hand one value a row"),
    ],
)
def test_rows_that_do_not_fit_together_are_refused(changed: dict[str, Any], sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        evidence(losses(1, 20), losses(2, 20), **changed)


def test_rows_of_the_same_moment_and_of_the_last_training_are_taken() -> None:
    assert len(evidence(losses(1, 20), losses(2, 20), asked_at=np.full(20, 3.0), trained_until=3.0).asked_at) == 20


def test_a_coverage_without_a_target_is_refused_and_so_is_a_target_without_coverage() -> None:
    with pytest.raises(InputError, match="a coverage and its target"):
        Validity(VALID.coverage, None, 0, "x", frozenset("x"), 0)
    with pytest.raises(InputError, match="a coverage and its target"):
        Validity(None, 0.8, 0, "x", frozenset("x"), 0)


def test_a_negative_count_of_failures_is_refused() -> None:
    with pytest.raises(InputError, match="count them again"):
        Validity(None, None, -1, "x", frozenset("x"), 0)
