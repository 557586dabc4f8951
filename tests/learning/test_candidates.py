"""Every candidate of every model type: both of its forms answer alike, whatever a row lacks."""

from __future__ import annotations

import json
import math
import struct
from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import numpy as np
import pytest
from generated import rows_for

from forecastle.features.issues import IssueFeatures
from forecastle.learning.forms import UnitForm
from forecastle.learning.regressors import BoostedTreesRegressor, HistogramTreesRegressor, IssueRegressor
from forecastle.learning.table import issues_of
from forecastle.records.outcomes import NOTHING_KNOWN
from forecastle.registry.declaration import ModelType, resolve
from forecastle.registry.examples import extract_all
from forecastle.registry.search import fit_all
from projects import discover


@dataclass(frozen=True)
class Taught:
    """All candidates and blends of one view, and the issues and targets that taught them."""

    model_type: ModelType
    trainer: Any
    issues: Sequence[IssueFeatures]
    targets: Sequence[float]
    estimators: Mapping[str, Any]


@cache
def taught(name: str, view: str) -> Taught:
    model_type = discover()[name]
    trainer = resolve(model_type.trainer)
    examples = extract_all(model_type, rows_for(model_type, projects=2, issues=100)).views[view]
    estimators = fit_all(trainer, {name: choices[0] for name, choices in trainer.candidates.items()}, examples)
    return Taught(model_type, trainer, [e.features for e in examples], [e.target for e in examples], estimators)


CANDIDATES = [
    pytest.param(name, view, candidate, id=f"{name}-{view}-{candidate}")
    for name, model_type in discover().items()
    for view in model_type.views
    for candidate in (*resolve(model_type.trainer).candidates, *resolve(model_type.trainer).blends)
]
every_candidate = pytest.mark.parametrize("name, view, candidate", CANDIDATES)


def written_and_read(model_type: ModelType, estimator: Any) -> UnitForm:
    """The fast form as the façade loads it."""
    content = json.loads(json.dumps(estimator.fast_form().as_json(), allow_nan=False))
    found: UnitForm = resolve(model_type.scorer).load(content)
    assert found.as_json() == estimator.fast_form().as_json()
    return found


def assert_both_answer_alike(found: Taught, candidate: str, issues: Sequence[IssueFeatures]) -> None:
    estimator = found.estimators[candidate]
    form = written_and_read(found.model_type, estimator)
    said = [form.estimate(issue) for issue in issues]
    assert all(math.isfinite(value) and value > 0 for value in said)
    assert said == pytest.approx([float(value) for value in estimator.predict(issues)], rel=form.tolerance)
    of_table = estimator.predict(found.trainer.table(issues))
    assert said == pytest.approx([float(value) for value in of_table], rel=form.tolerance)


@every_candidate
def test_both_forms_answer_alike_on_rows_that_taught(name: str, view: str, candidate: str) -> None:
    found = taught(name, view)
    assert_both_answer_alike(found, candidate, found.issues)


@every_candidate
def test_both_forms_answer_alike_where_numbers_are_missing(name: str, view: str, candidate: str) -> None:
    """Any number may be unknown but the count of known outcomes, which always is there."""
    found, random = taught(name, view), np.random.default_rng(1)

    def with_gaps(issue: IssueFeatures, share: float) -> IssueFeatures:
        hidden = random.random(len(issue.numbers)) < share
        numbers = array(
            "d",
            (
                math.nan if gone and not label.endswith("count") and not label.endswith(".mean") else number
                for label, number, gone in zip(issue.names, issue.numbers, hidden, strict=True)
            ),
        )
        return replace(issue, numbers=numbers)

    issues = [with_gaps(issue, share) for issue in found.issues[::4] for share in (0.3, 1.0)]
    assert_both_answer_alike(found, candidate, issues)


@every_candidate
def test_both_forms_answer_alike_for_a_project_label_and_word_never_seen(name: str, view: str, candidate: str) -> None:
    found = taught(name, view)
    issues = [
        replace(issue, cluster="never seen", labels=("issue_type=Unheard of", "component=a\nb"), title=("quux", "fix"))
        for issue in found.issues[::9]
    ]
    assert_both_answer_alike(found, candidate, issues)


@every_candidate
def test_both_forms_answer_alike_where_nothing_is_known_of_the_project(name: str, view: str, candidate: str) -> None:
    found = taught(name, view)
    scorer = resolve(found.model_type.scorer)
    request: dict[str, Any] = {"title": "Quux the frobnicator", "description": None}
    if field := found.model_type.views[view]:
        request[field] = 3.0
    issues = [scorer.extract(request, cluster, NOTHING_KNOWN) for cluster in ("nowhere", "DEMO1")]
    assert_both_answer_alike(found, candidate, issues)


@every_candidate
def test_the_same_rows_give_the_same_form(name: str, view: str, candidate: str) -> None:
    found = taught(name, view)
    again = relearned(found, candidate, found.issues)
    assert again.fast_form().as_json() == found.estimators[candidate].fast_form().as_json()


def relearned(found: Taught, candidate: str, issues: Sequence[IssueFeatures]) -> Any:
    trainer = found.trainer
    if candidate in trainer.blends:
        return trainer.blend([relearned(found, part, issues) for part in trainer.blends[candidate]])
    return trainer.make(candidate, trainer.candidates[candidate][0]).fit(issues, found.targets)


def flattened(issue: IssueFeatures) -> IssueFeatures:
    """A third of the numbers known nowhere, a third the same everywhere."""
    numbers = array(
        "d",
        (
            (math.nan, 1.5, number)[place % 3] if not name.endswith(("count", ".mean")) else number
            for place, (name, number) in enumerate(zip(issue.names, issue.numbers, strict=True))
        ),
    )
    return replace(issue, numbers=numbers)


