"""An answer given once more: from the numbers that were kept, and from what the store knows of that moment now."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from pydantic_core import to_json

from forecastle.errors import FeatureCodeError, ForecastleError, IntegrityError
from forecastle.features.packing import unpack_known
from forecastle.records.outcomes import Known
from forecastle.registry.answering import Answered, Context
from forecastle.registry.declaration import ModelType
from forecastle.registry.history import StoredHistory, looking_of
from forecastle.registry.loading import load_serving
from forecastle.registry.predictor import Prediction, Predictor
from forecastle.store import promotions as ledger
from forecastle.store.database import Database
from forecastle.store.objects import Objects
from forecastle.store.predictions import StoredPrediction
from forecastle.store.replays import changed_since

Verdict = Literal["identical", "differs", "not_possible"]

NOT_COMPARED = ("model_version", "prediction_id")
OF_CASES = "similar_issues"
"""The field of an answer that shows issues one by one: they are read from the store and not kept."""


@dataclass(frozen=True)
class Difference:
    """One value that is not what it was; `by` is now minus then, where both are numbers."""

    name: str
    then: Any
    now: Any

    @property
    def by(self) -> float | None:
        both = (self.then, self.now)
        numbers = all(isinstance(value, int | float) and value == value for value in both)
        return self.now - self.then if numbers else None


@dataclass(frozen=True)
class Replay:
    """Whether the numbers that were kept give the same answer, whether the store still gives them, and why not.

    The differences of `rebuilt` are numbers by their names, and fields of the answer.
    """

    scored: Verdict
    scored_differences: Sequence[Difference]
    rebuilt: Verdict
    rebuilt_differences: Sequence[Difference]
    reasons: Sequence[str]

    @property
    def verdict(self) -> Verdict:
        both = {self.scored, self.rebuilt}
        return next(verdict for verdict in ("not_possible", "differs", "identical") if verdict in both)


def input_digest(asked: Mapping[str, Any]) -> str:
    """SHA-256 of a request's fields, which hold no objects, in the order of their names, as JSON without blanks."""
    return hashlib.sha256(to_json({name: asked[name] for name in sorted(asked)})).hexdigest()


def _is_as_asked(stored: StoredPrediction) -> bool:
    """Whether the request is the one of its digest; older rows have that of JSON with blanks and without Unicode."""
    if input_digest(stored.request) == stored.input_digest:
        return True
    former = json.dumps(stored.request, sort_keys=True)
    return hashlib.sha256(former.encode()).hexdigest() == stored.input_digest


def replay(database: Database, objects: Objects, model_type: ModelType, stored: StoredPrediction) -> Replay:
    """Answer a stored prediction again, with the version that answered, whether it serves now or not.

    Raises ServerError.
    """
    if stored.vector is None or stored.known is None or stored.view is None:
        return _not_possible("the prediction was made before its numbers were kept")
    try:
        predictor = _predictor_of(database, objects, model_type, stored)
        request = model_type.request_type().model_validate(stored.request)
        cluster, kept = str(stored.project_id), unpack_known(stored.known, tuple(model_type.groups))
        seen = model_type.masked(stored.view, request.model_dump())
        features = predictor.scorer.unpack(stored.vector, seen, cluster)
    except FeatureCodeError as error:
        return _not_possible(f"the feature code was changed since: {error}")
    except IntegrityError as error:
        return _not_possible(f"the files of the version that answered: {error}")
    except ValueError:
        return _not_possible("what was kept does not fit the model type as it is now")
    again = predictor.predict_extracted(stored.view, cluster, features, kept)
    scored = _compared(stored, _answer(model_type, request, cluster, kept, _Given(again)), leave_out=(OF_CASES,))
    found = StoredHistory(database, model_type).known([request.model_dump()], stored.moment)[0]
    if found is None:
        return Replay(_verdict(scored), scored, "not_possible", (), ["the project is gone"])
    rebuilt_answer = _answer(model_type, request, *found, predictor)
    rebuilt = [
        *_numbers(features, kept, rebuilt_answer.prediction.features, found[1]), *_compared(stored, rebuilt_answer),
    ]  # fmt: skip
    reasons = _reasons(database, model_type, stored) if scored or rebuilt else []
    return Replay(_verdict(scored), scored, _verdict(rebuilt), rebuilt, reasons)


