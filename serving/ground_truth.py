"""What came out: ground truth of one prediction, or of up to a thousand."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any
from uuid import UUID

from flask import jsonify
from flask_openapi3 import APIBlueprint, Tag
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from forecastle.access.principals import Permission
from forecastle.errors import ForecastleError
from forecastle.registry.answering import Text
from forecastle.registry.ground_truth import Recorded, Said, record_truths
from forecastle.store.database import Database
from serving.authentication import current_principal
from serving.predictions import EPOCH, SECURITY, GroundTruth, PredictionPath
from serving.problems import Problem, problem_of, problem_of_fields

MOST_ITEMS = 1_000


class Outcome(BaseModel):
    """What came out."""

    model_config = ConfigDict(extra="forbid", str_strip_whitespace=True)

    value: Annotated[
        float, Field(gt=0, allow_inf_nan=False, strict=True, description="In the unit of the model type's target")
    ]
    known_at: Annotated[
        AwareDatetime | None,
        Field(default=None, ge=EPOCH, description="Since when it is known; now, where nothing is said"),
    ]
    source: Annotated[
        Text, Field(default="manual", min_length=1, max_length=100, description="Who or what says so, but no import")
    ]


class OutcomeOf(Outcome):
    prediction_id: UUID = Field(description="Id of a prediction, as its answer gave it")


class Outcomes(BaseModel):
    model_config = ConfigDict(extra="forbid")

    items: Annotated[list[Any], Field(min_length=1, max_length=MOST_ITEMS, description="Each as `OutcomeOf` says")]


class OutcomeRecorded(BaseModel):
    prediction_id: str
    target: str = Field(description="What the value is one of; names its unit")
    changed: bool = Field(description="False where the same was on record already")
    ground_truth: GroundTruth


class OutcomesRecorded(BaseModel):
    asked: int
    recorded: int = Field(description="Items that were news")
    failed: int
    items: list[OutcomeRecorded | Problem] = Field(description="One for each item, in their order")


def ground_truth_blueprint(database: Database, problems: dict[Any, Any]) -> APIBlueprint:
    tag = Tag(name="ground truth", description="What came out")
    blueprint = APIBlueprint("ground_truth", __name__, abp_tags=[tag], abp_security=SECURITY)

    @blueprint.put(
        "/api/v1/ml/predictions/<uuid:prediction_id>/ground-truth",
        summary="Tell what came out; the same again changes nothing",
        responses={200: OutcomeRecorded, **problems},
    )
    def put_one(path: PredictionPath, body: Outcome) -> Any:
        (answer,) = _record(database, [_said(path.prediction_id, body)])
        if isinstance(answer, ForecastleError):
            raise answer
        return jsonify(_recorded(answer).model_dump(mode="json"))

    @blueprint.put(
        "/api/v1/ml/ground-truth",
        summary=f"Tell what came out of up to {MOST_ITEMS:,} predictions",
        responses={200: OutcomesRecorded, **problems},
    )
    def put_many(body: Outcomes) -> Any:
        read = [_read(item) for item in body.items]
        answers = iter(_record(database, [item for item in read if isinstance(item, Said)]))
        items = [_shown(next(answers)) if isinstance(item, Said) else item for item in read]
        found = OutcomesRecorded(
            asked=len(items),
            recorded=sum(isinstance(item, OutcomeRecorded) and item.changed for item in items),
            failed=sum(isinstance(item, Problem) for item in items),
            items=items,
        )
        return jsonify(found.model_dump(mode="json", exclude_none=True))

    return blueprint


def _record(database: Database, said: Sequence[Said]) -> list[Recorded | ForecastleError]:
    principal = current_principal()
    principal.require(Permission.RECORD_OUTCOMES)
    return record_truths(database, said, principal.name)


def _said(prediction_id: UUID, outcome: Outcome) -> Said:
    return Said(prediction_id, outcome.value, outcome.source, outcome.known_at)


def _read(item: Any) -> Said | Problem:
    try:
        outcome = OutcomeOf.model_validate(item)
    except ValidationError as error:
        return problem_of_fields(error, "this is not a JSON object")
    return _said(outcome.prediction_id, outcome)


def _shown(answer: Recorded | ForecastleError) -> OutcomeRecorded | Problem:
    return problem_of(answer) if isinstance(answer, ForecastleError) else _recorded(answer)


def _recorded(answer: Recorded) -> OutcomeRecorded:
    return OutcomeRecorded(
        prediction_id=str(answer.said.prediction_id),
        target=answer.target,
        changed=answer.changed,
        ground_truth=GroundTruth(**vars(answer.truth)),
    )
