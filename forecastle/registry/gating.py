"""The gate in the road of every new version: evidence on rows that nobody learned from, and what would change.

The block is what the training held back, without rows that taught an incumbent and rows that an earlier gate of the
same registered model has looked at, together with requests that production answered and whose outcome somebody told.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from forecastle.monitoring.coverage import coverage
from forecastle.monitoring.decision import PromotionDecision
from forecastle.monitoring.evidence import Contender, Evidence
from forecastle.monitoring.gate import decide_promotion
from forecastle.monitoring.guards import Validity
from forecastle.records.outcomes import Known
from forecastle.registry.baselines import baseline
from forecastle.registry.bundle import digest_of_features
from forecastle.registry.declaration import ModelType
from forecastle.registry.examples import Extracted, Row
from forecastle.registry.history import StoredHistory
from forecastle.registry.incumbents import Incumbents
from forecastle.registry.predictor import Prediction, Predictor
from forecastle.registry.training import Fitted
from forecastle.store.database import Database
from forecastle.store.gate_looks import AskedInProduction, RowKey, asked_in_production, looked_at
from forecastle.store.unlearning import unlearned_issues

Floats = NDArray[np.float64]

MOST_CHANGES = 20
ALIKE = 1e-6  # relative; two answers that are nearer are the same


@dataclass(frozen=True)
class Change:
    """One answer as production gives it and as the candidate would; `truth` where it is known."""

    cluster: str
    key: str
    truth: float | None
    production: float
    candidate: float


@dataclass(frozen=True)
class Churn:
    """How answers would change on one set of requests: the share that would, and by how much on the average."""

    of: str
    rows: int
    changed: float
    mean_difference: float


@dataclass(frozen=True)
class Gated:
    """The verdict on a candidate, and what a reviewer asks beside it."""

    decision: PromotionDecision
    evidence: Evidence
    used: Sequence[RowKey]
    """The rows that this look has used up; none where there were too few to decide on."""
    notes: Sequence[str]
    changes: Sequence[Change]
    """The MOST_CHANGES answers that would change most, the largest change first."""
    churn: Sequence[Churn]
    head: str
    """Of the ledger, against which was decided."""

    def as_json(self) -> dict[str, Any]:
        """The decision as plain values, and the head that it holds for."""
        return {**self.decision.as_json(), "head": self.head}


@dataclass(frozen=True)
class _Asked:
    """One row of the block, or one request of production: what everybody answers to it."""

    cluster: str
    key: str
    asked_at: float
    truth: float | None
    candidate: Prediction
    baseline: float
    production: float | None
    first_approved: float | None


def gate_candidate(
    database: Database,
    model_type: ModelType,
    model_name: str,
    extracted: Extracted,
    fitted: Fitted,
    incumbents: Incumbents,
    validation_failures: int,
) -> Gated:
    """Decide on a candidate before it is registered. Raises ServerError, InputError."""
    with database.transaction() as connection:
        used = looked_at(connection, model_name) | incumbents.taught
    held_back = _held_back(model_type, extracted, fitted, incumbents, used)
    asked = _asked_of_production(database, model_type, model_name, extracted, fitted, incumbents, used)
    block = sorted((*held_back, *(one for one in asked if one.truth is not None)), key=lambda one: one.asked_at)
    evidence = _evidence(model_type, fitted, block, incumbents, validation_failures)
    decision = decide_promotion(evidence, model_type.gate, incumbents.replacement)
    judged = len(block) >= model_type.gate.least_rows
    return Gated(
        decision=decision,
        evidence=evidence,
        used=[(one.cluster, one.key) for one in block] if judged else [],
        notes=incumbents.silent,
        changes=_changes([*held_back, *asked]),
        churn=[found for name, rows in (("rows of the block", held_back), ("requests in production", asked))
               if (found := _churn(name, rows)) is not None],
        head=incumbents.head,
    )  # fmt: skip


def _held_back(
    model_type: ModelType, extracted: Extracted, fitted: Fitted, incumbents: Incumbents, used: frozenset[RowKey]
) -> list[_Asked]:
    rows = {(row.cluster, row.key): row for row in extracted.rows}
    best = _best_baselines(model_type, fitted)
    found = []
    for place, (example, answer) in enumerate(zip(fitted.held_back, fitted.answers, strict=True)):
        if (example.cluster, example.key) in used:
            continue
        row = rows[example.cluster, example.key]
        known = example.history.at(row.asked_at, model_type.group_keys(row.request))
        stood = float(fitted.values[best[answer.view]][place])
        found.append(_asked(row, known, answer, stood, incumbents))
    return found


def _asked(row: Row, known: Known, answer: Prediction, baseline: float, incumbents: Incumbents) -> _Asked:
    production, first = (
        None if one is None else one.predict(row, known).settled.value
        for one in (incumbents.production, incumbents.first_approved)
    )
    truth = None if math.isnan(row.target) else row.target
    return _Asked(row.cluster, row.key, row.asked_at, truth, answer, baseline, production, first)


def _best_baselines(model_type: ModelType, fitted: Fitted) -> dict[str, str]:
    """The baseline with the least loss on the earlier rows, by view; the reference where none was walked."""
    reference = next(iter(model_type.baselines))
    best = {}
    for name, view in fitted.views.items():
        losses = {one: view.walked.get(one, math.nan) for one in model_type.baselines}
        losses = {one: loss for one, loss in losses.items() if not math.isnan(loss)}
        best[name] = min(losses, key=losses.__getitem__, default=reference)
    return best


def _asked_of_production(
    database: Database,
    model_type: ModelType,
    model_name: str,
    extracted: Extracted,
    fitted: Fitted,
    incumbents: Incumbents,
    used: frozenset[RowKey],
) -> list[_Asked]:
    """Requests that came after both versions were trained, answered anew by all as of their moment.

    Those about an issue that stands among the rows are left out, as it counts there, and those about one that is to be
    unlearned. Undated rows have no moments to
    be held against.
    """
    manifest = fitted.bundle.manifest
    if incumbents.production is None or manifest.time_basis != "date":
        return []
    since = datetime.fromtimestamp(max(manifest.trained_until, _trained_until(incumbents)), UTC)
    with database.transaction() as connection:
        requests = asked_in_production(connection, model_name, since)
        unlearned = unlearned_issues(connection, model_type.name, model_type.known_field)
    rows = used.union(unlearned, ((row.cluster, row.key) for row in extracted.rows))
    predictor = Predictor.of(model_type, fitted.bundle)
    history = StoredHistory(database, model_type)
    best = _best_baselines(model_type, fitted)
    found: dict[tuple[str, str], _Asked] = {}
    for request in requests:
        key = (str(request.project_id), str(request.request.get("issue_key") or request.prediction_id))
        if key not in rows and key not in found:  # the first time that it was asked counts
            answered = _answered_anew(request, key, history, predictor, best, incumbents)
            found |= {key: answered} if answered else {}
    return list(found.values())


def _trained_until(incumbents: Incumbents) -> float:
    bundles = [one.predictor.bundle for one in (incumbents.production, incumbents.first_approved) if one]
    return max(bundle.manifest.trained_until for bundle in bundles if bundle)


def _answered_anew(
    request: AskedInProduction,
    key: RowKey,
    history: StoredHistory,
    predictor: Predictor,
    best: Mapping[str, str],
    incumbents: Incumbents,
) -> _Asked | None:
    (found,) = history.known([request.request], request.moment)
    if found is None or not found[1].project.count:
        return None
    known = found[1]
    moment = request.moment.timestamp()
    truth = math.nan if request.truth is None else request.truth
    row = Row(key[1], key[0], moment, moment, truth, request.request)
    answer = predictor.predict(row.cluster, row.request, known)
    rule = best[answer.view]
    settle = predictor.scorer.settler(answer.features, known)
    stood = settle(rule, baseline(rule, answer.features, known)).value
    return _asked(row, known, answer, stood, incumbents)


def _evidence(
    model_type: ModelType,
    fitted: Fitted,
    block: Sequence[_Asked],
    incumbents: Incumbents,
    validation_failures: int,
) -> Evidence:
    truths = np.array([one.truth for one in block], dtype=float)

    def losses(values: Sequence[float | None]) -> Floats:
        return np.asarray(np.abs(np.array(values, dtype=float) - truths))

    production, first = incumbents.production, incumbents.first_approved
    manifest = fitted.bundle.manifest
    lows, highs = (np.array([getattr(one.candidate, end) for one in block], dtype=float) for end in ("low", "high"))
    names = dict.fromkeys(_best_baselines(model_type, fitted).values())
    return Evidence(
        asked_at=np.array([one.asked_at for one in block], dtype=float),
        trained_until=manifest.trained_until,
        clusters=np.array([one.cluster for one in block], dtype=str),
        candidate=Contender("the candidate", losses([one.candidate.settled.value for one in block])),
        production=Contender(production.name, losses([one.production for one in block])) if production else None,
        baseline=Contender(" or ".join(names), losses([one.baseline for one in block])),
        first_approved=Contender(f"{first.name}, the first", losses([one.first_approved for one in block]))
        if first
        else None,
        validity=Validity(
            coverage=coverage(truths, lows, highs),
            coverage_target=manifest.coverage_target,
            parity_failures=0,  # a training that finds one raises, and registers nothing
            feature_digest=manifest.feature_digest,
            known_feature_digests=frozenset({digest_of_features(model_type)}),
            validation_failures=validation_failures,
        ),
    )


def _changes(asked: Sequence[_Asked]) -> list[Change]:
    found = [
        Change(one.cluster, one.key, one.truth, one.production, one.candidate.settled.value)
        for one in asked
        if one.production is not None and _differ(one.production, one.candidate.settled.value)
    ]
    return sorted(found, key=lambda change: -abs(change.candidate - change.production))[:MOST_CHANGES]


def _churn(name: str, asked: Sequence[_Asked]) -> Churn | None:
    pairs = [(one.production, one.candidate.settled.value) for one in asked if one.production is not None]
    if not pairs:
        return None
    changed = sum(_differ(before, after) for before, after in pairs)
    mean = math.fsum(abs(after - before) for before, after in pairs) / len(pairs)
    return Churn(name, len(pairs), changed / len(pairs), mean)


def _differ(before: float, after: float) -> bool:
    return not math.isclose(before, after, rel_tol=ALIKE)
