"""Training without MLflow: what it refuses, what it promises, what it looks at."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import pytest

from forecastle.errors import NotEnoughDataError, TrainingError
from forecastle.features.recency import KnownOutcomes
from forecastle.generator.issues import Portfolio, generate_issues
from forecastle.registry.baselines import BASELINES
from forecastle.registry.dataset import rows_of_issues
from forecastle.registry.declaration import ModelType, resolve
from forecastle.registry.examples import Examples, make_examples
from forecastle.registry.training import HELD_BACK_SHARE, DatasetInfo, Fitted, fit


def test_too_few_rows_say_how_many_are_missing(model_type: ModelType, examples: Examples) -> None:
    few = Examples(list(examples)[: model_type.least_rows - 1])
    with pytest.raises(NotEnoughDataError) as caught:
        fit(model_type, few)
    assert (caught.value.rows, caught.value.required) == (49, 50)
    assert "49 usable rows, 50 required, 1 missing" in str(caught.value)


def test_the_least_rows_are_enough(model_type: ModelType) -> None:
    rows = rows_of_issues(model_type, generate_issues(Portfolio(projects=1, issues=model_type.least_rows))).rows
    found = fit(model_type, make_examples(rows, resolve(model_type.scorer)))
    assert found.bundle.skill.default == next(iter(model_type.baselines))  # too little evidence for a model
    assert all(math.isfinite(answer.low) and math.isfinite(answer.high) for answer in found.answers)


def test_rows_whose_outcomes_all_became_known_too_late_teach_nothing(model_type: ModelType, examples: Examples) -> None:
    with pytest.raises(NotEnoughDataError, match="known before the held-back rows: 0 usable rows"):
        fit(model_type, Examples(replace(example, known_at=math.inf) for example in examples))


@pytest.mark.parametrize("noise", [0.2, 0.5])
def test_intervals_hold_as_many_outcomes_as_promised(model_type: ModelType, noise: float) -> None:
    rows = rows_of_issues(model_type, generate_issues(Portfolio(projects=6, issues=500, noise=noise))).rows
    found = fit(model_type, make_examples(rows, resolve(model_type.scorer))).overall
    assert found.rows == 450
    assert found.coverage.low <= model_type.coverage_target + 0.03
    assert found.coverage.high >= model_type.coverage_target - 0.03
    assert found.coverage.mean_width < 12  # the whole scale would hold everything


def test_the_model_beats_every_baseline_where_words_decide_and_answers(fitted: Fitted, model_type: ModelType) -> None:
    overall = fitted.overall
    assert overall.by_model == 1.0
    assert overall.served == overall.methods["linear_text"]
    assert all(overall.served < 0.7 * overall.methods[name] for name in model_type.baselines)


def test_a_baseline_answers_where_words_say_nothing(model_type: ModelType) -> None:
    issues = [
        replace(issue, title="Do it", description="", issue_type=None)
        for issue in generate_issues(Portfolio(projects=2, issues=200))
    ]
    found = fit(model_type, make_examples(rows_of_issues(model_type, issues).rows, resolve(model_type.scorer)))
    best = min(value for name, value in found.overall.methods.items() if name in model_type.baselines)
    assert found.overall.served <= 1.15 * best


def test_scores_are_those_of_identical_rows(fitted: Fitted, examples: Examples) -> None:
    assert fitted.overall.rows == len(fitted.held_back) == len(fitted.answers)
    assert sum(score.rows for score in fitted.by_cluster.values()) == fitted.overall.rows
    truths = [row.target for row in fitted.held_back]
    served = [answer.settled.value for answer in fitted.answers]
    assert fitted.overall.served == pytest.approx(
        sum(abs(truth - value) for truth, value in zip(truths, served, strict=True)) / len(truths)
    )
    medians = [abs(row.target - BASELINES["rolling_median"](row.outcomes)) for row in fitted.held_back]
    assert fitted.overall.methods["rolling_median"] == pytest.approx(sum(medians) / len(medians))
    held = [a.low <= truth <= a.high for truth, a in zip(truths, fitted.answers, strict=True)]
    assert fitted.overall.coverage.share == sum(held) / len(held)


def test_the_last_block_is_held_back_and_the_manifest_says_until_when_rows_taught(
    fitted: Fitted, examples: Examples, model_type: ModelType
) -> None:
    manifest = fitted.bundle.manifest
    assert manifest.trained_until == examples.cut_at(1 - HELD_BACK_SHARE)
    assert all(row.asked_at >= manifest.trained_until for row in fitted.held_back)
    assert manifest.rows == len(examples.known_by(manifest.trained_until))
    assert manifest.rows + len(fitted.held_back) <= len(examples)
    assert (manifest.model_type, manifest.coverage_target) == (model_type.name, model_type.coverage_target)


def test_the_same_rows_make_the_same_bundle(fitted: Fitted, model_type: ModelType, examples: Examples) -> None:
    assert fit(model_type, examples).bundle.files() == fitted.bundle.files()


def test_the_manifest_names_the_dataset(model_type: ModelType, examples: Examples) -> None:
    manifest = fit(model_type, examples, DatasetInfo("a digest", "date")).bundle.manifest
    assert (manifest.dataset_digest, manifest.time_basis) == ("a digest", "date")


def test_a_fast_form_that_answers_something_else_fails_the_training(
    model_type: ModelType, examples: Examples, planted: Callable[..., str]
) -> None:
    honest = resolve(model_type.scorer)

    class Liar:
        extract, settle = (staticmethod(getattr(honest, name)) for name in ("extract", "settle"))

        def load(self, form: Mapping[str, Any]) -> Any:
            return honest.load({**form, "intercept": form["intercept"] + 1e-6})

    lying = replace(model_type, scorer=f"{planted(SCORER=Liar())}:SCORER")
    with pytest.raises(TrainingError, match="the fast form answers"):
        fit(lying, examples)


def test_progress_is_told(model_type: ModelType, examples: Examples) -> None:
    said: list[str] = []
    fit(model_type, examples, on_progress=said.append)
    assert sum("walking forward" in message for message in said) == 4
    assert any("held-back" in message for message in said)


def test_a_moment_cuts_between_rows_that_were_asked_together(model_type: ModelType, examples: Examples) -> None:
    together = Examples(replace(example, asked_at=float(index // 40)) for index, example in enumerate(examples))
    cut = together.cut_at(1 - HELD_BACK_SHARE)
    earlier, held_back = together.known_by(cut), together.asked_between(cut, math.inf)
    assert not {e.asked_at for e in earlier} & {e.asked_at for e in held_back}


def test_history_counts_an_outcome_known_at_the_very_moment() -> None:
    assert KnownOutcomes([1.0, 2.0], [5.0, 8.0]).at(2.0).count == 2
