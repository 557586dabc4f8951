"""What a gate decides, with every number that it rests on: for JSON, and as a page for a reviewer."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any, Literal

from forecastle.monitoring.comparison import Comparison
from forecastle.monitoring.guards import ClusterDifference, Guard
from forecastle.monitoring.policies import GatePolicy
from forecastle.monitoring.verdict import Verdict

Unit = Literal["cluster", "block of time"]


class Replacement(StrEnum):
    """Why what serves has to be replaced, so that a candidate need only be not worse."""

    AGE = "age"
    DRIFT = "drift"
    FEATURE_CODE = "changed feature code"


@dataclass(frozen=True)
class Against:
    """The candidate beside one other version or baseline, on identical rows."""

    name: str
    found: Comparison

    def __str__(self) -> str:
        found = self.found
        return f"{percent(found.difference)} against {self.name} (L {percent(found.low)}, U {percent(found.high)})"


@dataclass(frozen=True)
class Measured:
    """Everything that a verdict rests on.

    `production` is the best baseline where nothing is in production (`stands_in`). `others` are what the candidate
    must not be worse than beside it. Bounds are taken over `units` clusters or blocks of time.
    """

    candidate: str
    policy: GatePolicy
    rows: int
    unit: Unit
    units: int
    production: Against
    stands_in: bool
    others: tuple[Against, ...]
    clusters: tuple[ClusterDifference, ...]
    guards: tuple[Guard, ...]

    @property
    def width(self) -> float:
        """U − L of the difference to production."""
        found = self.production.found
        return found.high - found.low if math.isfinite(found.high) else math.inf


@dataclass(frozen=True)
class PromotionDecision:
    """A verdict, why, and what would have made it another one.

    `outcomes_needed` is the number of new outcomes before the gate looks again; None where more rows alone are not
    known to help.
    """

    verdict: Verdict
    reasons: tuple[str, ...]
    flips: tuple[str, ...]
    replacement: Replacement | None
    outcomes_needed: int | None
    measured: Measured

    def as_json(self) -> dict[str, Any]:
        """Plain values for `json.dumps`; a figure without bound or without rows is null, as JSON has no infinity."""
        plain: dict[str, Any] = _plain(asdict(self))
        return plain

    def as_markdown(self) -> str:
        return "\n".join(_page(self)) + "\n"


def percent(share: float) -> str:
    return f"{share:+.1%}" if math.isfinite(share) else "unbounded"


def plural(unit: Unit) -> str:
    return "clusters" if unit == "cluster" else "blocks of time"


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    if isinstance(value, StrEnum):
        return value.value
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _page(decision: PromotionDecision) -> Iterator[str]:
    measured = decision.measured
    yield from (f"# {decision.verdict}: {measured.candidate}", "")
    yield from (f"- {reason}" for reason in decision.reasons)
    yield from ("", "What would have flipped it:", "")
    yield from (f"- {flip}" for flip in decision.flips)
    yield from ("", _basis(decision), "")
    yield from _table("against | rows | d | L | U", "--- | ---: | ---: | ---: | ---:", _comparisons(measured))
    yield from _table("guard | passed | found", "--- | --- | ---", _guards(measured))
    yield from _table(
        "cluster | rows | d | L, corrected | p", "--- | ---: | ---: | ---: | ---:", _clusters(measured)
    )  # fmt: skip


def _basis(decision: PromotionDecision) -> str:
    measured, policy = decision.measured, decision.measured.policy
    return (
        f"{measured.rows:,} rows, loss {policy.metric}, margin {policy.margin:.1%}, at least {policy.least_rows:,} "
        f"rows; one-sided 95 % bounds over {measured.units} {plural(measured.unit)}; "
        f"declared reason for a replacement: {decision.replacement or 'none'}."
    )


def _table(head: str, rule: str, rows: Iterator[str]) -> Iterator[str]:
    lines = list(rows)
    if lines:
        yield from (f"| {line} |" for line in (head, rule, *lines))
        yield ""


def _comparisons(measured: Measured) -> Iterator[str]:
    for against in (measured.production, *measured.others):
        found = against.found
        figures = (percent(found.difference), percent(found.low), percent(found.high))
        yield " | ".join((_cell(against.name), f"{found.rows:,}", *figures))


def _guards(measured: Measured) -> Iterator[str]:
    for guard in measured.guards:
        yield " | ".join((guard.name, "yes" if guard.passed else "**no**", _cell(guard.sentence)))


def _clusters(measured: Measured) -> Iterator[str]:
    for of in measured.clusters:
        yield " | ".join(
            (_cell(of.cluster), f"{of.rows:,}", percent(of.difference), percent(of.low), f"{of.p_worse:.3f}")
        )


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