@dataclass(frozen=True)
class _Given:
    """Stands where a predictor stands, and says what was already predicted."""

    prediction: Prediction

    def predict_many(self, asked: Sequence[tuple[str, Mapping[str, Any], Known]]) -> list[Prediction]:
        return [self.prediction] * len(asked)


@dataclass(frozen=True)
class _Kept:
    """Stands where the history is read, and says what was kept of it."""

    cluster: str
    what: Known

    def known(self, requests: Sequence[Mapping[str, Any]], moment: Any) -> Sequence[tuple[str, Known] | None]:
        return [(self.cluster, self.what)] * len(requests)


def _predictor_of(database: Database, objects: Objects, model_type: ModelType, stored: StoredPrediction) -> Predictor:
    """From the files that the ledger approved when this version answered. Raises IntegrityError, FeatureCodeError."""
    steps = database.retrying(lambda connection: ledger.confirmed_steps(connection, stored.model_name))
    approved = [step for step in steps if step.promotion.to_version == stored.model_version]
    if not approved:
        raise IntegrityError(f"the ledger knows no {stored.model_name} version {stored.model_version}")
    version = load_serving(objects, model_type, approved[-1]).version
    if version.bundle_digest != stored.bundle_digest:
        raise IntegrityError(f"{version.label} was approved again with other files than those that answered")
    return version.predictor


def _answer(model_type: ModelType, request: Any, cluster: str, known: Known, predictor: Any) -> Answered:
    context = Context(lambda _: predictor, _Kept(cluster, known), None, frozenset())
    answered: Answered | ForecastleError = model_type.answering([request], context)[0]
    if isinstance(answered, ForecastleError):
        raise answered
    return answered


def _compared(stored: StoredPrediction, answered: Answered, leave_out: Sequence[str] = ()) -> list[Difference]:
    """What the method says, and every field of the answer that both have."""
    prediction = answered.prediction
    fields = {"method": prediction.rule, "estimate": prediction.estimate, **_flat(answered.fields, "answer.")}
    then = {"method": stored.method, "estimate": stored.estimate, **_flat(stored.answer, "answer.")}
    left_out = {f"answer.{name}" for name in (*NOT_COMPARED, *leave_out)}
    both = [name for name in then if name in fields and name not in left_out]
    return [Difference(name, then[name], fields[name]) for name in both if not _same(then[name], fields[name])]


def _flat(fields: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in fields.items():
        flat |= _flat(value, f"{prefix}{name}.") if isinstance(value, Mapping) else {prefix + name: value}
    return flat


def _numbers(then: Any, known_then: Known, now: Any, known_now: Known) -> list[Difference]:
    """The numbers of the features that differ, by their names, and how many outcomes were known."""
    of_now = dict(zip(now.names, now.numbers, strict=True))
    pairs = [(name, value, of_now.get(name)) for name, value in zip(then.names, then.numbers, strict=True)]
    pairs.append(("known outcomes", known_then.project.count, known_now.project.count))
    return [Difference(name, before, after) for name, before, after in pairs if not _same(before, after)]


def _same(then: Any, now: Any) -> bool:
    return bool(then == now or (then != then and now != now))  # NaN equals nothing


def _verdict(differences: Sequence[Difference]) -> Verdict:
    return "differs" if differences else "identical"


def _not_possible(reason: str) -> Replay:
    return Replay("not_possible", (), "not_possible", (), [reason])


def _reasons(database: Database, model_type: ModelType, stored: StoredPrediction) -> list[str]:
    """Why it may differ, as far as that can still be seen."""
    looking, project, moment = looking_of(model_type), stored.project_id, stored.moment
    later = database.retrying(lambda connection: changed_since(connection, looking, project, moment))
    found = []
    if not _is_as_asked(stored):
        found.append("text of the request was erased since")
    if later.imported:
        found.append(f"{later.imported} issues of the project with an outcome were imported or imported anew since")
    if later.edited:
        found.append(f"{later.edited} issues of the project were edited since")
    return found or ["nothing that can be seen: a row may have been removed, or code beside the feature code changed"]
