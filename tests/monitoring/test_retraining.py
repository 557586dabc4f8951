"""Retraining decisions: which signals fire, what stands against a training, and what would flip the verdict."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from forecastle.errors import ConfigurationError
from forecastle.monitoring import signals
from forecastle.monitoring.coverage import coverage
from forecastle.monitoring.drift import Drift, Measure
from forecastle.monitoring.policies import RetrainingPolicy
from forecastle.monitoring.retraining import LastTraining, Situation, Verdict, decide_retraining
from forecastle.monitoring.signals import Signal

POLICY = RetrainingPolicy(oldest_days=30, new_rows=50)
NOW = datetime(2026, 11, 20, 2, tzinfo=UTC)
QUIET = (
    signals.nothing_serves("version 3"),
    signals.age(12, POLICY),
    signals.new_rows(3, 400, POLICY),
    signals.unmeasured(signals.ERROR, "7 outcomes, 50 are needed"),
)
LAST = LastTraining(NOW - timedelta(days=12), True, True, 340.0, 400, 3)


def situation(*added: Signal, **changed: Any) -> Situation:
    calm = Situation(NOW, 403, 50, None, LAST, QUIET)
    return replace(calm, signals=(*QUIET, *added), **changed)


def drift(psi: float, noise: float = 0.0, rows: int = 100) -> Drift:
    return Drift("estimate_hours", 1_000, rows, Measure(psi, noise), Measure(psi, noise))


def test_nothing_fires_so_it_waits_and_says_what_is_nearest_and_what_was_not_measured() -> None:
    found = decide_retraining(situation(*signals.drifts("input", [drift(0.17)], POLICY)), POLICY)
    assert found.verdict is Verdict.WAIT
    assert found.flip == "would retrain if input PSI ≥ 0.200, is 0.170"
    assert found.reasons == (
        "none of 5 measured signals reaches its threshold",
        "realised error could not be measured: 7 outcomes, 50 are needed",
    )


@pytest.mark.parametrize(
    "signal",
    [
        signals.nothing_serves(None),
        signals.age(30.01, POLICY),
        signals.new_rows(50, 1_000, POLICY),
        signals.new_rows(20, 100, POLICY),
        signals.feature_code(True),
        signals.rows_to_be_unlearned(1),
        signals.drifts("prediction", [drift(0.2)], POLICY)[0],
        signals.drifts("prediction", [drift(0.4)], POLICY)[1],
        signals.coverage_shortfall(coverage(np.ones(200), np.zeros(200), np.arange(200) % 10 < 7), 0.8, POLICY),
        signals.realised_error(1.0, np.full(50, 1.06), "held back", POLICY),
    ],
    ids=lambda signal: signal.condition,
)
def test_any_one_signal_is_enough_and_stands_among_the_reasons(signal: Signal) -> None:
    found = decide_retraining(situation(signal), POLICY)
    assert found.verdict is Verdict.RETRAIN
    assert found.reasons[0].startswith(f"{signal.condition}: {signal.figure(signal.value)}, ")
    assert found.flip == f"would wait without {signal.condition}"
    json.dumps([one.as_json() for one in found.situation.signals], allow_nan=False)
    json.dumps(found.basis, allow_nan=False)


@pytest.mark.parametrize(
    "signal",
    [
        signals.age(30, POLICY),
        signals.new_rows(49, 1_000, POLICY),
        signals.new_rows(19, 100, POLICY),
        signals.drifts("input", [drift(0.3, noise=0.31)], POLICY)[0],
        signals.coverage_shortfall(coverage(np.ones(49), np.zeros(49), np.zeros(49)), 0.8, POLICY),
        signals.realised_error(1.0, np.full(50, 1.05), "held back", POLICY),
        signals.realised_error(1.0, np.full(49, 9.0), "held back", POLICY),
        signals.realised_error(np.zeros(50), np.ones(50), "realised", POLICY),
        signals.drifts("input", [drift(9, rows=49)], POLICY)[0],
        signals.drifts("input", [], POLICY)[1],
    ],
    ids=lambda signal: f"{signal.condition} {signal.value}",
)
def test_what_only_reaches_a_threshold_or_rests_on_too_few_rows_does_not_fire(signal: Signal) -> None:
    assert not signal.fired
    assert decide_retraining(situation(signal), POLICY).verdict is Verdict.WAIT


OBSTACLES: dict[str, tuple[dict[str, Any], str, str]] = {
    "too few rows": ({"rows": 30}, "too few rows: 30 with a known outcome, 50 are declared", "with 20 more rows"),
    "running": ({"running": "0199"}, "a training runs or waits: 0199", "once that training has ended"),
    "cool-down": (
        {"last": replace(LAST, ended_at=NOW - timedelta(hours=2))},
        "cool-down of 12 h: the last training ended at 2026-11-20 00:00Z",
        "after 2026-11-20 12:00Z",
    ),
    "failed": (
        {"last": replace(LAST, succeeded=False, serves=False, new_rows=9)},
        "nothing new: 9 rows since the last training, which failed; it takes 50",
        "with 41 more new rows",
    ),
    "not promoted": (
        {"last": replace(LAST, serves=False, new_rows=0, rows=100)},
        "nothing new: 0 rows since the last training, which made a version that does not serve; it takes 20",
        "with 20 more new rows",
    ),
    "the same rows": (
        {"last": replace(LAST, new_rows=0)},
        "nothing new: 0 rows since the last training, which serves; it takes 1",
        "with 1 more new row",
    ),
}


@pytest.mark.parametrize("name", OBSTACLES)
def test_what_stands_against_a_training_is_said_with_what_would_remove_it(name: str) -> None:
    changed, sentence, removed = OBSTACLES[name]
    found = decide_retraining(situation(signals.age(40, POLICY), **changed), POLICY)
    assert found.verdict is Verdict.CANNOT
    assert sentence in found.reasons
    assert found.flip == f"would retrain {removed}"
    assert decide_retraining(situation(**changed), POLICY).verdict is Verdict.WAIT  # nothing asks for a training


@pytest.mark.parametrize(
    "last",
    [
        replace(LAST, succeeded=False, serves=False, new_rows=50),
        replace(LAST, succeeded=False, serves=False, new_rows=0, changed="feature code"),
        replace(LAST, serves=False, new_rows=1, ended_at=NOW - timedelta(days=31)),
        replace(LAST, succeeded=None, new_rows=1),
        None,
    ],
    ids=["many new rows", "other code", "long ago", "by hand", "none yet"],
)
def test_a_training_is_repeated_when_something_is_new_since(last: LastTraining | None) -> None:
    found = decide_retraining(situation(signals.age(40, POLICY), last=last), POLICY)
    assert found.verdict is Verdict.RETRAIN


ALL_SIGNALS = tuple(
    Signal(name, value, "≥", 1.0, "found") for name, value in zip(signals.UNITS, (0.0, 2.0, 0.9) * 4, strict=False)
)
SITUATIONS = st.builds(
    situation,
    st.sampled_from(ALL_SIGNALS),
    st.sampled_from(ALL_SIGNALS),
    rows=st.integers(0, 100),
    running=st.sampled_from([None, "0199"]),
    last=st.none()
    | st.builds(
        LastTraining,
        ended_at=st.timedeltas(timedelta(0), timedelta(days=60)).map(lambda ago: NOW - ago),
        succeeded=st.sampled_from([True, False, None]),
        serves=st.booleans(),
        seconds=st.none() | st.floats(0, 1e5),
        rows=st.none() | st.integers(0, 1_000),
        new_rows=st.integers(0, 100),
        changed=st.sampled_from([None, "feature code"]),
    ),
)


@given(SITUATIONS)
def test_every_verdict_has_reasons_and_a_flip_and_follows_from_what_fired(found: Situation) -> None:
    decision = decide_retraining(found, POLICY)
    assert decision.reasons
    assert decision.flip.startswith(("would ", "nothing that was measured"))
    assert (decision.verdict is Verdict.WAIT) == (not any(signal.fired for signal in found.signals))
    assert (decision.verdict is Verdict.RETRAIN) <= (found.rows >= found.least_rows and found.running is None)
    for signal in found.signals:
        assert signal.measured or any(reason.startswith(f"{signal.name} could not") for reason in decision.reasons)


@given(SITUATIONS)
def test_taking_away_what_fired_makes_a_training_wait(found: Situation) -> None:
    calm = tuple(signal for signal in found.signals if not signal.fired)
    assert decide_retraining(replace(found, signals=calm), POLICY).verdict is Verdict.WAIT


@given(st.integers(0, 10_000), st.integers(1, 500), st.floats(0.01, 1))
def test_one_of_both_rules_about_new_rows_is_never_harder_to_reach_than_both(
    taught: int, rows: int, share: float
) -> None:
    either = RetrainingPolicy(30, rows, new_share=share)
    both = replace(either, new_rows_rule="both")
    assert either.many_rows(taught) <= both.many_rows(taught)
    assert {either.many_rows(taught), both.many_rows(taught)} <= {max(1, rows), max(1, -int(-share * taught // 1))}


@pytest.mark.parametrize("truth, most", [(0.0, 0.06), (0.3, 1.0)])
def test_an_error_that_is_only_chance_is_claimed_in_about_5_percent(truth: float, most: float) -> None:
    random = np.random.default_rng(9)
    fired = 0
    for _ in range(400):
        before, now = np.exp(random.normal(size=(2, 300)))
        fired += signals.realised_error(before, now * (1 + truth), "realised", POLICY).fired
    assert fired / 400 <= most
    assert fired / 400 > (0.5 if truth else 0.01)


def test_thresholds_that_make_no_sense_are_refused() -> None:
    for changed in ({"new_share": 0.0}, {"oldest_days": 0}, {"least_outcomes": 9}, {"cool_down_hours": -1.0}):
        with pytest.raises(ConfigurationError):
            replace(POLICY, **changed)  # type: ignore[arg-type]


def test_every_signal_has_a_figure_in_its_unit() -> None:
    assert signals.age(12, POLICY).figure(12.25) == "12.2 days"
    assert signals.realised_error(1.0, np.full(50, 1.5), "held back", POLICY).figure(0.5) == "50.0%"
