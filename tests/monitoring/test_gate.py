"""The gate decides in its order, for reasons, and follows the laws that a fair judge follows."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from gates import POLICY, VALID, evidence, losses
from hypothesis import given, settings
from hypothesis import strategies as st

from forecastle.errors import ConfigurationError
from forecastle.monitoring.comparison import Comparison
from forecastle.monitoring.decision import Against, Measured, PromotionDecision, Replacement
from forecastle.monitoring.evidence import Contender
from forecastle.monitoring.gate import decide, decide_promotion, measure
from forecastle.monitoring.guards import Guard, Validity
from forecastle.monitoring.policies import GatePolicy
from forecastle.monitoring.verdict import Verdict

PROMOTE, HOLD, REJECT, NOT_ENOUGH = Verdict.PROMOTE, Verdict.HOLD, Verdict.REJECT, Verdict.NOT_ENOUGH_DATA
WORTH = {REJECT: 0, NOT_ENOUGH: 1, HOLD: 1, PROMOTE: 2}


def against(name: str, low: float, high: float) -> Against:
    middle = (low + high) / 2 if math.isfinite(low + high) else 0.0
    return Against(name, Comparison(400, middle, low, high, 0.5))


def measured(low: float, high: float, *others: Against, rows: int = 400, guard: bool = True) -> Measured:
    return Measured(
        candidate="version 7",
        policy=POLICY,
        rows=rows,
        unit="block of time",
        units=10,
        production=against("version 5", low, high),
        stands_in=False,
        others=others or (against("rolling_median", -0.2, -0.1),),
        clusters=(),
        guards=(Guard("parity", guard, 0 if guard else 3, 0, "3 rows differ"),),
    )


BETTER, WORSE, ALIKE, WIDE = (-0.05, -0.01), (0.01, 0.05), (-0.03, 0.01), (-0.05, 0.05)


@pytest.mark.parametrize(
    "found, verdict",
    [
        pytest.param(measured(*BETTER, guard=False), REJECT, id="a failed guard before everything"),
        pytest.param(measured(*BETTER, rows=0, guard=False), REJECT, id="a failed guard before too few rows"),
        pytest.param(measured(*WORSE, rows=99), NOT_ENOUGH, id="too few rows before worse"),
        pytest.param(measured(*BETTER, rows=99), NOT_ENOUGH, id="too few rows before better"),
        pytest.param(measured(*WORSE, rows=100), REJECT, id="worse"),
        pytest.param(measured(0.01, 0.3), REJECT, id="worse before too wide"),
        pytest.param(measured(math.inf, math.inf), REJECT, id="worse than what makes no error"),
        pytest.param(measured(*BETTER), PROMOTE, id="better"),
        pytest.param(measured(-0.3, -0.01), PROMOTE, id="better before too wide"),
        pytest.param(measured(*WIDE), NOT_ENOUGH, id="too wide"),
        pytest.param(measured(-math.inf, math.inf), NOT_ENOUGH, id="unbounded"),
        pytest.param(measured(-math.inf, 0.01), NOT_ENOUGH, id="unbounded below"),
        pytest.param(measured(*ALIKE), HOLD, id="neither"),
        pytest.param(measured(-0.04, 0.04), HOLD, id="exactly four margins are not too wide"),
        pytest.param(measured(0.0, 0.05), HOLD, id="L of exactly 0 is not worse"),
        pytest.param(measured(-0.05, 0.0), HOLD, id="U of exactly 0 is not better"),
        pytest.param(measured(*BETTER, against("median", -0.1, 0.02)), HOLD, id="maybe worse than the baseline"),
        pytest.param(
            measured(*BETTER, against("median", -0.1, 0.019), against("version 1", 0.0, 0.03)), HOLD,
            id="maybe worse than the first approved version",
        ),
        pytest.param(
            measured(-0.3, -0.01, against("median", -0.1, 0.3)), NOT_ENOUGH, id="wide and maybe worse than the baseline"
        ),
    ],
)  # fmt: skip
def test_the_first_line_that_applies_decides(found: Measured, verdict: Verdict) -> None:
    assert decide(found).verdict is verdict


@pytest.mark.parametrize("reason", Replacement)
@pytest.mark.parametrize(
    "found, verdict",
    [
        (measured(*ALIKE), PROMOTE),
        (measured(-0.2, 0.019), PROMOTE),
        (measured(-0.02, 0.02), HOLD),
        (measured(0.001, 0.015), REJECT),
        (measured(*WIDE), NOT_ENOUGH),
        (measured(*ALIKE, rows=99), NOT_ENOUGH),
        (measured(*ALIKE, guard=False), REJECT),
        (measured(*ALIKE, against("median", -0.1, 0.03)), HOLD),
        (measured(*ALIKE, against("version 1", -0.02, 0.021)), HOLD),
    ],
)
def test_a_declared_reason_asks_only_for_not_worse(found: Measured, verdict: Verdict, reason: Replacement) -> None:
    assert decide(found, reason).verdict is verdict


def test_the_best_baseline_stands_in_where_nothing_is_in_production() -> None:
    reference = losses(1)
    found = decide_promotion(evidence(reference * 0.99, None, baseline=Contender("median", reference)), POLICY)
    assert (found.measured.stands_in, found.measured.production.name, found.measured.others) == (True, "median", ())
    assert found.verdict is PROMOTE
    assert found.reasons[0] == "nothing is in production yet: the best baseline, median, stands in"


def test_a_candidate_that_answers_with_its_baseline_may_be_the_first_in_production() -> None:
    same = losses(1)
    assert decide_promotion(evidence(same, None, baseline=Contender("median", same)), POLICY).verdict is PROMOTE


def test_a_first_candidate_worse_than_the_baseline_is_rejected() -> None:
    baseline = losses(1)
    assert (
        decide_promotion(evidence(baseline * 1.1, None, baseline=Contender("median", baseline)), POLICY).verdict
        is REJECT
    )


def test_identical_answers_are_held_and_promoted_where_a_replacement_is_required() -> None:
    same = losses(1)
    parts = evidence(same, same, baseline=Contender("median", same), first_approved=Contender("version 1", same))
    assert decide_promotion(parts, POLICY).verdict is HOLD
    assert decide_promotion(parts, POLICY, Replacement.AGE).verdict is PROMOTE
    assert decide_promotion(parts, POLICY).measured.production.found == Comparison(400, 0.0, 0.0, 0.0, 1.0)


@given(st.integers(0, 10_000), st.sampled_from([1, 7]))
def test_the_last_bits_of_a_sum_are_no_difference(seed: int, count: int) -> None:
    production = losses(seed)
    rounded = production * (1 + 1e-14 * np.random.default_rng(seed).random(400))
    found = decide_promotion(evidence(rounded, production, clusters=names(count)), POLICY)
    assert (found.verdict, found.measured.production.found.high) == (HOLD, 0.0)


def test_small_losses_do_not_ratchet() -> None:
    """What answers as production does is not worse than it; but both are 3 % worse than what was approved first."""
    first = losses(1)
    served = first * 1.03
    found = decide_promotion(
        evidence(served, served, first_approved=Contender("version 1", first)), POLICY, Replacement.AGE
    )
    assert found.verdict is HOLD
    assert found.reasons[-2].startswith("not shown to be not worse than version 1: +3.0% against version 1")


def test_no_rows_are_not_enough() -> None:
    none = np.array([])
    found = decide_promotion(evidence(none, none), POLICY)
    assert (found.verdict, found.outcomes_needed) == (NOT_ENOUGH, 100)
    assert found.reasons == ("0 rows, at least 100 are declared", "100 more outcomes are needed")


def test_too_few_rows_say_how_many_are_missing() -> None:
    found = decide(measured(*BETTER, rows=60))
    assert found.outcomes_needed == 40
    assert found.reasons[-1] == "40 more outcomes are needed"


def test_too_wide_an_interval_says_how_many_more_rows_would_narrow_it() -> None:
    found = decide(measured(-0.08, 0.08))  # twice four margins: four times the rows
    assert found.outcomes_needed == 3 * 400
    assert found.reasons[-1] == "about 1,200 more outcomes are needed"


def test_the_rows_said_to_be_needed_are_about_enough() -> None:
    candidate, production = losses(1, 40_000), losses(2, 40_000)
    few = decide_promotion(evidence(candidate[:400], production[:400]), POLICY)
    assert few.verdict is NOT_ENOUGH
    assert few.outcomes_needed is not None
    rows = 400 + few.outcomes_needed
    assert 400 < rows < 40_000
    width = measure(evidence(candidate[:rows], production[:rows]), POLICY).width
    assert width == pytest.approx(4 * POLICY.margin, rel=0.4)


def test_the_next_look_never_needs_fewer_than_the_declared_rows() -> None:
    assert decide(measured(-0.041, 0.041, rows=400)).outcomes_needed == POLICY.least_rows
    assert decide(measured(*ALIKE)).outcomes_needed == POLICY.least_rows
    assert decide(measured(*ALIKE)).reasons[-1] == "these rows are used up: the next look needs 100 new outcomes"


def test_an_unbounded_interval_admits_that_nobody_knows_how_many_rows_would_do() -> None:
    found = decide(measured(-math.inf, math.inf))
    assert found.outcomes_needed is None
    assert "cannot be said" in found.reasons[-1]


def test_a_production_without_any_loss_rejects_errors_and_holds_none() -> None:
    zeros = np.zeros(400)
    assert decide_promotion(evidence(losses(1), zeros), POLICY).verdict is REJECT
    assert decide_promotion(evidence(zeros, zeros), POLICY).verdict is HOLD
    rare = np.zeros(400)
    rare[7] = 1.0
    assert decide_promotion(evidence(rare, zeros), POLICY).verdict is NOT_ENOUGH


def names(count: int, rows: int = 400) -> np.ndarray:
    return np.array([f"project {index % count}" for index in range(rows)], dtype=str)


@pytest.mark.parametrize("count, unit, units", [(1, "block of time", 10), (4, "block of time", 10), (5, "cluster", 5)])
def test_variance_is_taken_over_clusters_where_there_are_at_least_five(count: int, unit: str, units: int) -> None:
    found = measure(evidence(losses(1), losses(2), clusters=names(count)), POLICY)
    assert (found.unit, found.units, len(found.clusters)) == (unit, units, count)


def test_five_clusters_of_which_one_carries_nearly_all_the_loss_are_not_five() -> None:
    clusters = np.array(["large"] * 380 + [f"small {index % 4}" for index in range(20)], dtype=str)
    assert measure(evidence(losses(1), losses(2), clusters=clusters), POLICY).unit == "block of time"


def test_a_candidate_that_helps_one_cluster_of_six_is_not_called_better() -> None:
    production, clusters = losses(1, 6_000), names(6, 6_000)
    candidate = np.where(clusters == "project 0", 0.7, 1.0) * production
    found = measure(evidence(candidate, production, clusters=clusters), POLICY)
    assert found.production.found.difference < -0.03
    assert decide(found).verdict is NOT_ENOUGH


def test_a_cluster_that_gets_clearly_worse_rejects_a_candidate_that_is_better_on_the_whole() -> None:
    production, clusters = losses(1, 6_000), names(3, 6_000)
    candidate = np.where(clusters == "project 0", 1.1, 0.8) * production
    found = decide_promotion(evidence(candidate, production, clusters=clusters), POLICY)
    assert found.verdict is REJECT
    assert found.measured.production.found.high < 0
    assert found.reasons[0].startswith("guard clusters: worse by more than 4.0% for certain in: project 0 (L ")
    assert found.flips == ("PROMOTE had clusters passed",)


INVALID = {
    "coverage": replace(VALID, coverage_target=0.9),
    "parity": replace(VALID, parity_failures=1),
    "feature code": replace(VALID, known_feature_digests=frozenset({"another"})),
    "data validation": replace(VALID, validation_failures=2),
}


@pytest.mark.parametrize("name, validity", INVALID.items())
def test_a_failed_guard_rejects_the_best_of_candidates(name: str, validity: Validity) -> None:
    production = losses(1)
    found = decide_promotion(evidence(production * 0.5, production, validity=validity), POLICY, Replacement.DRIFT)
    assert found.verdict is REJECT
    assert found.reasons[0].startswith(f"guard {name}: ")
    assert found.flips == (f"PROMOTE had {name} passed",)


def test_flips_name_the_nearest_other_verdicts() -> None:
    assert decide(measured(*ALIKE)).flips == (
        "PROMOTE with a declared reason for a replacement",
        "PROMOTE with U against version 5 (+1.0%) below 0.0%",
        "REJECT with L above 0 (it is -3.0%), or any guard failing",
    )
    assert decide(measured(*ALIKE), Replacement.AGE).flips[0] == "HOLD without the declared reason for a replacement"
    assert decide(measured(*WORSE)).flips == ("no REJECT from L ≤ 0 on (L is +1.0%)",)
    assert decide(measured(*BETTER, rows=99)).flips == ("100 rows (there are 99)",)
    assert decide(measured(*WIDE)).flips[-1] == "HOLD with U − L of at most 8.0% (it is +10.0%)"
    assert decide(measured(*WORSE, guard=False)).flips == ("nothing, even had parity passed",)
    doubted = decide(measured(*BETTER, against("median", -0.1, 0.03)))
    assert doubted.flips[0] == "PROMOTE with U against median (+3.0%) below 2.0%"


SEEDS = st.integers(0, 10_000)
FACTORS = st.floats(0.7, 1.4)


def drawn(
    seed: int, factor: float, clusters: int = 1, rows: int = 400, order: Sequence[int] = range(20), **changed: Any
) -> PromotionDecision:
    """A decision on contenders whose losses are alike, the candidate's times `factor`; `order` renames clusters."""
    random = np.random.default_rng(seed)
    shared = losses(seed, rows)
    candidate, production, baseline = shared * np.exp(0.2 * random.normal(size=(3, rows)))
    labels = np.array(order)[random.integers(0, clusters, rows)]
    parts = {"clusters": labels, "baseline": Contender("median", baseline), **changed}
    return decide_promotion(evidence(candidate * factor, production, **parts), POLICY)


