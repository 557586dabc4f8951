"""Story points: a project's own scale, what is recommended on it, and what the answer says."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest
from generated import quick, rows_for
from hypothesis import assume, given
from hypothesis import strategies as st

from forecastle.errors import NotFoundError, NothingServesError
from forecastle.records.outcomes import NONE_KNOWN, NOTHING_KNOWN, Case, Known, Outcomes
from forecastle.registry.answering import Answered, Context
from forecastle.registry.declaration import resolve
from forecastle.registry.examples import extract_all
from forecastle.registry.predictor import Predictor
from forecastle.registry.search import fitted as fitted_candidate
from forecastle.registry.training import Fitted, fit
from forecastle.registry.walking import Budget
from projects import get_model_type
from projects.delivery.story_points.answer import StoryPointsAnswer, StoryPointsRequest, answer_many
from projects.delivery.story_points.model import SCORER, extract
from projects.delivery.story_points.rules import (
    CUSTOMARY,
    FEW,
    Recommendation,
    Scale,
    recommend_middle,
    recommend_near,
)

MODEL_TYPE = get_model_type("delivery.story_points")


def known(values: Sequence[float]) -> Outcomes:
    if not values:
        return NONE_KNOWN
    ordered = sorted(values)
    middle = len(ordered) // 2
    median = ordered[middle] if len(ordered) % 2 else (ordered[middle - 1] + ordered[middle]) / 2
    return Outcomes(len(values), sum(values) / len(values), median, tuple(values[-200:]))


points = st.one_of(st.sampled_from(CUSTOMARY), st.sampled_from([0.0, 0.5, 4.0, 21.0, 100.0]))
outcomes = st.lists(points, max_size=80).map(known)
estimates = st.floats(0.01, 500)
spreads = st.floats(0.25, 3)
recommendations = st.builds(
    lambda choose, *given: choose(*given), st.sampled_from([recommend_near, recommend_middle]), estimates,
    outcomes.map(Scale.of), spreads,
)  # fmt: skip
thresholds = st.one_of(st.floats(0, 1.5), st.just(math.inf))


def test_few_known_outcomes_stand_beside_the_customary_values() -> None:
    assert Scale.of(NONE_KNOWN).values == CUSTOMARY
    assert Scale.of(known([4.0] * (FEW - 1))).values == (1.0, 2.0, 3.0, 4.0, 5.0, 8.0, 13.0)
    assert Scale.of(known([4.0, 7.0] * (FEW // 2))).values == (4.0, 7.0)


def test_frequencies_are_half_the_latest_and_half_all_recent_ones() -> None:
    scale = Scale.of(known([1.0] * 50 + [2.0] * 50))
    assert (scale.values, scale.frequencies) == ((1.0, 2.0), (0.25, 0.75))


@given(outcomes)
def test_a_scale_ascends_and_its_frequencies_sum_to_one(found: Outcomes) -> None:
    scale = Scale.of(found)
    assert list(scale.values) == sorted(set(scale.values))
    assert set(found.recent) <= set(scale.values)
    assert math.isclose(sum(scale.frequencies), 1.0)


def test_the_nearest_value_is_found_and_of_two_the_smaller() -> None:
    scale = Scale((1.0, 3.0, 8.0), (0.3, 0.3, 0.4))
    assert [scale.nearest(value) for value in (0.0, 2.0, 2.1, 5.6, 99.0)] == [1.0, 1.0, 3.0, 8.0, 8.0]


@given(recommendations)
def test_probabilities_sum_to_one_and_the_recommended_value_stands_on_the_scale(found: Recommendation) -> None:
    assert math.isclose(sum(found.probabilities), 1.0)
    assert all(0 <= probability <= 1 for probability in found.probabilities)
    assert found.value in found.values
    assert found.confidence(lambda score: math.nan) == found.probabilities[list(found.values).index(found.value)]


@given(recommendations, st.one_of(points, st.floats(0, 120)))
def test_a_hit_is_the_very_value(found: Recommendation, truth: float) -> None:
    assert found.is_hit(truth) == (truth == found.value)


@given(recommendations, st.data(), thresholds)
def test_an_interval_holds_exactly_the_outcomes_of_at_most_its_score(
    found: Recommendation, data: st.DataObject, threshold: float
) -> None:
    truth = data.draw(st.one_of(st.sampled_from(list(found.values)), st.floats(0, 120)))
    threshold = data.draw(st.sampled_from([threshold, *(found.score(value) for value in found.values)]))
    low, high = found.interval(threshold)
    score = found.score(truth)
    assume(score < math.inf or threshold < math.inf)
    assert (score <= threshold) == (low <= truth <= high)


@given(recommendations, thresholds, thresholds)
def test_intervals_are_nested_and_hold_the_recommended_value(
    found: Recommendation, first: float, second: float
) -> None:
    low, high = found.interval(min(first, second))
    lower, higher = found.interval(max(first, second))
    assert lower <= low <= found.value <= high <= higher
    assert {low, high, lower, higher} <= set(found.values)


@given(recommendations)
def test_an_endless_threshold_is_the_whole_scale_and_no_threshold_the_value_alone(found: Recommendation) -> None:
    assert found.interval(math.inf) == (found.values[0], found.values[-1])
    assert found.score(found.value) == 0.0
    assert found.score(found.values[-1] + 1) == math.inf


@given(outcomes, spreads, estimates, estimates)
def test_a_larger_estimate_recommends_no_smaller_value(
    found: Outcomes, spread: float, first: float, second: float
) -> None:
    (small, large), scale = sorted((first, second)), Scale.of(found)
    for choose in (recommend_near, recommend_middle):
        assert choose(small, scale, spread).value <= choose(large, scale, spread).value


@given(st.floats(0.25, 1000), outcomes)
def test_points_and_deviations_are_each_others_inverse(value: float, found: Outcomes) -> None:
    features = extract({"title": "x"}, "a", Known(found))
    assert math.isclose(features.to_units(features.to_deviation(value)), value, rel_tol=1e-9)


@pytest.fixture(scope="module")
def fitted() -> Fitted:
    model_type = quick(MODEL_TYPE)
    return fit(model_type, extract_all(model_type, rows_for(model_type)), budget=Budget(trials=1))


@given(outcomes, estimates)
def test_baselines_recommend_the_nearest_value_and_models_the_middle_of_what_is_likely(
    found: Outcomes, estimate: float
) -> None:
    features = extract({"title": "x"}, "a", Known(found))
    spread, scale = features.levels.spread, Scale.of(found)
    kept = Known(replace(found, derived={}))  # the second time its scale is there already
    for settle in (SCORER.settler(features, known) for known in (Known(found), kept, kept)):
        for method in MODEL_TYPE.baselines:
            assert settle(method, estimate) == recommend_near(estimate, scale, spread)
        for method in ("linear_text", "blend"):
            assert settle(method, estimate) == recommend_middle(estimate, scale, spread)


def test_similar_cases_and_the_issues_of_its_type_stand_among_its_numbers() -> None:
    group = known([8.0] * 6)
    about = Known(known([3.0] * 30), {"issue_type": group}, [Case("A-1", "Fix the importer", 13.0)])
    found = extract({"title": "Fix the importer", "issue_type": "Bug"}, "a", about)
    numbers = dict(zip(found.names, found.numbers, strict=True))
    assert found.similar == pytest.approx(math.log(13.0))
    assert numbers["similarity"] == 1.0
    assert numbers["issue_type.median"] == pytest.approx(math.log(8.0) - found.centre)
    assert found.labels == ("issue_type=Bug",)


def test_heavier_words_are_estimated_higher() -> None:
    form, level = linear_form(), Known(known([3.0, 5.0] * 30))
    light, heavy = (
        form.estimate(extract({"title": title, "description": ""}, "DEMO1", level))
        for title in ("Rename the label in admin", "Migrate the cluster in admin")
    )
    assert heavy > 1.5 * light


def linear_form() -> Any:
    trainer = resolve(MODEL_TYPE.trainer)
    examples = extract_all(MODEL_TYPE, rows_for(MODEL_TYPE)).views["all"]
    learned = fitted_candidate(trainer, "linear_text", trainer.candidates["linear_text"][0], examples)
    return learned.fast_form()


def test_a_request_without_a_description_is_a_request_with_an_empty_one() -> None:
    first, second = (
        extract(request, "a", NOTHING_KNOWN) for request in ({"title": "x", "description": None}, {"title": "x"})
    )
    assert str(first) == str(second)


class History:
    """What is known of two projects; counts how often it was asked."""

    def __init__(self) -> None:
        self.asked = 0

    def known(self, requests: Sequence[Mapping[str, Any]], moment: Any) -> Sequence[tuple[str, Known] | None]:
        self.asked += 1
        there = {"DEMO1": ("id-1", Known(known([3.0, 5.0] * 20))), "EMPTY": ("id-2", NOTHING_KNOWN)}
        return [there.get(request["project_id"]) for request in requests]


def ask(predictor_for: Any, *projects: str) -> tuple[list[Any], History]:
    history = History()
    requests = [StoryPointsRequest(title="Rewrite the billing", project_id=project) for project in projects]
    return answer_many(requests, Context(predictor_for, history, 0)), history


def test_many_requests_are_answered_in_order_with_one_look_at_history(fitted: Fitted) -> None:
    predictor = Predictor.of(MODEL_TYPE, fitted.bundle)
    found, history = ask(lambda cluster: predictor, "DEMO1", "NOWHERE", "EMPTY", "DEMO1")
    assert history.asked == 1
    assert [type(answer) for answer in found] == [Answered, NotFoundError, Answered, Answered]
    assert found[0].fields == found[3].fields
    assert (found[0].cluster, found[2].cluster) == ("id-1", "id-2")


def test_an_answer_has_every_declared_field_and_is_json(fitted: Fitted) -> None:
    predictor = Predictor.of(MODEL_TYPE, fitted.bundle)
    found, _ = ask(lambda cluster: predictor, "DEMO1", "EMPTY")
    for answer in found:
        fields = {**answer.fields, "model_version": "delivery.story_points/1", "prediction_id": "p"}
        shown = StoryPointsAnswer.model_validate_json(json.dumps(fields, allow_nan=False))
        assert shown.recommended_points in map(float, shown.probability_distribution)
        assert sum(shown.probability_distribution.values()) == pytest.approx(1.0, abs=0.001)
        assert shown.interval.low <= shown.recommended_points <= shown.interval.high
        assert shown.reasoning
    assert found[0].fields["baseline"] == {"name": "rolling_median", "points": 4.0}
    assert found[1].fields["baseline"]["points"] is None
    assert "no known story points yet" in found[1].fields["reasoning"]


def test_a_project_for_which_nothing_serves_is_answered_with_that_error() -> None:
    def nothing(cluster: str) -> Any:
        raise NothingServesError("no version is in production")

    found, _ = ask(nothing, "DEMO1")
    assert isinstance(found[0], NothingServesError)
