"""The method with skill answers, and says which one it was."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest

from forecastle.learning.forms import SINGLE
from forecastle.monitoring.conformal import Thresholds
from forecastle.monitoring.skill import SkillTable
from forecastle.records.outcomes import NOTHING_KNOWN, Case, Known, Outcomes
from forecastle.registry.bundle import Bundle
from forecastle.registry.declaration import ModelType, resolve
from forecastle.registry.predictor import Predictor
from forecastle.registry.training import Fitted

REQUEST = {"title": "Rewrite the billing", "description": ""}
KNOWN = Known(Outcomes(30, 4.0, 3.0, (3.0,) * 20 + (5.0, 8.0) * 5))


def with_view(bundle: Bundle, **changed: Any) -> Bundle:
    """The bundle with another skill table or other thresholds, answering with the linear model."""
    views = {name: replace(view, candidate="linear_text", **changed) for name, view in bundle.views.items()}
    return replace(bundle, views=views)


def serving(fitted: Fitted, model_type: ModelType, skill: SkillTable) -> Predictor:
    return Predictor.of(model_type, with_view(fitted.bundle, skill=skill))


def test_without_a_bundle_the_reference_baseline_answers_with_an_unbounded_promise(model_type: ModelType) -> None:
    found = Predictor.of(model_type, None).predict("a", REQUEST, KNOWN)
    assert (found.method, found.rule) == ("baseline", "rolling_median")
    assert found.settled.value == found.baseline == KNOWN.project.rolling_median
    assert (found.low, found.high) == found.settled.interval(math.inf) == (3.0, 8.0)
    assert found.measured_loss is None


@pytest.mark.timeout(20)  # probabilities that are no numbers once made the interval grow for ever
def test_without_a_bundle_and_without_known_outcomes_the_customary_level_answers(model_type: ModelType) -> None:
    found = Predictor.of(model_type, None).predict("a", REQUEST, NOTHING_KNOWN)
    assert (found.settled.value, found.low, found.high) == (3.0, 1.0, 13.0)
    assert all(math.isfinite(probability) for probability in found.settled.probabilities)


def test_where_no_outcome_is_known_the_candidate_answers_whatever_the_table_says(
    fitted: Fitted, model_type: ModelType
) -> None:
    predictor = serving(fitted, model_type, SkillTable("median", {"a": "rolling_median"}, {}, {}, {}))
    for cluster in ("a", "never seen"):
        found = predictor.predict(cluster, REQUEST, NOTHING_KNOWN)
        assert (found.method, found.rule) == ("ml_model", "linear_text")
        assert math.isfinite(found.low) and math.isfinite(found.high)  # noqa: PT018 - one thing
        assert math.isnan(found.baseline)


def test_each_cluster_is_answered_by_the_method_that_has_skill_there(fitted: Fitted, model_type: ModelType) -> None:
    skill = SkillTable("mean", {"a": "linear_text", "b": "median"}, {"a": 70}, {"a": {"linear_text": -0.2}}, {})
    predictor = serving(fitted, model_type, skill)
    answers = {cluster: predictor.predict(cluster, REQUEST, KNOWN) for cluster in ("a", "b", "c")}
    assert {cluster: answer.rule for cluster, answer in answers.items()} == {
        "a": "linear_text",
        "b": "median",
        "c": "mean",
    }
    assert [answers[cluster].method for cluster in "abc"] == ["ml_model", "baseline", "baseline"]
    assert (answers["a"].measured_loss, answers["b"].measured_loss) == (-0.2, None)
    assert (answers["a"].measured_rows, answers["b"].measured_rows) == (70, 0)
    assert answers["b"].settled.value == 3.0


def test_intervals_reach_as_far_as_the_threshold_of_rule_and_cluster(fitted: Fitted, model_type: ModelType) -> None:
    bundle = with_view(
        fitted.bundle,
        skill=SkillTable("median", {}, {}, {}, {}),
        thresholds={"median": Thresholds(pooled=0.0, by_cluster={"wide": 0.9999})},
    )
    predictor = Predictor.of(model_type, bundle)
    narrow, wide = (predictor.predict(cluster, REQUEST, KNOWN) for cluster in ("narrow", "wide"))
    assert (narrow.low, narrow.high) == (3.0, 3.0)
    assert (wide.low, wide.high) == (3.0, 8.0)
    assert narrow.coverage_target == model_type.coverage_target


def test_a_rule_without_thresholds_promises_the_whole_scale(fitted: Fitted, model_type: ModelType) -> None:
    predictor = Predictor.of(
        model_type, with_view(fitted.bundle, skill=SkillTable("mean", {}, {}, {}, {}), thresholds={})
    )
    found = predictor.predict("a", REQUEST, KNOWN)
    assert (found.low, found.high) == (3.0, 8.0)


def test_one_request_and_extracted_numbers_give_the_same_answer(fitted: Fitted, model_type: ModelType) -> None:
    predictor = Predictor.of(model_type, fitted.bundle)
    for row in list(fitted.held_back)[:20]:
        asked = predictor.predict(row.cluster, row.request, row.known)
        assert str(asked) == str(predictor.predict_extracted("all", row.cluster, row.features, row.known))


def test_where_similar_cases_answer_the_method_says_so(fitted: Fitted, model_type: ModelType) -> None:
    predictor = serving(fitted, model_type, SkillTable("similarity", {}, {}, {}, {}))
    cases = [Case("A-1", "Rewrite the billing", 8.0)]
    found = predictor.predict("a", REQUEST, replace(KNOWN, cases=cases))
    assert (found.method, found.rule, found.settled.value) == ("similarity", "similarity", 8.0)
    alone = predictor.predict("a", REQUEST, KNOWN)  # nothing is similar: the rolling median answers in its place
    assert alone.settled.value == KNOWN.project.rolling_median


def test_without_thresholds_no_confidence_is_made_up_from_earlier_rows(fitted: Fitted, model_type: ModelType) -> None:
    asked: list[float] = []

    class Curious:
        value = 3.0

        def interval(self, threshold: float) -> tuple[float, float]:
            return 1.0, 8.0

        def confidence(self, share_within: Any) -> float:
            asked.append(share_within(0.5))
            return asked[-1]

    class Scorer:
        extract = staticmethod(resolve(model_type.scorer).extract)

        def settler(self, *given: Any) -> Any:
            return lambda method, estimate: Curious()

    scores = Thresholds(1.0, {}, scores=(0.25, 0.5, 0.75))
    table = SkillTable("median", {}, {}, {}, {})
    for thresholds, expected in (({}, math.nan), ({"median": scores}, 2.5 / 4)):
        bundle = with_view(fitted.bundle, skill=table, thresholds=thresholds)
        found = replace(Predictor.of(model_type, bundle), scorer=Scorer()).predict("a", REQUEST, KNOWN)
        assert found.confidence == pytest.approx(expected, nan_ok=True)
    assert len(asked) == 2


def test_many_requests_have_the_answers_that_each_has_by_itself(fitted: Fitted, model_type: ModelType) -> None:
    rows = [(row.cluster, row.request, row.known) for row in list(fitted.held_back)[:60]]
    for rule in ("the candidate", "median"):
        predictor = serving(fitted, model_type, SkillTable(rule, {}, {}, {}, {}))
        expected = [predictor.predict(*row).estimate for row in rows]
        assert [found.estimate for found in predictor.predict_many(rows)] == pytest.approx(expected, rel=SINGLE)
    assert predictor.predict_many([]) == []