@given(SEEDS, FACTORS, st.integers(1, 8))
def test_swapping_candidate_and_production_mirrors_the_difference(seed: int, factor: float, count: int) -> None:
    candidate, production, clusters = losses(seed) * factor, losses(seed + 1), names(count)
    one = measure(evidence(candidate, production, clusters=clusters), POLICY).production.found.difference
    other = measure(evidence(production, candidate, clusters=clusters), POLICY).production.found.difference
    assert (1 + one) * (1 + other) == pytest.approx(1)
    assert np.sign(one) == -np.sign(other)


@given(SEEDS, FACTORS, st.integers(1, 8), st.integers(-20, 20))
def test_scaling_all_losses_changes_nothing(seed: int, factor: float, count: int, power: int) -> None:
    candidate, production, clusters, scale = losses(seed) * factor, losses(seed + 1), names(count), 2.0**power

    def asked(scale: float) -> PromotionDecision:
        baseline = Contender("median", 1.1 * production * scale)
        parts = evidence(candidate * scale, production * scale, baseline=baseline, clusters=clusters)
        return decide_promotion(parts, POLICY)

    one, other = asked(scale), asked(1.0)
    assert (one.verdict, one.reasons, one.flips) == (other.verdict, other.reasons, other.flips)
    assert one.measured.production.found.high == pytest.approx(other.measured.production.found.high, rel=1e-9)


