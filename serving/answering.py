"""From a request to an answer whose row is durable."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any
from uuid import UUID

from pydantic import BaseModel

from forecastle.access.principals import Principal
from forecastle.errors import ForecastleError
from forecastle.features.packing import pack_known
from forecastle.records.outcomes import Known
from forecastle.registry.aliases import PRODUCTION
from forecastle.registry.answering import Answered, Context
from forecastle.registry.declaration import HistoryReader, ModelType
from forecastle.registry.history import StoredHistory
from forecastle.registry.predictor import Predictor
from forecastle.registry.replay import input_digest
from forecastle.registry.serving import ServingModels, ServingVersion
from forecastle.store.identifiers import new_id
from forecastle.store.prediction_log import PredictionLog
from forecastle.store.predictions import StoredPrediction


@dataclass(frozen=True)
class Scored:
    """The fields of every answer, or why there is none, and the rows of those there are, in the same order."""

    answers: Sequence[dict[str, Any] | ForecastleError]
    rows: Sequence[StoredPrediction]

    def kept(self, failures: Sequence[Exception | None]) -> list[dict[str, Any] | ForecastleError]:
        """What may be handed out once the log has said of every row what refused it.

        An answer whose row was refused is that error; raises what nobody foresaw of any of them.
        """
        told = iter(failures)
        kept = [answer if isinstance(answer, ForecastleError) else next(told) or answer for answer in self.answers]
        for found in kept:
            if isinstance(found, Exception) and not isinstance(found, ForecastleError):
                raise found
        return kept


class NotAtOnceError(Exception):
    """Something is not in memory, so that an answer would have to wait for it."""


@dataclass(frozen=True)
class Answerer:
    """Answers requests of every model type and writes each answer down before it is handed out."""

    histories: Mapping[str, StoredHistory]
    """By model type."""
    models: ServingModels
    log: PredictionLog

    def answer(
        self, model_type: ModelType, request: BaseModel, principal: Principal, include: frozenset[str] = frozenset()
    ) -> dict[str, Any]:
        """The fields of the answer, and what it is to include.

        Raises NotFoundError, NothingServesError, ServerError.
        """
        (answer,) = self.answer_many(model_type, [request], principal, include)
        if isinstance(answer, ForecastleError):
            raise answer
        return answer

    def answer_many(
        self,
        model_type: ModelType,
        requests: Sequence[BaseModel],
        principal: Principal,
        include: frozenset[str] = frozenset(),
    ) -> list[dict[str, Any] | ForecastleError]:
        """The fields of every answer, or why there is none; the row of every answer is durable at the end.

        Raises ServerError, and what nobody foresaw of any of them; then some rows may be durable all the same.
        """
        history = self.histories[model_type.name]
        scored = self._scored(model_type, requests, principal, include, self.models.for_cluster, history)
        return scored.kept(self.log.write(scored.rows) if scored.rows else ())

    def at_once(self, model_type: ModelType, request: BaseModel, principal: Principal) -> Scored:
        """As far as `answer_many` comes with one request before it writes, and nothing is waited for.

        Raises NotAtOnceError where something is not in memory.
        """
        history = _Remembered(self.histories[model_type.name])
        return self._scored(model_type, [request], principal, frozenset(), self._loaded, history)

    def _loaded(self, model_type: ModelType, cluster: str) -> ServingVersion:
        version = self.models.at_once(model_type, cluster)
        if version is None:
            raise NotAtOnceError
        return version

    def _scored(
        self,
        model_type: ModelType,
        requests: Sequence[BaseModel],
        principal: Principal,
        include: frozenset[str],
        version_for: Callable[[ModelType, str], ServingVersion],
        history: HistoryReader,
    ) -> Scored:
        started = time.perf_counter()
        versions: dict[str, ServingVersion] = {}

        def predictor_for(cluster: str) -> Predictor:
            if cluster not in versions:  # one version for all of a project's requests, whatever is promoted meanwhile
                versions[cluster] = version_for(model_type, cluster)
            return versions[cluster].predictor

        moment = datetime.now(UTC)
        context = Context(predictor_for, history, moment, include)
        answers: list[dict[str, Any] | ForecastleError] = []
        rows: list[StoredPrediction] = []
        for request, answered in zip(requests, model_type.answering(requests, context), strict=True):
            if isinstance(answered, ForecastleError):
                answers.append(answered)
                continue
            version, prediction_id = versions[answered.cluster], new_id()
            fields = {**answered.fields, "model_version": version.label, "prediction_id": str(prediction_id)}
            rows.append(
                _stored(prediction_id, model_type, version, request, answered, fields, principal, moment, started)
            )
            answers.append(fields)
        return Scored(answers, rows)


@dataclass(frozen=True)
class _Remembered:
    """Stands where a history is read, and does not wait for the store."""

    history: StoredHistory

    def known(self, requests: Sequence[Mapping[str, Any]], moment: datetime) -> Sequence[tuple[str, Known] | None]:
        (request,) = requests
        found = self.history.recalled(request, moment)
        if found is None:
            raise NotAtOnceError
        return [found]


_project_of = lru_cache(4096)(UUID)


def _stored(
    prediction_id: UUID,
    model_type: ModelType,
    version: ServingVersion,
    request: BaseModel,
    answered: Answered,
    fields: dict[str, Any],
    principal: Principal,
    moment: datetime,
    started: float,
) -> StoredPrediction:
    promotion = version.step.promotion
    asked = request.model_dump(mode="json")
    prediction = answered.prediction
    return StoredPrediction(
        id=prediction_id,
        model_type=model_type.name,
        model_name=promotion.model_name,
        model_version=promotion.to_version,
        alias=PRODUCTION,
        run_id=promotion.provenance["run_id"],
        dataset_digest=promotion.provenance["data.digest"],
        git_commit=promotion.provenance["git.commit"],
        feature_digest=promotion.provenance["feature.digest"],
        bundle_digest=version.bundle_digest,
        project_id=_project_of(answered.cluster),
        principal=principal.name,
        moment=moment,
        input_digest=input_digest(asked),
        request=asked,
        answer=fields,
        issue_key=asked.get("issue_key"),
        target=model_type.target,
        value=prediction.settled.value,
        low=prediction.low,
        high=prediction.high,
        baseline=None if prediction.baseline != prediction.baseline else prediction.baseline,  # NaN: nothing is known
        method=prediction.rule,
        latency_ms=(time.perf_counter() - started) * 1000,
        view=answered.prediction.view,
        estimate=answered.prediction.estimate,
        vector=version.predictor.scorer.pack(answered.prediction.features),
        known=pack_known(answered.known, tuple(model_type.groups)),
    )
