"""The question as it is asked, and the answer as it is given."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from forecastle.errors import ForecastleError
from forecastle.records.outcomes import ROLLING
from forecastle.registry.answering import Answered, Context, IssueKey, Text, answer_each
from forecastle.registry.predictor import Method, Prediction
from projects.delivery.story_points.rules import Recommendation


class StoryPointsRequest(BaseModel):
    model_config = ConfigDict(extra="forbid", str_strip_whitespace=True)

    title: Annotated[Text, Field(min_length=1, max_length=1_000, description="Title of the issue")]
    description: Annotated[Text, Field(default="", max_length=1_000_000, description="What is to be done")]
    issue_type: Annotated[
        Text | None, Field(default=None, max_length=1_000, description="Type as the tracker names it")
    ]
    project_id: Annotated[Text, Field(min_length=1, max_length=255, description="Id or key of the project")]
    issue_key: IssueKey


class Interval(BaseModel):
    low: float = Field(description="Least points of the interval")
    high: float = Field(description="Most points of the interval")
    target: float = Field(description="Share of issues whose points the interval is made to hold")


class Baseline(BaseModel):
    name: str = Field(description="The naive rule that the model has to beat")
    points: float | None = Field(description="What it says; null where the project has no known points")


class StoryPointsAnswer(BaseModel):
    recommended_points: float = Field(description="A value of the project's own scale")
    estimated_points: float | None = Field(
        description="The estimate before it is put on the scale: ranks issues that get the same value; null where "
        "nothing estimates"
    )
    confidence: float = Field(description="Probability that these are the points the team will choose")
    probability_distribution: dict[str, float] = Field(description="Probability of each value of the scale")
    interval: Interval
    baseline: Baseline
    method: Method = Field(description="What answered")
    reasoning: str = Field(description="Why this method, and what it looked at")
    model_version: str = Field(description="Registered model and version")
    prediction_id: str = Field(description="Shows the passport at /api/v1/ml/predictions/{id}/passport")


def answer_many(requests: Sequence[StoryPointsRequest], context: Context) -> list[Answered | ForecastleError]:
    """Answer every request, or say why not; what was known of all their projects is read at once."""
    return answer_each(requests, context, lambda request, prediction, known: _fields(prediction, known.project.count))


def _fields(prediction: Prediction, known: int) -> Mapping[str, object]:
    recommendation = prediction.settled
    assert isinstance(recommendation, Recommendation)
    return {
        "recommended_points": recommendation.value,
        "estimated_points": None if math.isnan(prediction.estimate) else round(prediction.estimate, 3),
        "confidence": round(prediction.confidence, 4),
        "probability_distribution": {
            f"{value:g}": round(probability, 4)
            for value, probability in zip(recommendation.values, recommendation.probabilities, strict=True)
        },
        "interval": {"low": prediction.low, "high": prediction.high, "target": prediction.coverage_target},
        "baseline": {"name": "rolling_median", "points": prediction.baseline if known else None},
        "method": prediction.method,
        "reasoning": _reasoning(prediction, known),
    }


def _reasoning(prediction: Prediction, known: int) -> str:
    if not known:
        return "The project has no known story points yet: the words of the issue and the customary scale answer."
    looked_at = min(known, ROLLING) if prediction.rule == "rolling_median" else known
    what = (
        f"The words of the issue and the level of the project's last {min(known, ROLLING)} known issues"
        if prediction.method == "ml_model"
        else f"The project's {prediction.rule.replace('_', ' ')} of {looked_at} known issues"
    )
    if prediction.measured_loss is None:
        return f"{what}; on the project itself it was not measured."
    error = f"{1 + prediction.measured_loss:.0%} of the rolling median's"
    return f"{what}; on {prediction.measured_rows} earlier issues of the project its error was {error}."