@given(SEEDS, FACTORS, st.permutations(range(7)))
def test_permuting_clusters_changes_nothing_but_their_names(seed: int, factor: float, order: list[int]) -> None:
    one, other = drawn(seed, factor, 7), drawn(seed, factor, 7, order=order)
    assert one.verdict is other.verdict
    found, permuted = one.measured.production.found, other.measured.production.found
    assert [permuted.difference, permuted.low, permuted.high] == pytest.approx(
        [found.difference, found.low, found.high]
    )


@given(SEEDS, FACTORS, st.sampled_from(sorted(INVALID)))
def test_no_candidate_is_promoted_while_a_guard_fails(seed: int, factor: float, name: str) -> None:
    assert drawn(seed, factor, validity=INVALID[name]).verdict is REJECT


@given(SEEDS, st.floats(0.5, 0.8), st.sampled_from([1, 3, 6, 12]))
def test_a_candidate_that_loses_clearly_less_on_every_row_is_promoted(seed: int, factor: float, count: int) -> None:
    random = np.random.default_rng(seed)
    production = random.gamma(4.0, size=1_000)
    candidate = production * (factor + 0.1 * random.random(1_000))
    parts = evidence(candidate, production, clusters=names(count, 1_000), baseline=Contender("median", production))
    assert decide_promotion(parts, POLICY).verdict is PROMOTE


