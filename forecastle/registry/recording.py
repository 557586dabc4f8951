"""Training with MLflow: what `fit` found becomes a run with its child runs, a bundle and a version."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

import mlflow
from mlflow.entities.model_registry import ModelVersion
from mlflow.environment_variables import MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT
from mlflow.utils.mlflow_tags import MLFLOW_USER

from forecastle.errors import ForecastleError
from forecastle.monitoring.decision import Replacement
from forecastle.monitoring.verdict import Verdict
from forecastle.notify.alerts import Kind, raise_alert
from forecastle.registry import dataset as datasets
from forecastle.registry.aliases import STAGING
from forecastle.registry.bundle import digest_of_files
from forecastle.registry.declaration import ModelType
from forecastle.registry.examples import extract_all
from forecastle.registry.gating import Gated, gate_candidate
from forecastle.registry.incumbents import find_incumbents
from forecastle.registry.mlflow_rest import Version
from forecastle.registry.results import Results, overall_results
from forecastle.registry.review import VERDICT_TAG
from forecastle.registry.run_log import log_dataset, log_evidence, log_fit, log_models, report_address
from forecastle.registry.summary import candidates, description, version_tags
from forecastle.registry.tracking import mlflow_errors
from forecastle.registry.training import DatasetInfo, Fitted, fit
from forecastle.sources.issues import frame_of_records
from forecastle.store.database import Database
from forecastle.store.datasets import DatasetVersion
from forecastle.store.gate_looks import Look, add_look
from forecastle.store.objects import Objects
from forecastle.store.tenants import list_projects
from forecastle.validation.run import ValidationReport, validate
from forecastle.validation.suite import load_suite

Progress = Callable[[str], None]


@dataclass(frozen=True)
class TrainingRequest:
    """What is to be trained, for all projects or for one, and who asks."""

    model_type: ModelType
    project: UUID | None
    trained_by: str
    suite: Path
    """The expectation suite that the data are held against."""
    replacement: Replacement | None = None
    """Why what serves has to be replaced, where whoever planned the training says so."""

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
        found, report = _read(database, asked, on_progress)
        version = datasets.save_version(database, objects, asked.registered_model, found)
        with database.transaction() as connection:  # the last that is asked of the database: learning may take hours
            names = {str(project.id): project.key for project in list_projects(connection)}
        log_dataset(objects, version, found)
        older = f", {found.left_out_older:,} older ones left out" if found.left_out_older else ""
        on_progress(f"dataset {version.name} version {version.version}: {version.rows:,} rows{older}")
        extracted = extract_all(asked.model_type, datasets.load_version(objects, version).rows)
        fitted = fit(asked.model_type, extracted, DatasetInfo(version.digest, version.time_basis), on_progress)
        on_progress("asking the gate")
        incumbents = find_incumbents(database, objects, asked.model_type, asked.registered_model, asked.replacement)
        gated = gate_candidate(
            database, asked.model_type, asked.registered_model, extracted, fitted, incumbents, len(report.violations)
        )
        on_progress(f"{gated.decision.verdict}: {gated.decision.reasons[0]}")
        on_progress("recording in MLflow")
        overall = overall_results(asked.model_type, fitted)
        address = log_models(asked.model_type, fitted)  # before metrics, which MLflow would copy one by one
        log_fit(asked.model_type, fitted, overall, _origin(asked, fitted, version, run_id), names, gated)
        log_evidence(gated, report)
        return _register(database, asked, fitted, overall, gated, version, run_id, address)


def _read(
    database: Database, asked: TrainingRequest, on_progress: Progress
) -> tuple[datasets.TrainingRows, ValidationReport]:
    """The rows to learn from, and what the expectation suite says of the issues behind them."""
    records = datasets.read_records(database, asked.model_type, asked.project)
    on_progress(f"validating {len(records.issues):,} issues")
    report = validate(frame_of_records(records.issues), load_suite(asked.suite))
    return datasets.rows_of_records(asked.model_type, records), report


@contextmanager
def _run(asked: TrainingRequest) -> Iterator[str]:
    MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT.set(True)  # one address a run is enough, not two lines a child
    with mlflow_errors(), mlflow.start_run() as run:
        mlflow.set_tags(
            {
                "model_type": asked.model_type.name,
                "project": str(asked.project or "all"),
                MLFLOW_USER: asked.trained_by,
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


def _origin(asked: TrainingRequest, fitted: Fitted, version: DatasetVersion, run_id: str) -> dict[str, object]:
    """Where a version comes from, as its report says it."""
    basis = "by date" if version.time_basis == "date" else "positions in the order of each project's rows"
    return {
        "registered model": asked.registered_model,
        "dataset": f"version {version.version}, {version.rows:,} rows of {version.clusters:,} projects",
        "span": f"{version.span_from} to {version.span_until}, {basis}",
        "dataset digest": version.digest,
        "bundle digest": digest_of_files(fitted.bundle.files()),
        "git commit": git_commit(),
        "trained by": f"{asked.trained_by}, {datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
        "run": run_id,
    }


def _use_up(database: Database, model_name: str, version: int, run_id: str, gated: Gated) -> None:
    """Keep the decision and the rows it rests on."""
    decision = gated.decision
    look = Look(model_name, version, run_id, str(decision.verdict), gated.as_json(), gated.used)
    with database.transaction() as connection:
        add_look(connection, look)
        if decision.verdict is Verdict.REJECT:
            sentence = f"the gate rejects version {version}: {decision.reasons[0]}"
            raise_alert(connection, Kind.PROMOTION_REJECTED, model_name, sentence)


def _register(
    database: Database,
    asked: TrainingRequest,
    fitted: Fitted,
    overall: Results,
    gated: Gated,
    version: DatasetVersion,
    run_id: str,
    address: str,
) -> Version:
    tags = {
        "model_type": asked.model_type.name,
        "data.digest": version.digest,
        "dataset.version": str(version.version),
        "feature.digest": fitted.bundle.manifest.feature_digest,
        "bundle.digest": digest_of_files(fitted.bundle.files()),
        "git.commit": git_commit(),
        "trained_by": asked.trained_by,
        VERDICT_TAG: str(gated.decision.verdict),
        "gate.margin": f"{gated.decision.measured.policy.margin:g}",
        **candidates(fitted),
        **version_tags(overall),
    }
    said = description(overall, fitted.bundle.manifest.coverage_target, report_address(run_id))
    client = mlflow.MlflowClient()
    registered = mlflow.register_model(address, asked.registered_model, tags=tags)
    try:
        _delete_twins(client, registered)
        client.update_model_version(asked.registered_model, registered.version, description=said)
        if asked.project is not None:
            client.set_registered_model_tag(asked.registered_model, "project", str(asked.project))
        _use_up(database, asked.registered_model, int(registered.version), run_id, gated)
        if gated.decision.verdict is not Verdict.REJECT:
            client.set_registered_model_alias(asked.registered_model, STAGING, registered.version)
    except Exception:
        client.delete_model_version(asked.registered_model, registered.version)  # nothing half-registered
        raise
    return Version(
        asked.registered_model,
        int(registered.version),
        run_id,
        () if gated.decision.verdict is Verdict.REJECT else (STAGING,),
        tags,
        int(registered.creation_timestamp),
    )


def _delete_twins(client: mlflow.MlflowClient, registered: ModelVersion) -> None:
    """Where MLflow registered a version but could not say so, it was asked again and registered a second one."""
    for found in client.search_model_versions(f"run_id = '{registered.run_id}'"):
        if found.version != registered.version:
            client.delete_model_version(found.name, found.version)
