"""A view answers the requests that it was taught by, and never shows a later one what that one does not see."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from generated import every_model_type, quick, rows_for

from forecastle.records.outcomes import Case, Known, Outcomes
from forecastle.registry.declaration import ModelType
from forecastle.registry.evaluation import evaluate
from forecastle.registry.examples import Row, extract_all, sees
from forecastle.registry.predictor import Predictor
from forecastle.registry.training import Fitted, fit
from projects import get_model_type

EFFORT = get_model_type("delivery.effort")
REQUEST = {"title": "Rewrite the billing", "description": "", "issue_type": "Bug", "project_id": "DEMO1"}
ESTIMATED = {**REQUEST, "estimate_hours": 6.0}


def known(estimate: float = 5.0) -> Known:
    """A project with estimates, and a group of issues that had the same estimate."""
    hours = (4.0, 8.0, 2.0) * 10
    project = Outcomes(30, 14 / 3, 4.0, hours, (estimate,) * 30)
    same = Outcomes.of_latest([9.0] * 8, [6.0] * 8)
    return Known(project, {"issue_type": project, "same_estimate": same}, [Case("A-1", "Fix the label", 2.0)])


@pytest.fixture(scope="module")
def rows() -> tuple[Row, ...]:
    return rows_for(EFFORT)


@pytest.fixture(scope="module")
def both(rows: tuple[Row, ...]) -> Fitted:
    return fit(quick(EFFORT), extract_all(EFFORT, rows))


@pytest.fixture(scope="module")
def one(rows: tuple[Row, ...]) -> Fitted:
    """Where hardly anybody estimates."""
    return fit(quick(EFFORT), extract_all(EFFORT, hardly_estimated(rows)))


def hardly_estimated(rows: tuple[Row, ...]) -> list[Row]:
    """Estimates in the last rows alone, too few to learn from."""
    ordered = sorted(rows, key=lambda row: row.asked_at)
    return [row if n > len(rows) - 30 else replace(row, request=without(row.request)) for n, row in enumerate(ordered)]


def without(request: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in request.items() if name != "estimate_hours"}


def test_a_request_is_answered_by_the_view_that_has_its_field(both: Fitted) -> None:
    predictor = Predictor.of(EFFORT, both.bundle)
    assert list(both.bundle.views) == ["estimated", "unestimated"]
    assert predictor.predict("DEMO1", ESTIMATED, known()).view == "estimated"
    assert predictor.predict("DEMO1", REQUEST, known()).view == "unestimated"
    assert predictor.predict("DEMO1", {**REQUEST, "estimate_hours": None}, known()).view == "unestimated"


def test_held_back_rows_are_scored_by_the_view_that_answers_them(both: Fitted) -> None:
    for row, answer in zip(both.held_back, both.answers, strict=True):
        assert answer.view == ("estimated" if "estimate_hours" in row.request else "unestimated")
    assert {answer.view for answer in both.answers} == {"estimated", "unestimated"}
    assert len({(row.cluster, row.key) for row in both.held_back}) == both.overall.rows


def test_a_view_with_too_few_rows_is_left_to_the_next_one(one: Fitted) -> None:
    assert list(one.bundle.views) == list(one.views) == ["unestimated"]
    assert set(one.bundle.manifest.candidates) == {"unestimated"}
    found = Predictor.of(EFFORT, one.bundle).predict("DEMO1", ESTIMATED, known())
    assert found.view == "unestimated"
    assert found.settled.value > 0


def test_what_a_view_does_not_see_reaches_neither_its_features_nor_its_answer(one: Fitted) -> None:
    """The estimate, other people's estimates, and the group of issues with the same estimate."""
    predictor = Predictor.of(EFFORT, one.bundle)
    plain = predictor.predict("DEMO1", REQUEST, known())
    for request, about in ((ESTIMATED, known()), ({**REQUEST, "estimate_hours": 99.0}, known(estimate=50.0))):
        found = predictor.predict("DEMO1", request, about)
        assert str(found.features) == str(plain.features)
        assert (found.settled.value, found.low, found.high) == (plain.settled.value, plain.low, plain.high)
        assert math.isnan(found.features.estimate)
        assert not any("ratio" in name or name == "estimate" for name in found.features.names)


def test_rows_of_the_last_view_are_taught_without_their_estimates(rows: tuple[Row, ...]) -> None:
    bare = [replace(row, request=without(row.request)) for row in rows]
    shown, expected = (extract_all(EFFORT, each).views["unestimated"] for each in (rows, bare))
    assert len(shown) == len(rows)
    for example, other in zip(shown, expected, strict=True):
        assert "estimate_hours" not in example.request
        assert str(example.features) == str(other.features)
        assert set(example.group_keys) == set(other.group_keys)


def test_the_first_view_has_the_rows_with_an_estimate_and_shows_it(rows: tuple[Row, ...]) -> None:
    examples = extract_all(EFFORT, rows).views["estimated"]
    assert {e.key for e in examples} == {row.key for row in rows if row.request.get("estimate_hours") is not None}
    assert all(e.features.estimate == e.request["estimate_hours"] for e in examples)
    assert len({e.features.names for e in examples}) == 1


def test_the_estimate_as_a_method_answers_only_requests_that_have_one(both: Fitted) -> None:
    tables = {name: view.skill for name, view in both.bundle.views.items()}
    assert "estimate" in tables["estimated"].general
    assert "estimate" not in tables["unestimated"].general
    assert "estimate" not in {tables["unestimated"].default, *tables["unestimated"].by_cluster.values()}
    assert "estimate" in both.overall.methods  # it is scored on the same rows as every other all the same


def test_a_walk_answers_estimated_requests_before_there_is_a_view_for_them(rows: tuple[Row, ...]) -> None:
    found = evaluate(quick(EFFORT), hardly_estimated(rows))
    assert sum(result.rows for result in found.clusters) > 100
    assert all(math.isfinite(result.served) for result in found.clusters)


@every_model_type
def test_every_row_is_seen_by_the_last_view_and_by_those_whose_field_it_has(model_type: ModelType) -> None:
    rows = rows_for(model_type, projects=1, issues=60)
    extracted = extract_all(model_type, rows)
    for view, examples in extracted.views.items():
        assert [e.key for e in examples] == [row.key for row in extracted.rows if sees(model_type, view, row.request)]
    assert len(extracted.views[list(model_type.views)[-1]]) == len(rows)


def test_a_view_hides_the_fields_of_the_views_before_it_only() -> None:
    three = replace(EFFORT, views={"a": "estimate_hours", "b": "component", "c": None})
    request = {"title": "x", "estimate_hours": 2.0, "component": "search"}
    assert set(three.masked("a", request)) == {"title", "estimate_hours", "component"}
    assert set(three.masked("b", request)) == {"title", "component"}
    assert set(three.masked("c", request)) == {"title"}


def test_a_request_that_says_nothing_of_a_group_is_in_none() -> None:
    assert set(EFFORT.group_keys(REQUEST)) == {"issue_type"}
    assert set(EFFORT.group_keys({**REQUEST, "assignee": "ada", "component": ""})) == {
        "issue_type", "assignee", "assignee_type",
    }  # fmt: skip
