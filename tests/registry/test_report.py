"""The page on a version: what it must hold, and what it must never hold."""

from __future__ import annotations

import math
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import mlflow
import numpy as np
import pytest
import skops.io
from plotly.offline import get_plotlyjs

from forecastle.generator.dated import DatedPortfolio, generate_dated_issues
from forecastle.generator.issues import Portfolio, generate_issues
from forecastle.records.issues import IssueRecord
from forecastle.registry.bundle import load_bundle
from forecastle.registry.dataset import rows_of_issues
from forecastle.registry.declaration import ModelType, resolve
from forecastle.registry.examples import extract_all
from forecastle.registry.report import report_page
from forecastle.registry.results import Results, overall_results, view_results
from forecastle.registry.run_log import log_models
from forecastle.registry.summary import child_runs, run_metrics
from forecastle.registry.training import DatasetInfo, Fitted, fit
from forecastle.registry.walking import Budget
from projects import get_model_type

MARKUP = '<script>alert("x")</script>&'
SECRET = "Quuxville"
"""A word that stands in two titles only."""


def fitted_on(model_type: ModelType, issues: list[IssueRecord], trials: int = 2) -> Fitted:
    found = rows_of_issues(model_type, issues)
    extracted = extract_all(model_type, found.rows)
    return fit(model_type, extracted, DatasetInfo("digest", found.time_basis), budget=Budget(trials))


@pytest.fixture(scope="module")
def points() -> Fitted:
    """Story points of three small projects, of which one has markup for a key."""
    issues = [
        replace(issue, project_key=issue.project_key.replace("DEMO1", MARKUP))
        for issue in generate_issues(Portfolio(projects=3, issues=80))
    ]
    last = [replace(issue, title=f"{SECRET} {issue.title}") for issue in issues[-2:]]
    return fitted_on(get_model_type("delivery.story_points"), issues[:-2] + last)


@pytest.fixture(scope="module")
def hours() -> Fitted:
    """Hours of three projects, some of them estimated: two views."""
    return fitted_on(
        get_model_type("delivery.effort"), list(generate_dated_issues(DatedPortfolio(projects=3, issues=90)))
    )


def page_of(fitted: Fitted) -> str:
    model_type = get_model_type(fitted.bundle.manifest.model_type)
    overall, views = overall_results(model_type, fitted), view_results(model_type, fitted)
    names = {cluster: cluster for cluster in fitted.by_cluster}
    return report_page(model_type, fitted, overall, views, {"trained by": "dana <d@example.org>"}, names)