@every_candidate
def test_both_forms_answer_alike_with_columns_that_are_constant_or_never_known(
    name: str, view: str, candidate: str
) -> None:
    found = taught(name, view)
    issues = [flattened(issue) for issue in found.issues]
    estimator = relearned(found, candidate, issues)
    # Later rows may know what no row of the training knew.
    assert_both_answer_alike(replace(found, estimators={candidate: estimator}), candidate, [*issues, *found.issues])


@pytest.mark.parametrize("candidate", ["linear_text", "ordinal", "boosted_trees", "gradient_boosting", "blend"])
def test_projects_that_are_too_small_for_a_ladder_teach_every_candidate(candidate: str) -> None:
    found = taught("delivery.effort", "unestimated")
    few = [replace(issue, levels=replace(issue.levels, ladder=())) for issue in found.issues]
    estimator = relearned(found, candidate, few)
    assert_both_answer_alike(replace(found, estimators={candidate: estimator}), candidate, [*few, *found.issues[:20]])


def thresholds_of(estimator: IssueRegressor) -> list[tuple[int, float]]:
    form: Any = estimator.form()
    return [
        (feature, threshold)
        for tree in form.trees
        for feature, threshold in zip(tree.feature, tree.threshold, strict=True)
        if feature >= 0
    ]


@pytest.mark.parametrize("kind", [BoostedTreesRegressor, HistogramTreesRegressor])
def test_numbers_exactly_on_and_beside_a_threshold_go_the_same_way_in_both_forms(kind: type[IssueRegressor]) -> None:
    """XGBoost compares in single precision, scikit-learn in double: a number on a threshold tells them apart."""
    found = taught("delivery.effort", "estimated")
    estimator = kind(trees=40).fit(found.issues, found.targets)
    form = estimator.fast_form()
    pairs = thresholds_of(estimator)
    assert len(pairs) > 40
    issues = []
    for number, (feature, threshold) in enumerate(pairs[:300]):
        issue = found.issues[number % len(found.issues)]
        single = struct.unpack("f", struct.pack("f", threshold))[0]
        beside = np.nextafter(np.float32(threshold), np.float32(np.inf)), math.nextafter(threshold, -math.inf)
        for value in (threshold, single, *map(float, beside)):
            numbers = array("d", issue.numbers)
            numbers[feature] = value
            issues.append(replace(issue, numbers=numbers))
    said = [form.estimate(issue) for issue in issues]
    assert said == pytest.approx(list(estimator.predict(issues)), rel=form.tolerance)


def test_trees_of_equal_numbers_put_thresholds_on_them_and_both_forms_agree() -> None:
    """Whole hours: every number is one of few, and thresholds stand on them or between."""
    found = taught("delivery.effort", "estimated")
    issues = [
        replace(issue, numbers=array("d", (round(number) if number == number else number for number in issue.numbers)))
        for issue in found.issues
    ]
    for kind in (BoostedTreesRegressor, HistogramTreesRegressor):
        estimator = kind(trees=40).fit(issues, found.targets)
        form = estimator.fast_form()
        on_numbers = [threshold for _, threshold in thresholds_of(estimator) if float(threshold).is_integer()]
        assert on_numbers or kind is HistogramTreesRegressor
        assert [form.estimate(i) for i in issues] == pytest.approx(list(estimator.predict(issues)), rel=form.tolerance)


@pytest.mark.parametrize("name, view, candidate", [c for c in CANDIDATES if c.values[2] in ("linear_text", "ordinal")])
def test_labels_with_line_ends_are_the_same_labels_in_a_table(name: str, view: str, candidate: str) -> None:
    """Trackers take line ends in the name of a component."""
    found = taught(name, view)
    extract = resolve(found.model_type.scorer).extract
    labels = extract({"title": "x", "issue_type": "Bug\nor  not\r\n"}, "DEMO1", NOTHING_KNOWN).labels
    other = extract({"title": "x", "issue_type": "Bug"}, "DEMO1", NOTHING_KNOWN).labels
    issues = [replace(issue, labels=labels if row % 2 else other) for row, issue in enumerate(found.issues)]
    estimator = relearned(found, candidate, issues)
    assert_both_answer_alike(replace(found, estimators={candidate: estimator}), candidate, issues)


def test_issues_come_back_from_their_table() -> None:
    for name, model_type in discover().items():
        for view in model_type.views:
            found = taught(name, view)
            table = found.trainer.table(found.issues[::7])
            assert str(issues_of(table)) == str(list(found.issues[::7]))
            shuffled = table[sorted(table.columns)].sample(frac=1, random_state=1)
            expected = found.estimators["linear_text"].predict(table)
            again = found.estimators["linear_text"].predict(shuffled)
            assert list(again) == pytest.approx([float(expected[place]) for place in shuffled.index], rel=1e-9)


@pytest.mark.parametrize("make", [BoostedTreesRegressor, HistogramTreesRegressor])
def test_trees_that_part_what_is_known_from_what_is_not_can_be_written_down(make: type[IssueRegressor]) -> None:
    found = taught("delivery.story_points", "all")
    place = found.issues[0].names.index("similarity")
    issues = []
    for row, issue in enumerate(found.issues):
        numbers = array("d", [0.0] * len(issue.numbers))
        numbers[place] = math.nan if row % 2 else 1.0  # nothing else tells anything
        issues.append(replace(issue, numbers=numbers))
    targets = [20.0 if row % 2 else 1.0 for row in range(len(issues))]
    estimator = make().fit(issues, targets)
    form = written_and_read(found.model_type, estimator)
    assert [form.estimate(issue) for issue in issues] == pytest.approx(estimator.predict(issues), rel=form.tolerance)
    assert form.estimate(issues[1]) > 2 * form.estimate(issues[0])
