"""Training with MLflow: what `fit` found becomes a run with its child runs, a bundle and a version."""

from __future__ import annotations

import importlib.metadata
import json
import re
import subprocess
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from uuid import UUID

import mlflow
import pandas as pd
from mlflow.data.dataset_source_registry import resolve_dataset_source
from mlflow.data.meta_dataset import MetaDataset
from mlflow.entities.model_registry import ModelVersion
from mlflow.environment_variables import MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT
from mlflow.models import infer_signature

from forecastle.errors import ForecastleError
from forecastle.registry import dataset as datasets
from forecastle.registry.bundle import FOLDER, digest_of_files
from forecastle.registry.declaration import ModelType, Trainer, resolve
from forecastle.registry.examples import make_examples
from forecastle.registry.figures import residual_figure
from forecastle.registry.promotions import STAGING
from forecastle.registry.tracking import Version, mlflow_errors
from forecastle.registry.training import DatasetInfo, Fitted, Score, fit
from forecastle.store.database import Database
from forecastle.store.datasets import DatasetVersion
from forecastle.store.objects import Objects
from forecastle.store.tenants import list_projects

Progress = Callable[[str], None]

_BY_PROJECT = ("mae", "coverage", "rows")
_PACKAGES = ("mlflow", "scikit-learn", "skops", "pandas", "numpy", "scipy", "pydantic")


@dataclass(frozen=True)
class TrainingRequest:
    """What is to be trained, for all projects or for one, and who asks."""

    model_type: ModelType
    project: UUID | None
    trained_by: str

    @property
    def registered_model(self) -> str:
        """`family.folder`, with the project's id behind it where the model is a project's own."""
        return self.model_type.name if self.project is None else f"{self.model_type.name}.{self.project}"


def train(database: Database, objects: Objects, asked: TrainingRequest, on_progress: Progress) -> Version:
    """Save a dataset version, fit, record, register, and point `staging` at the new version.

    Runs inside the MLflow run that `mlflow run` has made, or a new one. A failure leaves a failed run that says
    why, no version, and what served before serving.
    """
    with _run(asked) as run_id:
        found = datasets.read_rows(database, asked.model_type, asked.project)
        version = datasets.save_version(database, objects, asked.registered_model, found)
        with database.transaction() as connection:  # the last that is asked of the database: learning may take hours
            names = {str(project.id): project.key for project in list_projects(connection)}
        _log_dataset(objects, version, found.unknown_when)
        on_progress(f"dataset {version.name} version {version.version}: {version.rows:,} rows")
        rows = datasets.load_version(objects, version).rows
        examples = make_examples(rows, resolve(asked.model_type.scorer))
        fitted = fit(asked.model_type, examples, DatasetInfo(version.digest, version.time_basis), on_progress)
        on_progress("recording in MLflow")
        _log_fit(asked.model_type, fitted, names)
        return _register(asked, fitted, version, run_id)


@contextmanager
def _run(asked: TrainingRequest) -> Iterator[str]:
    MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT.set(True)  # one address a run is enough, not two lines a child
    with mlflow_errors(), mlflow.start_run() as run:
        mlflow.set_tags(
            {
                "model_type": asked.model_type.name,
                "project": str(asked.project or "all"),
                "mlflow.user": asked.trained_by,
                "git.commit": git_commit(),
            }
        )
        try:
            yield run.info.run_id
        except ForecastleError as error:
            mlflow.set_tags({"failure": str(error), "mlflow.note.content": f"**Failed:** {error}"})
            raise
        except Exception as error:
            mlflow.set_tag("failure", type(error).__name__)  # its message may hold what somebody wrote
            raise


def git_commit() -> str:
    """The commit of the code that runs, `-dirty` behind it where files were changed; `unknown` outside a checkout."""
    commit = _git("rev-parse", "HEAD")
    return f"{commit}-dirty" if commit and _git("status", "--porcelain", "-uno") else commit or "unknown"


