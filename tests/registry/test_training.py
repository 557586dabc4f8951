"""Training without MLflow: what it refuses, what it promises, what it looks at."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cache
from typing import Any

import pytest
from generated import every_model_type, issues_for, quick, rows_for

from forecastle.errors import NotEnoughDataError, TrainingError
from forecastle.features.recency import KnownOutcomes
from forecastle.generator.issues import Portfolio, generate_issues
from forecastle.registry.baselines import baseline
from forecastle.registry.bundle import digest_of_files
from forecastle.registry.dataset import rows_of_issues
from forecastle.registry.declaration import ModelType, resolve
from forecastle.registry.examples import Examples, Extracted, Row, extract_all
from forecastle.registry.training import HELD_BACK_SHARE, DatasetInfo, Fitted, fit
from projects import ROOT, discover


@cache
def rows_of(name: str) -> tuple[Row, ...]:
    return rows_for(discover()[name])


@cache
def fitted_of(name: str) -> Fitted:
    """One quick training of each model type, with a search."""
    model_type = quick(discover()[name])
    return fit(model_type, extract_all(model_type, rows_of(name)))


@every_model_type
def test_too_few_rows_say_how_many_are_missing(model_type: ModelType) -> None:
    few = extract_all(model_type, rows_of(model_type.name)[: model_type.least_rows - 1])
    with pytest.raises(NotEnoughDataError) as caught:
        fit(model_type, few)
    assert (caught.value.rows, caught.value.required) == (49, 50)
    assert "49 usable rows, 50 required, 1 missing" in str(caught.value)


@every_model_type
def test_the_least_rows_are_enough(model_type: ModelType) -> None:
    rows = rows_for(model_type, projects=1, issues=2 * model_type.least_rows)[: model_type.least_rows]
    found = fit(quick(model_type), extract_all(model_type, rows))
    (view,) = found.bundle.views.values()
    assert view.skill.default == next(iter(model_type.baselines))  # too little evidence for a model
    assert all(math.isfinite(answer.low) and math.isfinite(answer.high) for answer in found.answers)


@every_model_type
def test_many_projects_too_small_for_any_level_are_enough(model_type: ModelType) -> None:
    rows = rows_for(model_type, projects=12, issues=10)
    found = fit(model_type, extract_all(model_type, rows))
    assert all(math.isfinite(answer.settled.value) for answer in found.answers)


@every_model_type
def test_rows_whose_outcomes_all_became_known_too_late_teach_nothing(model_type: ModelType) -> None:
    late = [replace(row, known_at=math.inf) for row in rows_of(model_type.name)]
    with pytest.raises(NotEnoughDataError, match="known before the held-back rows: 0 usable rows"):
        fit(model_type, extract_all(model_type, late))


@pytest.mark.parametrize("noise", [0.2, 0.5])
def test_intervals_hold_as_many_outcomes_as_promised(model_type: ModelType, noise: float) -> None:
    rows = rows_of_issues(model_type, generate_issues(Portfolio(projects=6, issues=300, noise=noise))).rows
    found = fit(quick(model_type), extract_all(model_type, rows)).overall
    assert found.rows == 270
    assert found.coverage.low <= model_type.coverage_target + 0.03
    assert found.coverage.high >= model_type.coverage_target - 0.03
    assert found.coverage.median_width < 12  # the whole scale would hold everything


def test_the_model_beats_every_baseline_where_words_decide_and_answers(model_type: ModelType) -> None:
    """Every issue has a title of its own, so that nothing but its words can tell."""
    issues = [
        replace(issue, title=f"{issue.title} {issue.key.replace('-', '')} for customer{issue.ordinal}")
        for issue in issues_for(model_type)
    ]
    overall = fit(quick(model_type), extract_all(model_type, rows_of_issues(model_type, issues).rows)).overall
    assert overall.by_model > 0.6
    assert overall.served < min(overall.methods[name] for name in ("rolling_median", "median", "mean", "type_median"))


@every_model_type
def test_a_baseline_answers_where_an_issue_says_nothing(model_type: ModelType) -> None:
    silent = dict.fromkeys(("issue_type", "component", "priority", "reporter", "assignee", "estimate_hours"))
    issues = [replace(issue, title="Do it", description="", **silent) for issue in issues_for(model_type, 2, 200)]
    found = fit(quick(model_type), extract_all(model_type, rows_of_issues(model_type, issues).rows))
    best = min(value for name, value in found.overall.methods.items() if name in model_type.baselines)
    assert found.overall.served <= 1.15 * best


@every_model_type
def test_scores_are_those_of_identical_rows(model_type: ModelType) -> None:
    fitted = fitted_of(model_type.name)
    assert fitted.overall.rows == len(fitted.held_back) == len(fitted.answers)
    assert sum(score.rows for score in fitted.by_cluster.values()) == fitted.overall.rows
    truths = [row.target for row in fitted.held_back]
    served = [answer.settled.value for answer in fitted.answers]
    assert fitted.overall.served == pytest.approx(
        sum(abs(truth - value) for truth, value in zip(truths, served, strict=True)) / len(truths)
    )
    scorer = resolve(model_type.scorer)
    for name in model_type.baselines:
        losses = [
            abs(
                row.target
                - scorer.settler(row.features, row.known)(name, baseline(name, row.features, row.known)).value
            )
            for row in fitted.held_back
        ]
        assert fitted.overall.methods[name] == pytest.approx(sum(losses) / len(losses)), name
    held = [a.low <= truth <= a.high for truth, a in zip(truths, fitted.answers, strict=True)]
    assert fitted.overall.coverage.share == sum(held) / len(held)


@every_model_type
def test_the_last_block_is_held_back_and_the_manifest_says_until_when_rows_taught(model_type: ModelType) -> None:
    fitted, extracted = fitted_of(model_type.name), extract_all(model_type, rows_of(model_type.name))
    manifest = fitted.bundle.manifest
    assert manifest.trained_until == extracted.rows[int((1 - HELD_BACK_SHARE) * len(extracted))].asked_at
    assert all(row.asked_at >= manifest.trained_until for row in fitted.held_back)
    assert manifest.rows == len(extracted.known_by(manifest.trained_until))
    assert manifest.rows + len(fitted.held_back) <= len(extracted)
    assert (manifest.model_type, manifest.coverage_target) == (model_type.name, model_type.coverage_target)


@every_model_type
def test_the_same_rows_make_the_same_bundle(model_type: ModelType) -> None:
    again = fit(quick(model_type), extract_all(model_type, rows_of(model_type.name)))
    assert again.bundle.files() == fitted_of(model_type.name).bundle.files()


def test_another_process_makes_the_same_bundle() -> None:
    """Text hashes differ from process to process, and with them the order of sets."""
    code = (
        "from generated import quick, rows_for\n"
        "from forecastle.registry.bundle import digest_of_files\n"
        "from forecastle.registry.examples import extract_all\n"
        "from forecastle.registry.training import fit\n"
        "from projects import get_model_type\n"
        "model_type = quick(get_model_type('delivery.effort'))\n"
        "print(digest_of_files(fit(model_type, extract_all(model_type, rows_for(model_type))).bundle.files()))\n"
    )
    path = os.pathsep.join([str(ROOT), str(ROOT / "tests" / "support")])
    environment = {**os.environ, "PYTHONHASHSEED": "1", "PYTHONPATH": path}
    ran = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, check=True)
    assert ran.stdout.decode().strip() == digest_of_files(fitted_of("delivery.effort").bundle.files())


def test_the_manifest_names_the_dataset(model_type: ModelType, extracted: Extracted) -> None:
    manifest = fit(quick(model_type), extracted, DatasetInfo("a digest", "date")).bundle.manifest
    assert (manifest.dataset_digest, manifest.time_basis) == ("a digest", "date")


@pytest.mark.parametrize("error", [1e-3, 1e-6, 1e-8])
def test_a_fast_form_that_answers_something_else_fails_the_training(
    model_type: ModelType, extracted: Extracted, planted: Callable[..., str], error: float
) -> None:
    honest = resolve(model_type.scorer)

    class Form:
        def __init__(self, form: Any) -> None:
            self.as_json, self.tolerance, self._form = form.as_json, form.tolerance, form

        def estimate(self, issue: Any) -> float:
            return float(self._form.estimate(issue) * (1 + error))

    class Liar:
        extract, settler = (staticmethod(getattr(honest, name)) for name in ("extract", "settler"))

        def load(self, form: Mapping[str, Any]) -> Any:
            return Form(honest.load(form))

    lying = replace(quick(model_type), scorer=f"{planted(SCORER=Liar())}:SCORER")
    with pytest.raises(TrainingError, match="the fast form answers"):
        fit(lying, extracted)


@every_model_type
def test_progress_is_told_of_every_view(model_type: ModelType) -> None:
    said: list[str] = []
    fit(quick(model_type), extract_all(model_type, rows_of(model_type.name)), on_progress=said.append)
    for view in model_type.views:
        assert sum(message.startswith(f"{view}: walking forward") for message in said) >= 3
        assert any(message.startswith(f"{view}: ") and "held-back" in message for message in said)


def test_a_moment_cuts_between_rows_that_were_asked_together(extracted: Extracted) -> None:
    examples = extracted.views["all"]
    together = Examples(replace(example, asked_at=float(index // 40)) for index, example in enumerate(examples))
    cut = together.cut_at(1 - HELD_BACK_SHARE)
    earlier, held_back = together.known_by(cut), together.asked_between(cut, math.inf)
    assert not {e.asked_at for e in earlier} & {e.asked_at for e in held_back}


def test_history_counts_an_outcome_known_at_the_very_moment() -> None:
    assert KnownOutcomes([1.0, 2.0], [5.0, 8.0]).at(2.0).count == 2
