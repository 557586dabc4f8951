"""What speaks for a new training: each signal with its value, its threshold, and whether it could be measured."""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from scipy.special import stdtrit

from forecastle.monitoring.comparison import BLOCKS, CONFIDENCE, Floats
from forecastle.monitoring.coverage import Coverage
from forecastle.monitoring.drift import Drift, farthest, strongest
from forecastle.monitoring.policies import RetrainingPolicy

Beyond = Literal[">", "≥", "<"]
Unit = Literal["days", "rows", "share", "PSI", "spreads", "yes or no"]
_BEYOND = {">": operator.gt, "≥": operator.ge, "<": operator.lt}

NOTHING_SERVES = "nothing serves"
AGE = "age"
NEW_ROWS = "new rows"
ERROR = "realised error"
COVERAGE = "coverage"
FEATURE_CODE = "feature code"
UNLEARNING = "rows to be unlearned"
INPUT, PREDICTION = "input", "prediction"
UNITS: dict[str, Unit] = {
    NOTHING_SERVES: "yes or no", AGE: "days", NEW_ROWS: "rows", ERROR: "share", COVERAGE: "share",
    f"{INPUT} PSI": "PSI", f"{INPUT} distance": "spreads", f"{PREDICTION} PSI": "PSI",
    f"{PREDICTION} distance": "spreads", FEATURE_CODE: "yes or no", UNLEARNING: "rows",
}  # fmt: skip
"""Every signal there is, in the order in which they are shown."""


@dataclass(frozen=True)
class Signal:
    """One figure beside its threshold; `value` is None where it could not be measured, and `sentence` says why.

    One that was not measured has not fired, and is not taken as fine either: it is named in every decision.
    """

    name: str
    value: float | None
    beyond: Beyond
    threshold: float | None
    sentence: str

    @property
    def unit(self) -> Unit:
        return UNITS[self.name]

    @property
    def measured(self) -> bool:
        return self.value is not None

    @property
    def fired(self) -> bool:
        if self.value is None or self.threshold is None:
            return False
        return bool(_BEYOND[self.beyond](self.value, self.threshold))

    @property
    def gap(self) -> float:
        """How far the value lies from the threshold, as a share of it; infinite where it cannot go by degrees."""
        if self.value is None or self.threshold is None or self.unit == "yes or no":
            return math.inf
        return abs(self.threshold - self.value) / abs(self.threshold)

    @property
    def condition(self) -> str:
        """As in `age > 30 days`."""
        return self.name if self.unit == "yes or no" else f"{self.name} {self.beyond} {self.figure(self.threshold)}"

    def figure(self, value: float | None) -> str:
        if value is None:
            return "not measured"
        match self.unit:
            case "days":
                return f"{value:,.1f}".removesuffix(".0") + " days"
            case "rows":
                return f"{value:,.0f}"
            case "share":
                return f"{value:.1%}"
            case "yes or no":
                return "yes" if value else "no"
            case _:
                return f"{value:.3f}"

    def as_json(self) -> dict[str, Any]:
        """Plain values; JSON has no infinity, so an infinite one is null, and `fired` says the rest."""
        value, threshold = (x if x is not None and math.isfinite(x) else None for x in (self.value, self.threshold))
        return {
            "name": self.name, "value": value, "beyond": self.beyond, "threshold": threshold, "unit": self.unit,
            "fired": self.fired, "measured": self.measured, "sentence": self.sentence,
        }  # fmt: skip


def unmeasured(name: str, why: str) -> Signal:
    return Signal(name, None, "≥", None, why)


def nothing_serves(serves: str | None) -> Signal:
    """`serves` names the version in production, None where there is none."""
    return Signal(NOTHING_SERVES, float(serves is None), "≥", 1.0, f"{serves or 'no version'} is in production")


def age(days: float, policy: RetrainingPolicy) -> Signal:
    return Signal(AGE, days, ">", float(policy.oldest_days), "since the data of what serves were read")


def new_rows(new: int, taught: int, policy: RetrainingPolicy) -> Signal:
    either = "the fewer" if policy.new_rows_rule == "either" else "the more"
    share = f"{policy.new_share:.0%} of the {taught:,} rows that taught what serves"
    return Signal(
        NEW_ROWS, float(new), "≥", float(policy.many_rows(taught)), f"{share}, or {policy.new_rows}: {either} of both"
    )


