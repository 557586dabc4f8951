"""The signals of a retraining decision, measured on what is stored."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import numpy as np

from forecastle.monitoring import signals as measured
from forecastle.monitoring.comparison import Floats
from forecastle.monitoring.coverage import coverage
from forecastle.monitoring.drift import Drift, drift_of_numbers, drift_of_words
from forecastle.monitoring.signals import Signal
from forecastle.registry.bundle import digest_of_features
from forecastle.registry.decisions import Subject
from forecastle.store import retraining as store
from forecastle.store import samples
from forecastle.store.database import Connection
from forecastle.store.retraining import ReadData
from forecastle.store.samples import AnsweringVersion, RealisedAnswer

HELD_BACK = "mae"
"""The mean absolute error on held-back rows, in the provenance that the ledger keeps of a version."""

Window = tuple[datetime, datetime]


@dataclass(frozen=True)
class Serving:
    """What is in production: since when this version has been there first, where it comes from, what taught it."""

    version: AnsweringVersion
    promoted_at: datetime
    provenance: Mapping[str, str]
    data: ReadData | None


def collect_signals(
    connection: Connection, subject: Subject, serving: Serving | None, moment: datetime
) -> Iterator[Signal]:
    """Every signal, in the order of UNITS."""
    yield measured.nothing_serves(f"version {serving.version.version}" if serving else None)
    if serving is None:
        why = "nothing is in production"
        yield from (measured.unmeasured(n, why) for n in measured.UNITS if n != measured.NOTHING_SERVES)
        return
    policy = subject.model_type.retraining
    yield from _of_data(connection, subject, serving.data, moment)
    yield from _of_outcomes(connection, subject, serving, moment)
    yield from measured.drifts(measured.INPUT, list(_input_drifts(connection, subject, serving.data)), policy)
    yield from _prediction_drift(connection, subject, serving, moment)
    digest = serving.provenance.get("feature.digest")
    yield measured.feature_code(digest != digest_of_features(subject.model_type))
    if serving.data is None:
        yield measured.unmeasured(measured.UNLEARNING, _NO_DATA)
        return
    unlearned = store.count_unlearned_rows(connection, subject.learning, serving.data.created_at)
    yield measured.rows_to_be_unlearned(unlearned)


_NO_DATA = "the dataset version that taught what serves is not known here"


def _of_data(connection: Connection, subject: Subject, data: ReadData | None, moment: datetime) -> Iterator[Signal]:
    if data is None:
        yield from (measured.unmeasured(name, _NO_DATA) for name in (measured.AGE, measured.NEW_ROWS))
        return
    policy = subject.model_type.retraining
    yield measured.age(data.days_at(moment), policy)
    new = store.count_new_rows(connection, subject.learning, data.created_at)
    yield measured.new_rows(new, data.rows, policy)


def _of_outcomes(connection: Connection, subject: Subject, serving: Serving, moment: datetime) -> Iterator[Signal]:
    """Error and coverage of the answers of the last window whose outcome is known."""
    policy = subject.model_type.retraining
    first, latest = windows(serving.promoted_at, moment, policy.window_days)
    current = samples.realised_answers(connection, serving.version, *latest)
    reference, source = _error_at_promotion(connection, serving, first, latest, policy.least_outcomes)
    if reference is None:
        yield measured.unmeasured(measured.ERROR, "nobody wrote down the error at its promotion")
    else:
        yield measured.realised_error(reference, _losses(current), source, policy)
    truths, lows, highs = (np.array([getattr(a, n) for a in current], dtype=float) for n in ("truth", "low", "high"))
    yield measured.coverage_shortfall(coverage(truths, lows, highs), subject.model_type.coverage_target, policy)


def windows(promoted_at: datetime, moment: datetime, days: int) -> tuple[Window, Window]:
    """The first days in production, and the last ones: no earlier than the promotion."""
    length = timedelta(days=days)
    return (promoted_at, promoted_at + length), (max(promoted_at, moment - length), moment)


def _error_at_promotion(
    connection: Connection, serving: Serving, first: Window, latest: Window, least: int
) -> tuple[Floats | float | None, str]:
    """Realised losses of the first window where it is over and holds enough; else the error on held-back rows."""
    if first[1] <= latest[0]:
        losses = _losses(samples.realised_answers(connection, serving.version, *first))
        if len(losses) >= least:
            return losses, f"on {len(losses):,} after its promotion"
    held_back = _number(serving.provenance.get(HELD_BACK))
    return held_back, "on the rows held back from its training"


def _number(text: str | None) -> float | None:
    """A figure in the provenance; None where there is none."""
    try:
        found = float(text or "")
    except ValueError:
        return None
    return found if math.isfinite(found) else None


def _losses(answers: Sequence[RealisedAnswer]) -> Floats:
    return np.array([abs(answer.value - answer.truth) for answer in answers], dtype=float)


def _input_drifts(connection: Connection, subject: Subject, data: ReadData | None) -> Iterator[Drift]:
    """What issues said that were asked before the data were read, beside those asked since."""
    if data is None:
        return
    fields = ("project_id", *subject.model_type.request_type().model_fields)
    before = samples.sample_issues(connection, fields, "until", data.created_at, subject.project)
    since = samples.sample_issues(connection, fields, "since", data.created_at, subject.project)
    if before and since:
        yield from compare_inputs(before, since)


def compare_inputs(reference: Sequence[Mapping[str, Any]], current: Sequence[Mapping[str, Any]]) -> Iterator[Drift]:
    """The drift of every field that samples of requests hold, looked at together: numbers, lengths of texts, words."""
    fields = list(reference[0])
    for name in fields:
        said, says = ([row[name] for row in rows] for rows in (reference, current))
        if name in samples.WORDS:
            yield drift_of_words(name, said, says, len(fields))
        else:
            before, now = (np.array(values, dtype=float) for values in (said, says))  # None becomes NaN
            yield drift_of_numbers(name, before, now, len(fields))


def _prediction_drift(
    connection: Connection, subject: Subject, serving: Serving, moment: datetime
) -> tuple[Signal, Signal]:
    """What was answered in the first days in production, beside the last ones."""
    policy = subject.model_type.retraining
    first, latest = windows(serving.promoted_at, moment, policy.window_days)
    if first[1] > latest[0]:
        why = f"it has been in production for less than twice {policy.window_days} days"
        return (
            measured.unmeasured(f"{measured.PREDICTION} PSI", why),
            measured.unmeasured(f"{measured.PREDICTION} distance", why),
        )
    before, now = (np.array(samples.answers_of(connection, serving.version, *window)) for window in (first, latest))
    found = [drift_of_numbers("answers", before, now)] if len(before) and len(now) else []
    return measured.drifts(measured.PREDICTION, found, policy)
