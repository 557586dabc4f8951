"""The candidate: a linear model on words and on the project's recent level, fitted on log points.

It predicts how far an issue lies from its project's level, in spreads of that project, so that projects of any
scale teach one model.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from forecastle.features.levels import LogLevels, log, log_levels
from forecastle.features.text import MOST_CHARACTERS, Counts, TfidfDictionary, count_tokens
from forecastle.records.outcomes import Outcomes
from projects.delivery.story_points.rules import Recommendation, recommend_middle, recommend_near

LEAST_DOCUMENTS = 3
MOST_WORDS = 5_000
NUMBER_WEIGHT = 0.2  # standard deviation of a dense number beside text vectors of length 1
CANDIDATE = "linear_text"


@dataclass(frozen=True, slots=True)
class IssueNumbers:
    """An issue's words and lengths, beside the level of its project when it was asked about."""

    title: Counts
    description: Counts
    title_length: float
    description_length: float
    levels: LogLevels
    cluster: str

    def dense(self) -> dict[str, float]:
        """The numbers beside the words, not yet standardised."""
        levels = self.levels
        return {
            "rolling_median": levels.rolling_median,
            "mean": levels.mean,
            "median": levels.median,
            "last_10": levels.last_10,
            "last_3": levels.last_3,
            "centre": levels.centre,
            "title_length": self.title_length,
            "description_length": self.description_length,
            "no_description": float(not self.description_length),
        }


def extract(request: Mapping[str, Any], cluster: str, outcomes: Outcomes) -> IssueNumbers:
    """What a request says, and what was known of its project then."""
    title, description = request.get("title") or "", request.get("description") or ""
    return IssueNumbers(
        title=count_tokens(title),
        description=count_tokens(description),
        title_length=math.log1p(len(title)),
        description_length=math.log1p(min(len(description), MOST_CHARACTERS)),
        levels=log_levels(outcomes),
        cluster=cluster,
    )


@dataclass(frozen=True)
class NamedNumbers:
    """Turns an issue into named numbers: standardised dense ones, words, and the words once more for its project.

    The second set of words lets a project give a word a meaning of its own. Training and answering both read this.
    """

    title: TfidfDictionary
    description: TfidfDictionary
    scaling: Mapping[str, tuple[float, float]]
    """Mean and standard deviation of each dense number."""

    @classmethod
    def learn(cls, issues: Sequence[IssueNumbers]) -> NamedNumbers:
        columns: dict[str, array[float]] = {}
        for issue in issues:
            for name, value in issue.dense().items():
                columns.setdefault(name, array("d")).append(value)
        return cls(
            TfidfDictionary.learn((issue.title for issue in issues), LEAST_DOCUMENTS, MOST_WORDS),
            TfidfDictionary.learn((issue.description for issue in issues), LEAST_DOCUMENTS, MOST_WORDS),
            {name: _mean_and_deviation(values) for name, values in columns.items()},
        )

    def of(self, issue: IssueNumbers) -> Iterator[tuple[str, float]]:
        for name, value in issue.dense().items():
            mean, deviation = self.scaling[name]
            yield name, (value - mean) / deviation * NUMBER_WEIGHT
        own = f"{issue.cluster}|"
        for field, weights in (
            ("t:", self.title.weigh(issue.title)),
            ("d:", self.description.weigh(issue.description)),
        ):
            for word, weight in weights.items():
                yield field + word, weight
                yield own + field + word, weight


def _mean_and_deviation(values: Sequence[float]) -> tuple[float, float]:
    mean = math.fsum(values) / len(values)
    deviation = math.sqrt(math.fsum((value - mean) ** 2 for value in values) / len(values))
    return mean, deviation if deviation > 1e-9 else 1.0


@dataclass(frozen=True)
class LinearPoints:
    """The fast form: one weight per named number. Names that were not seen in training count nothing."""

    numbers: NamedNumbers
    weights: Mapping[str, float]
    intercept: float

    def estimate(self, issue: IssueNumbers) -> float:
        """Points, a positive number that need not stand on the project's scale."""
        weights = self.weights
        total = self.intercept
        for name, value in self.numbers.of(issue):
            total += weights.get(name, 0.0) * value
        return to_points(total, issue.levels)

    def as_json(self) -> dict[str, Any]:
        return {
            "title": dict(self.numbers.title.idf),
            "description": dict(self.numbers.description.idf),
            "scaling": {name: list(pair) for name, pair in self.numbers.scaling.items()},
            "weights": {name: weight for name, weight in self.weights.items() if weight},
            "intercept": self.intercept,
        }

    @classmethod
    def from_json(cls, form: Mapping[str, Any]) -> LinearPoints:
        scaling = {name: (float(pair[0]), float(pair[1])) for name, pair in form["scaling"].items()}
        numbers = NamedNumbers(TfidfDictionary(form["title"]), TfidfDictionary(form["description"]), scaling)
        return cls(numbers, form["weights"], float(form["intercept"]))


def to_points(deviation: float, levels: LogLevels) -> float:
    return math.exp(deviation * levels.spread + levels.centre)


def from_points(points: float, levels: LogLevels) -> float:
    return (log(points) - levels.centre) / levels.spread


class StoryPointsScorer:
    """What training, evaluation and the façade ask alike."""

    def extract(self, request: Mapping[str, Any], cluster: str, outcomes: Outcomes) -> IssueNumbers:
        return extract(request, cluster, outcomes)

    def load(self, form: Mapping[str, Any]) -> LinearPoints:
        return LinearPoints.from_json(form)

    def settle(self, method: str, estimate: float, issue: IssueNumbers, outcomes: Outcomes) -> Recommendation:
        choose = recommend_middle if method == CANDIDATE else recommend_near
        return choose(estimate, outcomes, issue.levels.spread)


SCORER = StoryPointsScorer()
