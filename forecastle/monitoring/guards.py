"""What a candidate must satisfy whatever its loss: the gate's guards."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from forecastle.errors import InputError
from forecastle.monitoring.comparison import CONFIDENCE, LEAST_BLOCKS, PairedSums, holm
from forecastle.monitoring.coverage import Coverage

COVERAGE_TOLERANCE = 0.03
CLUSTER_MARGINS = 2


@dataclass(frozen=True)
class Guard:
    """One condition: the figure that was found, the limit it is held against, and both as a sentence."""

    name: str
    passed: bool
    figure: float | str | None
    limit: float | str
    sentence: str


@dataclass(frozen=True)
class Validity:
    """What was checked about a candidate beside its losses.

    `coverage` is what its intervals held on the rows of the gate, `coverage_target` what they promise; both are None
    where the model type promises no intervals. `parity_failures` counts rows on which the fast form and the model
    for people differ, `validation_failures` rows or rules of its dataset version that broke the expectation suite.
    `feature_digest` is that of the code it was made with, `known_feature_digests` those of code that can run.
    """

    coverage: Coverage | None
    coverage_target: float | None
    parity_failures: int
    feature_digest: str
    known_feature_digests: frozenset[str]
    validation_failures: int

    def __post_init__(self) -> None:
        if (self.coverage is None) != (self.coverage_target is None):
            raise InputError("hand the gate a coverage and its target, or neither where no interval is promised")
        if min(self.parity_failures, self.validation_failures) < 0:
            raise InputError("failures are counted from 0 on: count them again")


@dataclass(frozen=True)
class ClusterDifference:
    """One cluster's relative difference, and its lower bound corrected for the number of clusters (Holm).

    `p_worse` is the corrected probability of such losses were the candidate worse by no more than two margins.
    """

    cluster: str
    rows: int
    difference: float
    low: float
    p_worse: float


def differences_by_cluster(sums: Mapping[str, PairedSums], margin: float) -> tuple[ClusterDifference, ...]:
    """Each cluster over its own blocks of time. Those with fewer than LEAST_BLOCKS rows can never be judged, and do
    not count among the looks that are corrected for."""
    limit = CLUSTER_MARGINS * margin
    raw = {name: of.p_worse(limit) for name, of in sums.items()}
    judged = sorted((name for name, of in sums.items() if of.rows >= LEAST_BLOCKS), key=raw.__getitem__)
    corrected = dict(zip(judged, holm([raw[name] for name in judged]), strict=True))
    looks = {name: len(judged) - rank for rank, name in enumerate(judged)}
    return tuple(
        ClusterDifference(
            cluster=name,
            rows=of.rows,
            difference=of.difference,
            low=of.bounds(1 - (1 - CONFIDENCE) / looks.get(name, 1))[0],
            p_worse=corrected.get(name, 1.0),
        )
        for name, of in sums.items()
    )


def check_guards(validity: Validity, clusters: Sequence[ClusterDifference], margin: float) -> tuple[Guard, ...]:
    return (*_check_validity(validity), _check_clusters(clusters, CLUSTER_MARGINS * margin))


def _check_validity(validity: Validity) -> Iterator[Guard]:
    if validity.coverage is not None and validity.coverage_target is not None:
        yield _check_coverage(validity.coverage, validity.coverage_target)
    yield _count("parity", validity.parity_failures, "rows on which the fast form and the model for people differ")
    known = validity.feature_digest in validity.known_feature_digests
    digest = validity.feature_digest[:12]
    yield Guard(
        "feature code", known, digest, "known",
        f"the candidate was made with feature code {digest}, which {'can run' if known else 'is not known here'}",
    )  # fmt: skip
    yield _count("data validation", validity.validation_failures, "failures of its data in the expectation suite")


def _count(name: str, failures: int, what: str) -> Guard:
    return Guard(name, failures == 0, failures, 0, f"{failures:,} {what}")


def _check_coverage(found: Coverage, target: float) -> Guard:
    lowest, highest = target - COVERAGE_TOLERANCE, target + COVERAGE_TOLERANCE
    share = f"{found.share:.1%} of outcomes" if found.rows else "no outcome"
    return Guard(
        name="coverage",
        passed=found.high >= lowest and found.low <= highest,
        figure=found.share if found.rows else None,
        limit=f"{lowest:.1%} to {highest:.1%}",
        sentence=f"intervals held {share} ({found.low:.1%} to {found.high:.1%} at 95 %, {found.rows:,} rows), "
        f"which must not exclude {lowest:.1%} to {highest:.1%}",
    )


def _check_clusters(found: Sequence[ClusterDifference], limit: float) -> Guard:
    failing = [c for c in found if c.p_worse < 1 - CONFIDENCE and c.low > limit]
    judged = [c for c in found if c.rows >= LEAST_BLOCKS]
    if not judged:
        return Guard("clusters", True, None, limit, f"no cluster has {LEAST_BLOCKS} rows to be judged by")
    worst = max(failing or judged, key=lambda c: c.low)
    names = ", ".join(f"{c.cluster} (L {c.low:+.1%})" for c in failing)
    return Guard(
        name="clusters",
        passed=not failing,
        figure=worst.low,
        limit=limit,
        sentence=f"worse by more than {limit:.1%} for certain in: {names}"
        if failing
        else f"in none of {len(judged)} clusters is the candidate worse by more than {limit:.1%} for certain",
    )