def _git(*words: str) -> str:
    try:
        found = subprocess.run(
            ["git", *words], cwd=Path(__file__).parent, capture_output=True, text=True, check=False, timeout=30
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return found.stdout.strip()


def _log_dataset(objects: Objects, version: DatasetVersion, unknown_when: int) -> None:
    source = resolve_dataset_source(f"{objects.address}/{version.object_name}")
    mlflow.log_input(MetaDataset(source, name=version.name, digest=version.digest[:32]), context="training")
    mlflow.log_params(
        {
            "dataset.version": version.version,
            "dataset.rows": version.rows,
            "dataset.clusters": version.clusters,
            "dataset.time_basis": version.time_basis,
            "dataset.span": f"{version.span_from} to {version.span_until}",
            "dataset.left_out_unknown_when": unknown_when,
        }
    )
    mlflow.set_tag("dataset.digest", version.digest)


def _log_fit(model_type: ModelType, fitted: Fitted, names: Mapping[str, str]) -> None:
    overall = fitted.overall
    mlflow.log_params({"candidate": fitted.bundle.manifest.candidate, "coverage_target": model_type.coverage_target})
    mlflow.log_metrics(_metrics(overall))
    for cluster, score in fitted.by_cluster.items():
        found = _metrics(score)
        mlflow.log_metrics({_project_metric(names[cluster], name): found[name] for name in _BY_PROJECT})
    for method, loss in overall.methods.items():
        role = "baseline" if method in model_type.baselines else "candidate"
        with mlflow.start_run(run_name=method, nested=True, tags={"role": role, "model_type": model_type.name}):
            mlflow.log_metrics({"mae": loss, "rows": overall.rows})
            for cluster, score in fitted.by_cluster.items():
                mlflow.log_metric(_project_metric(names[cluster], "mae"), score.methods[method])
    mlflow.log_table(_table(fitted, names), "scores_by_project.json")
    mlflow.log_figure(residual_figure(fitted), "residuals.png")
    for name, content in fitted.bundle.files().items():
        mlflow.log_text(content.decode(), f"{FOLDER}/{name}")


def _metrics(score: Score) -> dict[str, float]:
    found = {
        "mae": score.served,
        "rows": float(score.rows),
        "coverage": score.coverage.share,
        "coverage_low": score.coverage.low,
        "coverage_high": score.coverage.high,
        "interval_width": score.coverage.mean_width,
        "served_by_model": score.by_model,
        **{f"mae.{method}": loss for method, loss in score.methods.items()},
    }
    return {name: value for name, value in found.items() if value == value}  # MLflow refuses NaN on PostgreSQL


def _project_metric(project: str, name: str) -> str:
    """A metric's name for one project; MLflow takes few characters, keys may hold any."""
    return f"project.{re.sub(r'[^A-Za-z0-9_-]', '_', project)}.{name}"


def _table(fitted: Fitted, names: Mapping[str, str]) -> pd.DataFrame:
    scores = {"all": fitted.overall, **{names[cluster]: score for cluster, score in fitted.by_cluster.items()}}
    return pd.DataFrame([{"project": name, **_metrics(score)} for name, score in scores.items()])


def _summary(fitted: Fitted) -> str:
    """What a reviewer reads first, in Markdown."""
    found = fitted.overall
    cover = found.coverage
    others = "\n".join(f"| {name} | {loss:.3f} |" for name, loss in found.methods.items())
    return (
        f"Mean absolute error on {found.rows:,} held-back rows that neither taught nor chose anything:\n\n"
        f"| method | MAE |\n| --- | ---: |\n| **served** | **{found.served:.3f}** |\n{others}\n\n"
        f"Intervals held {cover.share:.1%} (95 %: {cover.low:.1%} to {cover.high:.1%}) of the outcomes; the target is "
        f"{fitted.bundle.manifest.coverage_target:.0%}. The model answers {found.by_model:.0%} of the rows, baselines "
        "the others. The run holds the scores by project and the residuals.\n"
    )


def _register(asked: TrainingRequest, fitted: Fitted, version: DatasetVersion, run_id: str) -> Version:
    trainer: Trainer = resolve(asked.model_type.trainer)
    example = trainer.example_table(fitted.held_back[:2])
    logged = mlflow.sklearn.log_model(
        fitted.estimator,
        name="model",
        signature=infer_signature(example, fitted.estimator.predict(example)),
        input_example=example,
        pip_requirements=[f"{name}=={importlib.metadata.version(name)}" for name in _PACKAGES],
        skops_trusted_types=list(trainer.trusted_types),
    )
    tags = {
        "model_type": asked.model_type.name,
        "dataset.digest": version.digest,
        "dataset.version": str(version.version),
        "feature.digest": fitted.bundle.manifest.feature_digest,
        "bundle.digest": digest_of_files(fitted.bundle.files()),
        "git.commit": git_commit(),
        "trained_by": asked.trained_by,
        "mae": f"{fitted.overall.served:.4f}",
        **{f"mae.{name}": f"{loss:.4f}" for name, loss in fitted.overall.methods.items()},
        "coverage": json.dumps(asdict(fitted.overall.coverage)),
    }
    client = mlflow.MlflowClient()
    registered = mlflow.register_model(logged.model_uri, asked.registered_model, tags=tags)
    try:
        _delete_twins(client, registered)
        client.update_model_version(asked.registered_model, registered.version, description=_summary(fitted))
        if asked.project is not None:
            client.set_registered_model_tag(asked.registered_model, "project", str(asked.project))
        client.set_registered_model_alias(asked.registered_model, STAGING, registered.version)
    except Exception:
        client.delete_model_version(asked.registered_model, registered.version)  # nothing half-registered
        raise
    return Version(
        asked.registered_model,
        int(registered.version),
        run_id,
        (STAGING,),
        tags,
        int(registered.creation_timestamp),
    )


def _delete_twins(client: mlflow.MlflowClient, registered: ModelVersion) -> None:
    """Where MLflow registered a version but could not say so, it was asked again and registered a second one."""
    for found in client.search_model_versions(f"run_id = '{registered.run_id}'"):
        if found.version != registered.version:
            client.delete_model_version(found.name, found.version)
