"""What a training leaves on its run in MLflow: data, figures, child runs, report, models, and what the gate said."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Mapping, Sequence
from dataclasses import asdict

import mlflow
from mlflow.data.dataset_source_registry import resolve_dataset_source
from mlflow.data.meta_dataset import MetaDataset
from mlflow.entities import Metric, Param, Run
from mlflow.exceptions import MlflowException
from mlflow.models import infer_signature
from mlflow.utils.mlflow_tags import MLFLOW_PARENT_RUN_ID, MLFLOW_USER

from forecastle.registry.bundle import FOLDER
from forecastle.registry.dataset import TrainingRows
from forecastle.registry.declaration import Estimator, ModelType, Trainer, resolve
from forecastle.registry.examples import Example
from forecastle.registry.gate_page import gate_section
from forecastle.registry.gating import Gated
from forecastle.registry.picture import residual_picture
from forecastle.registry.report import REPORT, report_page
from forecastle.registry.results import Results, view_results
from forecastle.registry.review import VERDICT_TAG
from forecastle.registry.summary import ChildRun, candidates, child_runs, run_metrics, scores_by_project
from forecastle.registry.training import Fitted
from forecastle.store.datasets import DatasetVersion
from forecastle.store.objects import Objects
from forecastle.validation.run import ValidationReport

_PACKAGES = ("mlflow", "scikit-learn", "skops", "xgboost-cpu", "pandas", "numpy", "scipy", "pydantic")


def log_dataset(objects: Objects, version: DatasetVersion, found: TrainingRows) -> None:
    """Where the rows lie, how many there are, and their digest."""
    source = resolve_dataset_source(f"{objects.address}/{version.object_name}")
    mlflow.log_input(MetaDataset(source, name=version.name, digest=version.digest[:32]), context="training")
    mlflow.log_params(
        {
            "dataset.version": version.version,
            "dataset.rows": version.rows,
            "dataset.clusters": version.clusters,
            "dataset.time_basis": version.time_basis,
            "dataset.span": f"{version.span_from} to {version.span_until}",
            "dataset.left_out_unknown_when": found.unknown_when,
            "dataset.left_out_older": found.left_out_older,
            "dataset.unlearned": found.unlearned,
        }
    )
    mlflow.set_tag("data.digest", version.digest)


def log_fit(
    model_type: ModelType,
    fitted: Fitted,
    overall: Results,
    origin: Mapping[str, object],
    names: Mapping[str, str],
    gated: Gated,
) -> None:
    """Fill the active run: figures, child runs, report and bundle; `names` are the projects' keys by cluster."""
    views = view_results(model_type, fitted)
    mlflow.log_params({**candidates(fitted), "coverage_target": model_type.coverage_target})
    mlflow.log_metrics(run_metrics(fitted, overall, views, names))
    for child in child_runs(model_type, fitted, views, names):
        _log_child(mlflow.active_run(), child)
    mlflow.log_table(scores_by_project(fitted, names), "scores_by_project.json")
    mlflow.log_figure(residual_picture(overall), "residuals.png")
    mlflow.log_text(report_page(model_type, fitted, overall, views, origin, names, gate_section(gated, names)), REPORT)
    for name, content in fitted.bundle.files().items():
        mlflow.log_text(content.decode(), f"{FOLDER}/{name}")


def _log_child(parent: Run, child: ChildRun) -> None:
    """Three calls, where MLflow's context of a nested run makes twice as many."""
    client = mlflow.MlflowClient()
    tags = {**child.tags, MLFLOW_PARENT_RUN_ID: parent.info.run_id, MLFLOW_USER: parent.data.tags.get(MLFLOW_USER, "")}
    made = client.create_run(parent.info.experiment_id, run_name=child.name, tags=tags).info
    metrics = [Metric(name, value, made.start_time, 0) for name, value in child.metrics.items()]
    try:
        client.log_batch(made.run_id, metrics, [Param(name, value) for name, value in child.params.items()])
    except MlflowException:
        client.set_terminated(made.run_id, "FAILED")
        raise
    client.set_terminated(made.run_id)


def log_models(model_type: ModelType, fitted: Fitted) -> str:
    """Log the models for people, one a view; returns the address of the main view's."""
    main, *others = fitted.views.items()
    for name, view in others:
        _log_model(model_type, view.estimator, view.held_back, f"model_{name}")
    return _log_model(model_type, main[1].estimator, main[1].held_back, "model")


def _log_model(model_type: ModelType, estimator: Estimator, rows: Sequence[Example], name: str) -> str:
    trainer: Trainer = resolve(model_type.trainer)
    example = trainer.table([row.features for row in rows[:2]])
    logged = mlflow.sklearn.log_model(
        estimator,
        name=name,
        signature=infer_signature(example, estimator.predict(example)),
        input_example=example,
        pip_requirements=[f"{package}=={importlib.metadata.version(package)}" for package in _PACKAGES],
        skops_trusted_types=list(trainer.trusted_types),
    )
    return str(logged.model_uri)


def report_address(run_id: str) -> str:
    """The report in MLflow's own pages, from wherever these are."""
    experiment = mlflow.get_run(run_id).info.experiment_id
    return f"#/experiments/{experiment}/runs/{run_id}/artifacts/{REPORT}"


def log_evidence(gated: Gated, report: ValidationReport) -> None:
    """What a reviewer decides on, beside the report."""
    mlflow.log_dict(gated.as_json(), "gate.json")
    mlflow.log_text(gated.decision.as_markdown(), "gate.md")
    mlflow.log_dict(asdict(report), "validation.json")
    mlflow.set_tag(VERDICT_TAG, str(gated.decision.verdict))
