"""What a run and a version say of themselves in MLflow: metrics, child runs, tags and a description."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field

import pandas as pd

from forecastle.monitoring.metrics import Estimate
from forecastle.registry.declaration import ModelType
from forecastle.registry.report import interval, verdict
from forecastle.registry.results import MethodResult, Results
from forecastle.registry.training import Fitted, FittedView, Score

Metrics = dict[str, float]

_BY_PROJECT = ("mae", "coverage", "rows")


@dataclass(frozen=True)
class ChildRun:
    """One method on the held-back rows, or one trial of the search; comparable with its siblings."""

    name: str
    tags: Mapping[str, str]
    params: Mapping[str, str] = field(default_factory=dict)
    metrics: Mapping[str, float] = field(default_factory=dict)


def run_metrics(fitted: Fitted, overall: Results, views: Mapping[str, Results], names: Mapping[str, str]) -> Metrics:
    """What was served, overall and by project; where there are several views also by view, under its name."""
    found = {**_served_metrics(overall), "served_by_model": overall.by_model}
    for cluster, score in fitted.by_cluster.items():
        own = _score_metrics(score)
        found |= {_project_metric(names[cluster], name): own[name] for name in _BY_PROJECT}
    if len(views) > 1:
        for view, results in views.items():
            found |= {f"{view}.{name}": value for name, value in _served_metrics(results).items()}
    return finite(found)


def _served_metrics(results: Results) -> Metrics:
    cover = results.coverage
    return {
        **_method_metrics(results.served),
        "rows": float(len(results.rows)),
        "coverage": cover.share,
        "coverage_low": cover.low,
        "coverage_high": cover.high,
        "interval_width": cover.median_width,
        **{f"mae.{method.name}": method.mae.value for method in results.methods[1:]},
    }


def _method_metrics(method: MethodResult) -> Metrics:
    found: Metrics = {}
    for name, estimate in {**method.metrics, "relative_difference": method.relative}.items():
        found |= _with_bounds(name, estimate)
    return found


def _with_bounds(name: str, found: Estimate) -> Metrics:
    return {name: found.value, f"{name}_low": found.low, f"{name}_high": found.high}


def finite(found: Mapping[str, float]) -> Metrics:
    """MLflow refuses NaN on PostgreSQL, and shows an infinite bound as a number."""
    return {name: value for name, value in found.items() if math.isfinite(value)}


def child_runs(
    model_type: ModelType, fitted: Fitted, views: Mapping[str, Results], names: Mapping[str, str]
) -> Iterator[ChildRun]:
    """Every candidate and baseline of each view on its held-back rows, and every trial of its search."""
    for view, results in views.items():
        prefix = f"{view}." if len(views) > 1 else ""
        tags = {"view": view, "model_type": model_type.name}
        found = fitted.views[view]
        for method in results.methods[1:]:
            yield ChildRun(
                name=prefix + method.name,
                tags={**tags, "role": method.role, "chosen": str(method.name == found.candidate).lower()},
                params=_params(method.name, found.settings.get(method.name, {})),
                metrics=finite(
                    _method_metrics(method)
                    | {"rows": float(len(results.rows))}
                    | {_project_metric(names[project], "mae"): e.value for project, e in method.by_project.items()}
                ),
            )
        yield from _trials(found, prefix, tags)


def _trials(view: FittedView, prefix: str, tags: Mapping[str, str]) -> Iterator[ChildRun]:
    for trial in view.trials:
        params = _params(trial.candidate, trial.settings)
        chosen = view.settings[trial.candidate] == trial.settings
        settings = " ".join(f"{name}={value}" for name, value in params.items() if name != "method")
        yield ChildRun(
            name=f"{prefix}{trial.candidate} {settings}",
            tags={**tags, "role": "trial", "chosen": str(chosen).lower()},
            params=params,
            metrics=finite({"search.loss": trial.loss}),
        )


def _params(method: str, settings: Mapping[str, object]) -> dict[str, str]:
    listed = {n: ",".join(map(str, value)) if isinstance(value, tuple) else value for n, value in settings.items()}
    return {"method": method, **{name: str(value) for name, value in listed.items()}}


def candidates(fitted: Fitted) -> dict[str, str]:
    """Which candidate answers in which view."""
    return {f"candidate.{name}": view.candidate for name, view in fitted.views.items()}


def scores_by_project(fitted: Fitted, names: Mapping[str, str]) -> pd.DataFrame:
    scores = {"all": fitted.overall, **{names[cluster]: score for cluster, score in fitted.by_cluster.items()}}
    return pd.DataFrame([{"project": name, **_score_metrics(score)} for name, score in scores.items()])


def _score_metrics(score: Score) -> Metrics:
    """Of rows that were answered: one project's, or all."""
    return {
        "mae": score.served,
        "rows": float(score.rows),
        "coverage": score.coverage.share,
        "coverage_low": score.coverage.low,
        "coverage_high": score.coverage.high,
        "interval_width": score.coverage.median_width,
        "served_by_model": score.by_model,
        **{f"mae.{method}": loss for method, loss in score.methods.items()},
    }


def version_tags(overall: Results) -> dict[str, str]:
    return {
        "mae": f"{overall.served.mae.value:.4f}",
        **{f"mae.{method.name}": f"{method.mae.value:.4f}" for method in overall.methods[1:]},
        "coverage": json.dumps(asdict(overall.coverage)),
    }


def description(overall: Results, target: float, report: str) -> str:
    """What a reviewer reads first, in Markdown; `report` is the address of the page."""
    rows = [
        f"| {'**served**' if method.role == 'served' else method.name} | {interval(method.mae)} |"
        for method in overall.methods
    ]
    parts = (verdict(overall, target), f"[The whole report]({report})")
    return "\n\n".join((*parts, "\n".join(("| method | MAE [95 %] |", "| --- | ---: |", *rows)))) + "\n"


def _project_metric(project: str, name: str) -> str:
    """A metric's name for one project; MLflow takes few characters, keys may hold any."""
    return f"project.{re.sub(r'[^A-Za-z0-9_-]', '_', project)}.{name}"
