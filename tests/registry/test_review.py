"""Who may let which version serve."""

from __future__ import annotations

import pytest

from forecastle.access.principals import Principal, Role
from forecastle.errors import NotAllowedError
from forecastle.registry.review import UNGATED, Review, review
from forecastle.settings import FourEyes

REVIEWER = Principal("rita", Role.REVIEWER)
ADMIN = Principal("ada", Role.ADMIN)
OTHERS = {"trained_by": "dana"}


def gated(verdict: str) -> dict[str, str]:
    return {**OTHERS, "gate.verdict": verdict}


@pytest.mark.parametrize("principal", [REVIEWER, ADMIN])
def test_what_passed_the_gate_takes_a_reviewer(principal: Principal) -> None:
    assert review(gated("PROMOTE"), principal) == Review("PROMOTE", overridden=False, trained_by_actor=False)


def test_what_met_no_gate_takes_an_admin_unless_nothing_was_ever_promoted() -> None:
    assert review(OTHERS, REVIEWER, first=True) == Review(UNGATED, overridden=False, trained_by_actor=False)
    with pytest.raises(NotAllowedError, match=UNGATED):
        review(OTHERS, REVIEWER)
    assert review(OTHERS, ADMIN, override=True).overridden


@pytest.mark.parametrize("verdict", ["HOLD", "REJECT", "NOT ENOUGH DATA", "something else", ""])
def test_against_the_verdict_it_takes_an_admin_who_says_so(verdict: str) -> None:
    for principal in (REVIEWER, ADMIN):
        with pytest.raises(NotAllowedError, match=rf"verdict on this version is {verdict}: .* an admin may promote it"):
            review(gated(verdict), principal)
    with pytest.raises(NotAllowedError, match="reviewer may not administer"):
        review(gated(verdict), REVIEWER, override=True)
    assert review(gated(verdict), ADMIN, override=True) == Review(verdict, overridden=True, trained_by_actor=False)


def test_an_override_that_nothing_needs_is_none() -> None:
    assert not review(gated("PROMOTE"), REVIEWER, override=True).overridden


def test_where_nothing_was_ever_promoted_too_few_rows_to_compare_take_a_reviewer_and_a_rejection_an_admin() -> None:
    found = review(gated("NOT ENOUGH DATA"), REVIEWER, first=True)
    assert found == Review("NOT ENOUGH DATA", overridden=False, trained_by_actor=False)
    for verdict in ("HOLD", "REJECT"):
        with pytest.raises(NotAllowedError):
            review(gated(verdict), REVIEWER, first=True)


@pytest.mark.parametrize(
    "four_eyes, alone, allowed",
    [
        ("always", False, False),
        ("always", True, False),
        ("unless-alone", False, False),
        ("unless-alone", True, True),
        ("never", False, True),
        ("never", True, True),
    ],
)
def test_who_trained_a_version_promotes_it_only_where_the_rule_lets_them_and_it_is_written_down(
    four_eyes: FourEyes, alone: bool, allowed: bool
) -> None:
    trainer = Principal("dana", Role.ADMIN, alone)
    if allowed:
        assert review(gated("PROMOTE"), trainer, four_eyes=four_eyes).trained_by_actor
    else:
        with pytest.raises(NotAllowedError, match="dana trained this version and does not promote it"):
            review(gated("PROMOTE"), trainer, four_eyes=four_eyes)
    assert not review(gated("PROMOTE"), REVIEWER, four_eyes=four_eyes).trained_by_actor


def test_an_override_is_no_second_pair_of_eyes() -> None:
    with pytest.raises(NotAllowedError, match="trained this version"):
        review(gated("HOLD"), Principal("dana", Role.ADMIN), override=True)