class Reader(HTMLParser):
    """Headings, cells, and everything that a page would load."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, str]] = []
        self.loaded: list[str] = []
        self.inside = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.inside = tag
        self.loaded += [str(value) for name, value in attrs if name in ("src", "href", "srcset", "action", "data")]

    def handle_data(self, data: str) -> None:
        if data.strip():
            self.found.append((self.inside, data))

    def texts(self, tag: str) -> list[str]:
        return [text for inside, text in self.found if inside == tag]


def test_a_page_holds_the_verdict_every_method_every_figure_and_the_search(points: Fitted) -> None:
    page = Reader(page_of(points))
    assert page.texts("h1") == ["delivery.story_points"]
    assert any("held-back rows what is served has a mean absolute error" in text for text in page.texts("p"))
    assert {"served", *points.main_view.values} <= set(page.texts("td"))
    titles = page.texts("h3")
    for title in ("Residuals against the answer", "Residuals over time", "Reliability of confidence",
                  "Coverage over time", "Error by project", "Learning curve", "Search"):  # fmt: skip
        assert title in titles
    assert any(title.startswith("Importance") for title in titles)
    assert "dana <d@example.org>" in page.texts("td")
    drawn = re.findall(r'Plotly\.newPlot\(\s*"figure-([^"]+)"', page_of(points))
    assert len(drawn) == len(set(drawn)) == len(titles) - 1


def test_each_view_has_its_own_section(hours: Fitted) -> None:
    page = Reader(page_of(hours))
    assert page.texts("h2") == ["All held-back rows together", "View estimated", "View unestimated"]
    assert page.texts("h3").count("Learning curve") == len(hours.views) == 2


def test_what_people_wrote_is_escaped(points: Fitted) -> None:
    page = page_of(points)
    assert MARKUP not in page
    assert "<script>alert" not in page
    assert "script" in "".join(name for name in points.by_cluster)  # the key is there to be escaped
    assert "&lt;script&gt;alert" in page  # which plotly shows as text


def test_a_page_loads_nothing(points: Fitted, hours: Fitted) -> None:
    for fitted in (points, hours):
        page = page_of(fitted)
        assert Reader(page).loaded == []
        assert "default-src 'none'" in page
        own = page.replace(get_plotlyjs(), "")
        assert own != page
        assert not re.search(r"https?:|//\w+\.\w+|@import|url\(", own)


def test_a_page_holds_no_title_no_description_and_nobodys_name(points: Fitted, hours: Fitted) -> None:
    page = page_of(points).lower()
    assert SECRET.lower() not in page
    for fitted in (points, hours):
        page = page_of(fitted)
        for row in fitted.held_back:
            title = str(row.request["title"])
            assert len(title) < 8 or title not in page
        people = {str(row.request.get(field)) for row in fitted.held_back for field in ("assignee", "reporter")}
        assert not any(re.search(rf"\b{re.escape(name)}\b", page) for name in people - {"None"})


def test_results_are_those_of_identical_rows_with_the_estimate_in_its_interval(hours: Fitted) -> None:
    model_type = get_model_type("delivery.effort")
    overall, views = overall_results(model_type, hours), view_results(model_type, hours)
    assert overall.served.mae.value == pytest.approx(hours.overall.served)
    assert {m.name: m.mae.value for m in overall.methods[1:]} == pytest.approx(dict(hours.overall.methods))
    for results in (overall, *views.values()):
        assert results.reference.relative.value == 0
        assert_sound(results)
    estimated = [a.settled.value for a in hours.answers if a.view == "estimated"]
    assert [a.settled.value for a in views["estimated"].answers] == estimated
    assert len(views["unestimated"].rows) == len(hours.views["unestimated"].held_back)


def assert_sound(results: Results) -> None:
    for method in results.methods:
        assert method.mae.low <= method.mae.value <= method.mae.high
        assert method.mae.value == pytest.approx(np.mean(results.losses[method.name]))
        rows = results.rows_by_project
        total = sum(rows[project] * found.value for project, found in method.by_project.items())
        assert total / sum(rows.values()) == pytest.approx(method.mae.value)


def test_the_learning_curve_ends_with_the_candidate_as_it_is(hours: Fitted) -> None:
    for view in hours.views.values():
        taught = [point.rows for point in view.learning_curve]
        assert taught == sorted(set(taught))
        truths = np.array([row.target for row in view.held_back])
        assert view.learning_curve[-1].losses == pytest.approx(np.abs(view.values[view.candidate] - truths))


def test_child_runs_are_every_method_of_every_view_and_every_trial(hours: Fitted) -> None:
    model_type = get_model_type("delivery.effort")
    names = {cluster: cluster for cluster in hours.by_cluster}
    views = view_results(model_type, hours)
    children = list(child_runs(model_type, hours, views, names))
    for view, found in hours.views.items():
        own = [child for child in children if child.tags["view"] == view]
        methods = {child.name: child for child in own if child.tags["role"] != "trial"}
        assert set(methods) == {f"{view}.{method}" for method in found.values}
        assert {c.tags["role"] for c in methods.values()} == {"candidate", "baseline"}
        assert [c.params["method"] for c in methods.values() if c.tags["chosen"] == "true"] == [found.candidate]
        assert {child.metrics["rows"] for child in methods.values()} == {len(found.held_back)}
        trials = [child for child in own if child.tags["role"] == "trial"]
        assert [child.metrics["search.loss"] for child in trials] == [trial.loss for trial in found.trials]
        assert {c.params["method"] for c in trials if c.tags["chosen"] == "true"} == {t.candidate for t in found.trials}
    metrics = run_metrics(hours, overall_results(model_type, hours), views, names)
    assert {"mae", "mae_low", "within_factor_2", "estimated.mae.estimate", "unestimated.mae"} <= set(metrics)
    assert all(math.isfinite(value) for value in metrics.values())


def test_models_for_people_are_loaded_and_answer_as_the_fast_form_does(hours: Fitted, tmp_path: Path) -> None:
    model_type = get_model_type("delivery.effort")
    before = mlflow.get_tracking_uri(), mlflow.get_registry_uri()
    mlflow.set_tracking_uri(f"sqlite:///{tmp_path}/mlflow.db")
    try:
        experiment = mlflow.create_experiment("recorded", artifact_location=f"file://{tmp_path}/artifacts")
        with mlflow.start_run(experiment_id=experiment):
            address = log_models(model_type, hours)
        logged = mlflow.search_logged_models([experiment], output_format="list")
        found = {model.name: model.model_uri for model in logged}
        assert found["model"] == address
        bundle = load_bundle(model_type, hours.bundle.files())
        for name, view in zip(("model", "model_unestimated"), hours.views, strict=True):
            rows = hours.views[view].held_back
            table = resolve(model_type.trainer).table([row.features for row in rows])
            fast = [bundle.views[view].model.estimate(row.features) for row in rows]
            for load in (mlflow.sklearn.load_model, mlflow.pyfunc.load_model):
                assert np.ravel(load(found[name]).predict(table)) == pytest.approx(fast, rel=1e-5)
    finally:
        mlflow.set_tracking_uri(before[0])
        mlflow.set_registry_uri(before[1])


def test_the_file_of_every_candidate_holds_no_class_that_is_not_trusted(hours: Fitted) -> None:
    """Which candidate wins depends on the data: each must be loadable."""
    trainer = resolve(get_model_type("delivery.effort").trainer)
    rows = hours.main_view.held_back
    for candidate, choices in trainer.candidates.items():
        estimator = trainer.make(candidate, choices[0])
        estimator.fit([row.features for row in rows], [row.target for row in rows])
        untrusted = skops.io.get_untrusted_types(data=skops.io.dumps(estimator))
        assert set(untrusted) <= set(trainer.trusted_types), candidate
