"""The gate: may this candidate take the place of what is in production? A pure function with its reasons.

    guards fail      → REJECT
    too few rows     → NOT ENOUGH DATA
    L > 0            → REJECT
    U < 0            → PROMOTE   (U < margin where nothing is in production, or a declared reason requires a
                                  replacement; and not worse than the best baseline and the first approved version)
    U − L too wide   → NOT ENOUGH DATA
    everything else  → HOLD

The first line that applies decides. `docs/gate.md` says how often it errs, `docs/adr/0013-the-gate.md` why it is so.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from forecastle.monitoring.comparison import Floats, PairedSums, sum_by
from forecastle.monitoring.decision import Against, Measured, PromotionDecision, Replacement, percent, plural
from forecastle.monitoring.evidence import Contender, Evidence
from forecastle.monitoring.guards import check_guards, differences_by_cluster
from forecastle.monitoring.policies import GatePolicy
from forecastle.monitoring.verdict import Verdict

LEAST_CLUSTERS = 5
LEAST_EFFECTIVE_CLUSTERS = 2
"""Five clusters of which one carries nearly all the loss are not five: 1 / Σ share² of the loss must reach this."""

WIDEST_MARGINS = 4


def decide_promotion(
    evidence: Evidence, policy: GatePolicy, replacement: Replacement | None = None
) -> PromotionDecision:
    """The verdict on `evidence`; `replacement` is the declared reason for one, if there is any."""
    return decide(measure(evidence, policy), replacement)


def measure(evidence: Evidence, policy: GatePolicy) -> Measured:
    """All figures of a decision, which depend on no declared reason."""
    found, codes = np.unique(evidence.clusters, return_inverse=True)
    reference = evidence.production or evidence.baseline
    over_clusters = carry_an_interval(sum_by(codes, reference.losses))
    candidate = evidence.candidate.losses

    def against(other: Contender) -> tuple[Against, int]:
        sums = (
            PairedSums.over_clusters(candidate, other.losses, codes)
            if over_clusters
            else PairedSums.over_time(candidate, other.losses)
        )
        return Against(other.name, sums.compare()), len(sums.differences)

    production, units = against(reference)
    clusters = differences_by_cluster(
        _by_cluster([str(name) for name in found], codes, candidate, reference.losses), policy.margin
    )
    return Measured(
        candidate=evidence.candidate.name,
        policy=policy,
        rows=len(candidate),
        unit="cluster" if over_clusters else "block of time",
        units=units,
        production=production,
        stands_in=evidence.production is None,
        others=tuple(against(c)[0] for c in (evidence.baseline, evidence.first_approved) if c and c is not reference),
        clusters=clusters,
        guards=check_guards(evidence.validity, clusters, policy.margin),
    )


def carry_an_interval(losses: Floats) -> bool:
    """Are clusters with these losses enough to take variance over?"""
    if len(losses) < LEAST_CLUSTERS or not losses.any():
        return False
    shares = losses / losses.sum()
    return 1 / float(shares @ shares) >= LEAST_EFFECTIVE_CLUSTERS


def _by_cluster(
    names: list[str], codes: NDArray[np.intp], candidate: Floats, reference: Floats
) -> dict[str, PairedSums]:
    order = np.argsort(codes, kind="stable")
    cuts = np.searchsorted(codes[order], np.arange(len(names) + 1))
    rows = [order[start:end] for start, end in pairwise(cuts)]
    return {name: PairedSums.over_time(candidate[own], reference[own]) for name, own in zip(names, rows, strict=True)}


def decide(measured: Measured, replacement: Replacement | None = None) -> PromotionDecision:
    verdict = _verdict(measured, replacement)
    return PromotionDecision(
        verdict=verdict,
        reasons=tuple(_reasons(measured, replacement, verdict)),
        flips=tuple(_flips(measured, replacement, verdict)),
        replacement=replacement,
        outcomes_needed=_outcomes_needed(measured, verdict),
        measured=measured,
    )


def _verdict(measured: Measured, replacement: Replacement | None) -> Verdict:
    """The first line of the order above that applies."""
    if _failed(measured):
        return Verdict.REJECT
    if measured.rows < measured.policy.least_rows:
        return Verdict.NOT_ENOUGH_DATA
    if measured.production.found.low > 0:
        return Verdict.REJECT
    if measured.production.found.high < _needed_high(measured, replacement) and not _maybe_worse(measured):
        return Verdict.PROMOTE
    if measured.width > WIDEST_MARGINS * measured.policy.margin:
        return Verdict.NOT_ENOUGH_DATA
    return Verdict.HOLD


def _failed(measured: Measured) -> list[str]:
    return [guard.name for guard in measured.guards if not guard.passed]


def _needed_high(measured: Measured, replacement: Replacement | None) -> float:
    """U must lie below this: better than production, or not worse where something must take the place."""
    return measured.policy.margin if replacement or measured.stands_in else 0.0


def _maybe_worse(measured: Measured) -> list[Against]:
    """The best baseline and the first approved version, where the candidate is not shown to be not worse."""
    return [other for other in measured.others if not other.found.high < measured.policy.margin]


def _outcomes_needed(measured: Measured, verdict: Verdict) -> int | None:
    """Missing rows; or as many as narrow the interval to the widest that decides, as widths go with 1/√rows."""
    missing, least = measured.policy.least_rows - measured.rows, measured.policy.least_rows
    if verdict is not Verdict.NOT_ENOUGH_DATA or missing > 0:
        return max(missing, 0) if verdict is Verdict.NOT_ENOUGH_DATA else least
    if not math.isfinite(measured.width):
        return None
    ratio = measured.width / (WIDEST_MARGINS * measured.policy.margin)
    return max(math.ceil(measured.rows * ratio**2) - measured.rows, least)


def _reasons(measured: Measured, replacement: Replacement | None, verdict: Verdict) -> Iterator[str]:
    policy = measured.policy
    if failed := _failed(measured):
        yield from (f"guard {guard.name}: {guard.sentence}" for guard in measured.guards if guard.name in failed)
    elif measured.rows < policy.least_rows:
        yield f"{measured.rows:,} rows, at least {policy.least_rows:,} are declared"
    else:
        if measured.stands_in:
            yield f"nothing is in production yet: the best baseline, {measured.production.name}, stands in"
        if replacement:
            yield f"a replacement is required ({replacement}): not worse, U < {policy.margin:.1%}, is enough"
        yield f"{_judgement(measured, replacement)}: {measured.production}"
        yield from _beside(measured)
    yield _next_look(measured, verdict)


def _beside(measured: Measured) -> Iterator[str]:
    doubtful = _maybe_worse(measured)
    for other in measured.others:
        yield f"{'not shown to be not worse' if other in doubtful else 'not worse'} than {other.name}: {other}"


def _judgement(measured: Measured, replacement: Replacement | None) -> str:
    found = measured.production.found
    if found.low > 0:
        return "worse, L > 0"
    if found.high < _needed_high(measured, replacement):
        return "better, U < 0" if found.high < 0 else f"not worse, U < {measured.policy.margin:.1%}"
    if measured.width > WIDEST_MARGINS * measured.policy.margin:
        return f"undecided, and U − L is wider than {WIDEST_MARGINS * measured.policy.margin:.1%}"
    return "neither better nor worse for certain"


def _next_look(measured: Measured, verdict: Verdict) -> str:
    needed = _outcomes_needed(measured, verdict)
    if verdict is not Verdict.NOT_ENOUGH_DATA:
        return f"these rows are used up: the next look needs {needed:,} new outcomes"
    if needed is None:
        return (
            f"the loss of {measured.production.name} hangs on so few {plural(measured.unit)} that U − L is unbounded; "
            "how many more rows would do cannot be said"
        )
    if measured.rows < measured.policy.least_rows:
        return f"{needed:,} more outcomes are needed"
    spread = ", and from more clusters where clusters differ" if measured.unit == "cluster" else ""
    return f"about {needed:,} more outcomes are needed{spread}"


def _flips(measured: Measured, replacement: Replacement | None, verdict: Verdict) -> Iterator[str]:
    """What would have made it another verdict: found by deciding again, or the nearest thresholds."""
    if failed := _failed(measured):
        passing = replace(measured, guards=tuple(replace(guard, passed=True) for guard in measured.guards))
        names = " and ".join(failed)
        otherwise = _verdict(passing, replacement)
        yield f"{otherwise} had {names} passed" if otherwise is not verdict else f"nothing, even had {names} passed"
        return
    found, policy, limit = measured.production.found, measured.policy, _needed_high(measured, replacement)
    if measured.rows < policy.least_rows:
        yield f"{policy.least_rows:,} rows (there are {measured.rows:,})"
        return
    otherwise = _verdict(measured, None if replacement else Replacement.AGE)
    if otherwise is not verdict:
        with_or_without = "without the" if replacement else "with a"
        yield f"{otherwise} {with_or_without} declared reason for a replacement"
    if verdict is Verdict.REJECT:
        yield f"no REJECT from L ≤ 0 on (L is {percent(found.low)})"
        return
    if verdict is Verdict.PROMOTE:
        yield f"no PROMOTE from U ≥ {limit:.1%} on (U is {percent(found.high)}), or with any guard failing"
        return
    promote = [f"{_high(measured.production)} below {limit:.1%}"] if found.high >= limit else []
    promote += [f"{_high(other)} below {policy.margin:.1%}" for other in _maybe_worse(measured)]
    yield f"PROMOTE with {' and '.join(promote)}"
    yield f"REJECT with L above 0 (it is {percent(found.low)}), or any guard failing"
    if verdict is Verdict.NOT_ENOUGH_DATA:
        widest = WIDEST_MARGINS * policy.margin
        yield f"HOLD with U − L of at most {widest:.1%} (it is {percent(measured.width)})"


def _high(other: Against) -> str:
    return f"U against {other.name} ({percent(other.found.high)})"
