"""Hours: ranges around a value, a hit within a factor of two, and what people estimated."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest
from generated import quick, rows_for
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from forecastle.errors import NotFoundError, NothingServesError
from forecastle.records.outcomes import NOTHING_KNOWN, Case, Known, Outcomes
from forecastle.registry.answering import Answered, Context
from forecastle.registry.examples import extract_all
from forecastle.registry.predictor import Predictor
from forecastle.registry.training import Fitted, fit
from forecastle.registry.walking import Budget
from projects import get_model_type
from projects.delivery.effort.answer import EffortAnswer, EffortRequest, answer_many
from projects.delivery.effort.model import (
    GROUPS,
    LEAST_RATIOS,
    LEAST_REACH,
    SCORER,
    USUAL_RATIO_SPREAD,
    amounts_for,
    extract,
    reach_of,
)
from projects.delivery.effort.rules import FACTOR, HOURS, NEAR, Hours, settle_hours

MODEL_TYPE = get_model_type("delivery.effort")
amounts = st.floats(HOURS.floor, 5_000)
answers = st.builds(Hours, amounts, st.floats(0.1, 3))
thresholds = st.one_of(st.floats(0, 6), st.just(math.inf))


def history(values: Sequence[float], estimates: Sequence[float] = ()) -> Outcomes:
    return Outcomes.of_latest(values, estimates or [math.nan] * len(values))


KNOWN = Known(
    history([2.0, 4.0, 8.0] * 12, [2.0, 2.0, 4.0] * 12),
    {"issue_type": history([3.0] * 9)},
    [Case("A-1", "Rewrite the billing", 12.0), Case("A-2", "Fix a label", 1.0)],
)


@given(answers, amounts, thresholds)
def test_a_range_holds_exactly_the_outcomes_of_at_most_its_score(found: Hours, truth: float, threshold: float) -> None:
    low, high = found.interval(threshold)
    score = found.score(truth)
    if abs(score - threshold) > 1e-9 and score * found.reach < 12:  # beyond, any range is cut
        assert (score < threshold) == (low <= truth <= high)


@given(answers, thresholds, thresholds)
def test_ranges_are_nested_hold_the_value_and_never_reach_below_zero(found: Hours, first: float, second: float) -> None:
    low, high = found.interval(min(first, second))
    lower, higher = found.interval(max(first, second))
    assert 0 < lower <= low <= found.value <= high <= higher < math.inf


@given(answers, st.floats(0, 10_000))
def test_a_hit_is_the_truth_within_a_factor_of_two(found: Hours, truth: float) -> None:
    assert found.is_hit(truth) == (found.value / 2 <= truth <= 2 * found.value)
    assert FACTOR == 2


@given(answers)
def test_confidence_asks_how_often_earlier_rows_lay_within_a_factor_of_two(found: Hours) -> None:
    asked: list[float] = []
    assert found.confidence(lambda score: asked.append(score) or 0.7) == 0.7
    low, high = found.interval(asked[0])
    assert (low, high) == pytest.approx((found.value / 2, found.value * 2))


def test_what_nobody_knows_anything_of_takes_the_customary_amount() -> None:
    assert settle_hours(math.nan, (), 1.0).value == math.exp(HOURS.cold_centre)


@given(st.floats(-10, 10_000), st.one_of(st.just(math.nan), amounts))
def test_an_answer_is_at_least_the_floor_and_what_people_said_where_that_is_near(estimate: float, human: float) -> None:
    value = settle_hours(estimate, amounts_for(human, NOTHING_KNOWN), 1.0).value
    assert value >= HOURS.floor
    near = human == human and abs(math.log(max(estimate, HOURS.floor)) - math.log(human)) < NEAR
    assert value == (human if near else max(estimate, HOURS.floor))


def test_without_an_estimate_an_amount_that_the_project_logs_is_said_where_that_is_near() -> None:
    recent = (3.5,) * 6 + (7.0,) * 6 + (5.1,)
    logged = amounts_for(math.nan, Known(Outcomes.of_latest(recent)))
    found = [settle_hours(hours, logged, 1.0).value for hours in (3.2, 4.0, 4.9, 8.0, 80.0)]
    assert found == [3.5, 3.5, 4.9, 7.0, 80.0]  # what was logged once is no custom
    assert (
        settle_hours(3.4, amounts_for(2.0, Known(Outcomes.of_latest(recent))), 1.0).value == 3.4
    )  # beside an estimate, nothing but the estimate is


def test_how_far_outcomes_lie_from_estimates_is_told_by_earlier_ones() -> None:
    levels = extract({"title": "x"}, "A", KNOWN).levels
    assert reach_of(math.nan, levels, KNOWN) == levels.spread
    few = Known(history([2.0] * (LEAST_RATIOS - 1), [1.0] * (LEAST_RATIOS - 1)))
    assert reach_of(3.0, levels, few) == USUAL_RATIO_SPREAD
    exact = Known(history([2.0] * LEAST_RATIOS, [2.0] * LEAST_RATIOS))
    assert reach_of(3.0, levels, exact) == LEAST_REACH
    assert LEAST_REACH < reach_of(3.0, levels, KNOWN) < USUAL_RATIO_SPREAD


@given(st.lists(st.tuples(amounts, amounts | st.just(math.nan)), max_size=60), st.one_of(st.just(math.nan), amounts))
def test_outcomes_that_are_kept_settle_answers_as_others_do(pairs: list[tuple[float, float]], human: float) -> None:
    alone = Known(history([value for value, _ in pairs], [guess for _, guess in pairs]))
    kept = Known(replace(alone.project, derived={}))
    request = {"title": "x", "estimate_hours": None if math.isnan(human) else human}
    for _ in range(2):
        found = [SCORER.settler(extract(request, "A", known), known)("blend", 3.0) for known in (alone, kept)]
        assert found[0] == found[1]


def test_with_an_estimate_features_are_relative_to_it_and_without_to_the_projects_level() -> None:
    plain, estimated = (extract({"title": "x", "estimate_hours": e}, "A", KNOWN) for e in (None, 6.0))
    assert plain.centre == plain.levels.centre
    assert estimated.centre == math.log(6.0)
    assert (estimated.estimate, math.isnan(plain.estimate)) == (6.0, True)
    assert estimated.weight > plain.weight
    assert set(plain.names) < set(estimated.names)
    assert {f"{group}.ratio_mean" for group in ("project", *GROUPS)} <= set(estimated.names)


def test_every_declared_group_is_looked_at() -> None:
    assert set(GROUPS) == set(MODEL_TYPE.groups)


def test_a_group_shows_in_its_numbers_and_similar_cases_in_theirs() -> None:
    found = extract({"title": "Rewrite the billing", "issue_type": "Bug"}, "A", KNOWN)
    numbers = dict(zip(found.names, found.numbers, strict=True))
    assert numbers["issue_type.mean"] == pytest.approx(math.log(3.0) - found.centre)
    assert math.isnan(numbers["assignee.mean"])
    assert found.similar == pytest.approx(math.log(12.0))
    assert numbers["similarity"] == 1.0
    assert found.labels == ("issue_type=Bug",)


def test_a_request_without_a_description_is_a_request_with_an_empty_one() -> None:
    first, second = (
        extract({"title": "x", "description": None}, "a", NOTHING_KNOWN),
        extract({"title": "x"}, "a", NOTHING_KNOWN),
    )
    assert str(first) == str(second)


@pytest.mark.parametrize("hours", [0, -1, 100_001, math.nan, math.inf, "many"])
def test_an_estimate_that_is_no_amount_of_hours_is_refused(hours: Any) -> None:
    with pytest.raises(ValidationError):
        EffortRequest(title="x", project_id="A", estimate_hours=hours)


class History:
    """What is known of two projects; counts how often it was asked."""

    def __init__(self) -> None:
        self.asked = 0

    def known(self, requests: Sequence[Mapping[str, Any]], moment: Any) -> Sequence[tuple[str, Known] | None]:
        self.asked += 1
        there = {"DEMO1": ("id-1", KNOWN), "EMPTY": ("id-2", NOTHING_KNOWN)}
        return [there.get(request["project_id"]) for request in requests]


@pytest.fixture(scope="module")
def fitted() -> Fitted:
    model_type = quick(MODEL_TYPE)
    return fit(model_type, extract_all(model_type, rows_for(model_type)), budget=Budget(trials=1))


def ask(
    predictor_for: Any, *requests: Mapping[str, Any], include: frozenset[str] = frozenset()
) -> tuple[list[Any], History]:
    found = History()
    asked = [EffortRequest(**{"title": "Rewrite the billing", **request}) for request in requests]
    return answer_many(asked, Context(predictor_for, found, 0, include)), found


def test_many_requests_are_answered_in_order_with_one_look_at_history(fitted: Fitted) -> None:
    predictor = Predictor.of(MODEL_TYPE, fitted.bundle)
    projects = [{"project_id": name} for name in ("DEMO1", "NOWHERE", "EMPTY", "DEMO1")]
    found, history = ask(lambda cluster: predictor, *projects)
    assert history.asked == 1
    assert [type(answer) for answer in found] == [Answered, NotFoundError, Answered, Answered]
    assert found[0].fields == found[3].fields
    assert (found[0].cluster, found[2].cluster) == ("id-1", "id-2")


@pytest.mark.parametrize("served", [True, False])
def test_an_answer_has_every_declared_field_and_is_json(fitted: Fitted, served: bool) -> None:
    predictor = Predictor.of(MODEL_TYPE, fitted.bundle if served else None)
    requests = [{"project_id": p, "estimate_hours": e} for p in ("DEMO1", "EMPTY") for e in (None, 6.0)]
    found, _ = ask(lambda cluster: predictor, *requests)
    for answer in found:
        fields = {**answer.fields, "model_version": "delivery.effort/1", "prediction_id": "p"}
        shown = EffortAnswer.model_validate_json(json.dumps(fields, allow_nan=False))
        assert 0 <= shown.prediction_range.min <= shown.predicted_hours <= shown.prediction_range.max
        assert shown.confidence is None or 0 < shown.confidence < 1
        assert (shown.confidence is None) == (not served)
        assert shown.reasoning
        assert shown.similar_issues is None
    assert [answer.fields["baseline"]["hours"] for answer in found] == [4.0, 4.0, None, None]


def test_the_estimate_is_named_as_a_reason_only_where_there_is_one(fitted: Fitted) -> None:
    predictor = Predictor.of(MODEL_TYPE, fitted.bundle)
    found, _ = ask(lambda c: predictor, {"project_id": "EMPTY"}, {"project_id": "EMPTY", "estimate_hours": 6.0})
    assert found[0].prediction.method == "ml_model"
    plain, estimated = (answer.fields["reasoning"] for answer in found)
    assert "estimate" not in plain
    assert "estimate" in estimated


def test_without_a_version_and_without_known_hours_a_customary_amount_answers() -> None:
    predictor = Predictor.of(MODEL_TYPE, None)
    (found,), _ = ask(lambda cluster: predictor, {"project_id": "EMPTY"})
    assert found.fields["method"] == "heuristic"
    assert found.fields["predicted_hours"] == pytest.approx(2.0)
    assert "customary" in found.fields["reasoning"]


def test_similar_issues_are_shown_where_they_are_asked_for(fitted: Fitted) -> None:
    predictor = Predictor.of(MODEL_TYPE, fitted.bundle)
    projects = [{"project_id": "DEMO1"}, {"project_id": "EMPTY"}]
    found, _ = ask(lambda cluster: predictor, *projects, include=frozenset({"similar"}))
    assert found[0].fields["similar_issues"] == [{"key": "A-1", "hours": 12.0, "similarity": 1.0}]
    assert found[1].fields["similar_issues"] == []
    plain, _ = ask(lambda cluster: predictor, *projects)
    if plain[0].prediction.method != "similarity":
        assert "similar_issues" not in plain[0].fields


def test_a_project_for_which_nothing_serves_is_answered_with_that_error() -> None:
    def nothing(cluster: str) -> Any:
        raise NothingServesError("no version is in production")

    found, _ = ask(nothing, {"project_id": "DEMO1"})
    assert isinstance(found[0], NothingServesError)
