"""`report.html`: one page on a version for the reviewer who decides.

It shows figures, projects' keys, and words that stand in several issues: no title, no description, nobody's name.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping

from forecastle.monitoring.comparison import BLOCKS
from forecastle.monitoring.metrics import METRICS, Estimate
from forecastle.registry import figures
from forecastle.registry.declaration import ModelType, Trainer, resolve
from forecastle.registry.page import facts, figure, grid, heading, page, paragraph, table
from forecastle.registry.results import MethodResult, Results
from forecastle.registry.training import Fitted, FittedView

REPORT = "report.html"
NONE = "–"


def report_page(
    model_type: ModelType,
    fitted: Fitted,
    overall: Results,
    views: Mapping[str, Results],
    origin: Mapping[str, object],
    names: Mapping[str, str],
    gate: Iterable[str] = (),
) -> str:
    """The page; `origin` says where the version comes from, `names` are the projects' keys by cluster.

    `gate` are the parts of the page that say what the gate decided.
    """
    target = fitted.bundle.manifest.coverage_target
    parts = [
        f"<h1>{model_type.name}</h1>",
        paragraph(model_type.summary),
        paragraph(verdict(overall, target), "verdict"),
        facts({**origin, **_candidates(fitted)}),
        *gate,
    ]
    if len({answer.view for answer in overall.answers}) > 1:
        parts += [heading("All held-back rows together"), *_methods(model_type, overall)]
    for name, results in views.items():
        parts += _section(model_type, fitted, name, results, names)
    return page(model_type.name, parts)


def verdict(results: Results, target: float) -> str:
    """What is served beside the best baseline, and the intervals beside their target."""
    served, best, cover = results.served, results.best_baseline, results.coverage
    met = cover.low <= target + figures.COVERAGE_BAND and cover.high >= target - figures.COVERAGE_BAND
    return (
        f"On {len(results.rows):,} held-back rows what is served has a mean absolute error of {interval(served.mae)}, "
        f"{_beside(results.against_best)} the best baseline, {best.name} with {interval(best.mae)} (relative "
        f"difference {relative(results.against_best)}). Intervals {'meet' if met else 'miss'} their target of "
        f"{target:.0%}: they held {cover.share:.1%} [{cover.low:.1%} to {cover.high:.1%}] of the outcomes. The model "
        f"answers {results.by_model:.0%} of the rows, baselines the others."
    )


def _beside(found: Estimate) -> str:
    if not found.bounded:
        return "on too few rows to be told apart from"
    if found.high < 0:
        return "better than"
    return "worse than" if found.low > 0 else "not told apart from"


def interval(found: Estimate, form: str = "{:,.3f}") -> str:
    """A figure with its 95 % interval, where it has one."""
    if not math.isfinite(found.value):
        return NONE
    value, low, high = (form.format(bound) for bound in (found.value, found.low, found.high))
    return f"{value} [{low} to {high}]" if found.bounded else value


def relative(found: Estimate) -> str:
    return interval(found, "{:+.1%}")


def _candidates(fitted: Fitted) -> dict[str, str]:
    many = len(fitted.views) > 1
    return {
        f"candidate of view {name}"
        if many
        else "candidate": f"{view.candidate}, {view.learning_curve[-1].rows:,} rows taught"
        for name, view in fitted.views.items()
    }


def _section(
    model_type: ModelType, fitted: Fitted, name: str, results: Results, names: Mapping[str, str]
) -> Iterator[str]:
    if len(fitted.views) == 1:
        yield heading("Held-back rows")
    else:
        yield heading(f"View {name}")
        yield paragraph(_what_it_sees(model_type, name))
        yield paragraph(verdict(results, fitted.bundle.manifest.coverage_target))
    yield from _methods(model_type, results)
    yield grid((*_rows(fitted, name, results, names), *_model(model_type, fitted, name, results)))
    yield from _search(fitted.views[name])


def _what_it_sees(model_type: ModelType, view: str) -> str:
    field = model_type.views[view]
    if field is not None:
        return f"It answers requests that have {field}; below are the held-back rows that have it."
    return (
        "It answers all other requests; below are all held-back rows, asked without what the views before it look at."
    )


def _methods(model_type: ModelType, results: Results) -> Iterator[str]:
    metrics = [METRICS[name] for name in model_type.metrics]
    labels = [f"{metric.label}{' [95 %]' if metric.of_rows else ''}" for metric in metrics]
    rows = [
        [
            method.name,
            "reference baseline" if method is results.reference else method.role,
            *(_cell(method, name) for name in model_type.metrics),
            NONE if method is results.reference else relative(method.relative),
        ]
        for method in results.methods
    ]
    yield table(["method", "role", *labels, f"MAE relative to {results.reference.name} [95 %]"], rows, marked=(0,))
    yield paragraph(
        f"All methods on the same {len(results.rows):,} held-back rows, which taught nothing and chose nothing. 95 % t "
        f"intervals over {BLOCKS} blocks of time, where there are at least 5 rows. Candidates and baselines: "
        "what each alone would have answered; what is served is the method with skill in each project.",
        "note",
    )


def _cell(method: MethodResult, name: str) -> str:
    return interval(method.metrics[name], "{:.1%}" if METRICS[name].percent else "{:,.3f}")


def _rows(fitted: Fitted, name: str, results: Results, names: Mapping[str, str]) -> Iterator[str]:
    """Figures of what was answered to the rows."""
    basis, target = fitted.bundle.manifest.time_basis, fitted.bundle.manifest.coverage_target
    yield figure(
        f"{name}-answers", "Residuals against the answer", figures.residuals_by_answer(results),
        f"Evenly around 0 is good. At most {figures.MOST_POINTS:,} rows are drawn, and the middle 98 % is shown first: "
        "a double click shows all.",
    )  # fmt: skip
    yield figure(
        f"{name}-time", "Residuals over time", figures.residuals_over_time(results, basis),
        "A mean error that leaves 0 is a model that grows old.",
    )  # fmt: skip
    if (drawn := figures.reliability(results)) is not None:
        yield figure(
            f"{name}-reliability", "Reliability of confidence", drawn,
            "Answers in order of their stated confidence: on the dashed line, as many came true as was said. Exact "
            "binomial 95 % intervals.",
        )  # fmt: skip
    yield figure(
        f"{name}-coverage", "Coverage over time", figures.coverage_over_time(results, basis, target),
        f"Outcomes within their interval, by block, with exact binomial 95 % intervals; the band is the target ± "
        f"{100 * figures.COVERAGE_BAND:.0f} points.",
    )  # fmt: skip
    fewer = len(results.rows_by_project) - figures.MOST_PROJECTS
    yield figure(
        f"{name}-projects", "Error by project", figures.errors_by_project(results, names),
        "Held-back rows in brackets; 95 % t intervals over blocks of time, where a project has at least 5 rows."
        + (f" {fewer:,} projects with fewer rows are left out." if fewer > 0 else ""),
    )  # fmt: skip


def _model(model_type: ModelType, fitted: Fitted, name: str, results: Results) -> Iterator[str]:
    """Figures of the candidate that answers."""
    view = fitted.views[name]
    if len(view.learning_curve) > 1:
        yield figure(
            f"{name}-curve", "Learning curve", figures.learning_curve(results, view.candidate, view.learning_curve),
            f"{view.candidate} alone on the same held-back rows, after fewer rows to learn from, chosen evenly over "
            "time. A curve that still falls asks for more data.",
        )  # fmt: skip
    trainer: Trainer = resolve(model_type.trainer)
    for found in trainer.importances(view.candidate, fitted.bundle.views[name].model):
        fewer = len(found.values) - figures.MOST_NAMES
        yield figure(
            f"{name}-{found.part}", f"Importance: {found.part}", figures.importance(found),
            found.explanation + (f" {fewer:,} smaller ones are left out." if fewer > 0 else ""),
        )  # fmt: skip


def _search(view: FittedView) -> Iterator[str]:
    """The trials, the best first."""
    if not view.trials:
        return
    trials = sorted(view.trials, key=lambda trial: trial.loss)
    chosen = [n for n, trial in enumerate(trials) if view.settings[trial.candidate] == trial.settings]
    yield "<h3>Search</h3>"
    yield table(
        ["candidate", "settings", "error relative to the reference baseline"],
        [(t.candidate, _settings(t.settings), f"{t.loss:+.1%}") for t in trials],
        chosen,
    )
    yield paragraph(
        "On the rows of the first fold, the mean over projects; marked are the settings that each candidate was given.",
        "note",
    )


def _settings(found: Mapping[str, object]) -> str:
    return ", ".join(f"{name} = {' '.join(map(str, v)) if isinstance(v, tuple) else v}" for name, v in found.items())
