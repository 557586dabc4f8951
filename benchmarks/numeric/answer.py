"""Ten numbers in, one number with its interval out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from forecastle.errors import ForecastleError
from forecastle.records.outcomes import Known
from forecastle.registry.answering import Answered, Context, Text, answer_each
from forecastle.registry.predictor import Method, Prediction

Number = Annotated[float, Field(ge=-1_000_000, le=1_000_000, description="A number that the trees look at")]


class NumericRequest(BaseModel):
    model_config = ConfigDict(extra="forbid", str_strip_whitespace=True)

    x0: Number
    x1: Number
    x2: Number
    x3: Number
    x4: Number
    x5: Number
    x6: Number
    x7: Number
    x8: Number
    x9: Number
    project_id: Annotated[Text, Field(min_length=1, max_length=255, description="Id or key of the project")]


class NumericRange(BaseModel):
    min: float = Field(description="Lowest number of the interval")
    max: float = Field(description="Highest number of the interval")
    target: float = Field(description="Share of outcomes that the interval is made to hold")


class NumericAnswer(BaseModel):
    value: float = Field(description="The number")
    prediction_range: NumericRange
    method: Method = Field(description="What answered")
    reasoning: str = Field(description="Why this method")
    model_version: str = Field(description="Registered model and version")
    prediction_id: str = Field(description="Shows the passport at /api/v1/ml/predictions/{id}/passport")


def answer_many(requests: Sequence[NumericRequest], context: Context) -> list[Answered | ForecastleError]:
    return answer_each(requests, context, _fields)


def _fields(request: Mapping[str, Any], found: Prediction, known: Known) -> Mapping[str, object]:
    return {
        "value": found.settled.value,  # not rounded: it is compared with what others answer
        "prediction_range": {"min": found.low, "max": found.high, "target": found.coverage_target},
        "method": found.method,
        "reasoning": "Trees on the ten numbers.",
    }