def feature_code(changed: bool) -> Signal:
    is_other = "another code than it was made with" if changed else "the code it was made with"
    return Signal(FEATURE_CODE, float(changed), "≥", 1.0, f"what serves runs with {is_other}")


def rows_to_be_unlearned(rows: int) -> Signal:
    return Signal(UNLEARNING, float(rows), "≥", 1.0, "rows that taught what serves, and were marked since")


def realised_error(reference: Floats | float, current: Floats, source: str, policy: RetrainingPolicy) -> Signal:
    """How much the mean of the latest losses (shape: rows, in order of time) lies above what it was, relative to that.

    `reference` are the losses after its promotion, or one figure where there are none; `source` says which. The
    threshold is what counts, or what chance alone stays below in 95 %: a t quantile times the standard error over
    blocks of time, as neighbouring rows resemble each other.
    """
    rows = len(current) if isinstance(reference, float) else min(len(current), len(reference))
    if rows < policy.least_outcomes:
        return unmeasured(ERROR, f"{len(current):,} outcomes beside {source}, {policy.least_outcomes} are needed")
    before, now = float(np.mean(reference)), float(current.mean())
    if before == 0:
        return unmeasured(ERROR, "there was no error at its promotion to compare with")
    was = 0.0 if isinstance(reference, float) else _standard_error(reference) * now / before
    noise = float(stdtrit(BLOCKS - 1, CONFIDENCE)) * math.hypot(_standard_error(current), was) / before
    sentence = f"{now:.3f} on {len(current):,} outcomes, {before:.3f} {source}"
    return Signal(ERROR, now / before - 1, ">", max(policy.worse_by, noise), sentence + _chance(noise, policy.worse_by))


def coverage_shortfall(found: Coverage, target: float, policy: RetrainingPolicy) -> Signal:
    """Fires where the interval of the coverage that was seen lies below what is promised."""
    if found.rows < policy.least_outcomes:
        return unmeasured(COVERAGE, f"{found.rows:,} outcomes, {policy.least_outcomes} are needed")
    seen = f"{found.share:.1%} of {found.rows:,} outcomes, at most {found.high:.1%} with 97.5 % certainty"
    return Signal(COVERAGE, found.high, "<", target, f"intervals held {seen}, and promise {target:.0%}")


def drifts(kind: str, found: Sequence[Drift], policy: RetrainingPolicy) -> tuple[Signal, Signal]:
    """The number or word that changed most, once by its PSI and once by its distance."""
    short = [drift for drift in found if min(drift.reference_rows, drift.current_rows) < policy.least_outcomes]
    if not found or short:
        rows = f"{short[0].reference_rows:,} and {short[0].current_rows:,} rows" if short else "no rows"
        why = f"{rows} to compare, {policy.least_outcomes} each are needed"
        return unmeasured(f"{kind} PSI", why), unmeasured(f"{kind} distance", why)
    psi, far = strongest(found, policy.least_psi), farthest(found, policy.least_distance)
    by_psi = Signal(
        f"{kind} PSI", psi.psi.value, "≥", psi.psi.threshold(policy.least_psi),
        f"{_compared(psi)}{_chance(psi.psi.noise, policy.least_psi)}",
    )  # fmt: skip
    if far is None or far.distance is None:
        return by_psi, unmeasured(f"{kind} distance", "there are no numbers, only words")
    return by_psi, Signal(
        f"{kind} distance", far.distance.value, "≥", far.distance.threshold(policy.least_distance),
        f"{_compared(far)}{_chance(far.distance.noise, policy.least_distance)}",
    )  # fmt: skip


def _compared(drift: Drift) -> str:
    return f"{drift.name}, {drift.reference_rows:,} rows then and {drift.current_rows:,} now"


def _chance(noise: float, least: float) -> str:
    return f"; chance alone reaches {noise:.3f}" if noise > least else ""


def _standard_error(losses: Floats) -> float:
    """Of the mean, over blocks of time; a policy asks for as many rows at least."""
    means = [float(block.mean()) for block in np.array_split(losses, BLOCKS)]
    return float(np.std(means, ddof=1)) / math.sqrt(BLOCKS)