@given(SEEDS, st.integers(0, 300), st.integers(1, 20))
def test_identical_answers_are_never_rejected(seed: int, rows: int, count: int) -> None:
    same = losses(seed, rows)
    assert decide_promotion(evidence(same, same, clusters=names(count, rows)), POLICY).verdict in (HOLD, NOT_ENOUGH)


@settings(max_examples=60)
@given(SEEDS, FACTORS, st.floats(1.0, 1.5), st.sampled_from([1, 6]))
def test_worsening_a_candidate_on_all_rows_alike_never_improves_its_verdict(
    seed: int, factor: float, worse: float, count: int
) -> None:
    assert WORTH[drawn(seed, factor * worse, count).verdict] <= WORTH[drawn(seed, factor, count).verdict]


@given(SEEDS, FACTORS, st.integers(0, 300), st.integers(1, 20))
def test_every_decision_gives_reasons_and_says_what_would_flip_it(
    seed: int, factor: float, rows: int, count: int
) -> None:
    found = drawn(seed, factor, count, rows)
    assert found.reasons
    assert found.flips
    assert all("nan" not in sentence for sentence in (*found.reasons, *found.flips))


@pytest.mark.parametrize("margin, least_rows", [(0.0, 100), (-0.02, 100), (2.0, 100), (math.nan, 100), (0.02, 0)])
def test_a_policy_that_makes_no_sense_is_refused(margin: float, least_rows: int) -> None:
    with pytest.raises(ConfigurationError, match="a gate"):
        GatePolicy("mae", margin, least_rows)
