"""The question as it is asked, and the answer as it is given."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from forecastle.errors import ForecastleError
from forecastle.features.similarity import similar_cases
from forecastle.records.outcomes import ROLLING, Known
from forecastle.registry.answering import Answered, Context, IssueKey, Text, answer_each
from forecastle.registry.predictor import Method, Prediction

SIMILAR = "similar"


class EffortRequest(BaseModel):
    model_config = ConfigDict(extra="forbid", str_strip_whitespace=True)

    title: Annotated[Text, Field(min_length=1, max_length=1_000, description="Title of the issue")]
    description: Annotated[Text, Field(default="", max_length=1_000_000, description="What is to be done")]
    issue_type: Annotated[
        Text | None, Field(default=None, max_length=1_000, description="Type as the tracker names it")
    ]
    component: Annotated[Text | None, Field(default=None, max_length=1_000, description="Part of the product")]
    priority: Annotated[
        Text | None, Field(default=None, max_length=1_000, description="Priority as the tracker names it")
    ]
    reporter: Annotated[Text | None, Field(default=None, max_length=1_000, description="Who asks for it")]
    assignee: Annotated[Text | None, Field(default=None, max_length=1_000, description="Who is to do it, if known")]
    estimate_hours: Annotated[
        float | None, Field(default=None, gt=0, le=100_000, description="What a person estimates, in hours")
    ]
    project_id: Annotated[Text, Field(min_length=1, max_length=255, description="Id or key of the project")]
    issue_key: IssueKey


class PredictionRange(BaseModel):
    min: float = Field(description="Fewest hours of the interval, never below 0")
    max: float = Field(description="Most hours of the interval")
    target: float = Field(description="Share of issues whose hours the interval is made to hold")


class HoursBaseline(BaseModel):
    name: str = Field(description="The naive rule that the model has to beat")
    hours: float | None = Field(description="What it says; null where the project has no known hours")


class SimilarIssue(BaseModel):
    key: str = Field(description="Key of a completed issue of the project")
    hours: float = Field(description="The hours that it took")
    similarity: float = Field(description="From 0, no word in common, to 1, the same words")


class EffortAnswer(BaseModel):
    predicted_hours: float = Field(description="Hours of work")
    confidence: float | None = Field(
        description="Probability that the truth lies within a factor of two; null where nothing was measured yet"
    )
    prediction_range: PredictionRange
    baseline: HoursBaseline
    method: Method = Field(description="What answered")
    reasoning: str = Field(description="Why this method, and what it looked at")
    similar_issues: list[SimilarIssue] | None = Field(
        default=None, description="With method similarity, or asked for by include=similar"
    )
    model_version: str = Field(description="Registered model and version")
    prediction_id: str = Field(description="Shows the passport at /api/v1/ml/predictions/{id}/passport")


def answer_many(requests: Sequence[EffortRequest], context: Context) -> list[Answered | ForecastleError]:
    """Answer every request, or say why not; what was known of all their projects is read at once."""
    return answer_each(
        requests, context, lambda request, prediction, known: _fields(request, prediction, known, context)
    )


def _fields(request: Mapping[str, Any], found: Prediction, known: Known, context: Context) -> Mapping[str, object]:
    count = known.project.count
    fields = {
        "predicted_hours": round(found.settled.value, 2),
        "confidence": None if found.confidence != found.confidence else round(found.confidence, 4),
        "prediction_range": {"min": round(found.low, 2), "max": round(found.high, 2), "target": found.coverage_target},
        "baseline": {"name": "rolling_median", "hours": round(found.baseline, 2) if count else None},
        "method": found.method,
        "reasoning": _reasoning(request, found, count),
    }
    if found.method == "similarity" or SIMILAR in context.include:
        fields["similar_issues"] = [
            {"key": one.case.key, "hours": one.case.value, "similarity": round(one.similarity, 3)}
            for one in similar_cases(found.features.title, known.cases)
        ]
    return fields


def _reasoning(request: Mapping[str, Any], found: Prediction, known: int) -> str:
    if found.method == "heuristic":
        return "Nothing is known of the project yet and no model serves it: a customary amount answers."
    if found.method == "ml_model":
        estimated = not math.isnan(found.features.estimate)
        beside = ", the estimate and how earlier estimates turned out" if estimated else ""
        latest = f"how the project's last {min(known, ROLLING)} known issues and those like it went"
        what = f"What the issue says, {latest}{beside}"
    elif found.rule == "estimate":
        what = "The estimate itself"
    else:
        what = f"The project's {found.rule.replace('_', ' ')} of {known} known issues"
    if found.measured_loss is None:
        return f"{what}; on the project itself it was not measured."
    error = f"{1 + found.measured_loss:.0%} of the rolling median's"
    return f"{what}; on {found.measured_rows} earlier issues of the project its error was {error}."
