"""The one door to MLflow: runs, registered models, versions and aliases."""

from __future__ import annotations

import os
import re
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlflow
import requests
from mlflow import MlflowClient
from mlflow.entities import Run
from mlflow.entities.model_registry import ModelVersion
from mlflow.environment_variables import (
    MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR,
    MLFLOW_HTTP_REQUEST_MAX_RETRIES,
    MLFLOW_HTTP_REQUEST_TIMEOUT,
)
from mlflow.exceptions import ExecutionException, MlflowException
from mlflow.protos.databricks_pb2 import INVALID_PARAMETER_VALUE, RESOURCE_DOES_NOT_EXIST, ErrorCode
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository
from mlflow.utils.mlflow_tags import MLFLOW_PARENT_RUN_ID

from forecastle.errors import ForecastleError, NotFoundError, ServerError, TrainingError
from forecastle.registry.bundle import FOLDER
from forecastle.registry.promotions import PREVIOUS, PRODUCTION, VersionFiles
from forecastle.settings import Settings

PROVENANCE_TAGS = ("dataset.digest", "git.commit", "feature.digest", "bundle.digest", "trained_by")

PARENT = MLFLOW_PARENT_RUN_ID
"""The tag of a child run that names its parent."""
PATIENT_RETRIES = 5
"""How often a training asks again: with pauses of 0, 4, 8, 16 and 32 s it outlasts a restart of any server."""
_NOT_FOUND = {ErrorCode.Name(RESOURCE_DOES_NOT_EXIST), ErrorCode.Name(INVALID_PARAMETER_VALUE)}


@dataclass(frozen=True)
class Version:
    """A version of a registered model, as MLflow lists it."""

    name: str
    version: int
    run_id: str
    aliases: tuple[str, ...]
    tags: Mapping[str, str]
    created_at_ms: int


@contextmanager
def mlflow_errors() -> Iterator[None]:
    """MLflow's errors in our words."""
    try:
        yield
    except MlflowException as error:
        raise _translated(error) from error
    except requests.RequestException as error:
        raise ServerError("MLflow did not answer; is it running? `forecastle up` starts it") from error


def _translated(error: MlflowException) -> ForecastleError:
    if error.error_code in _NOT_FOUND:
        return NotFoundError("MLflow knows no such registered model or version; `forecastle models list` shows them")
    return ServerError(f"MLflow refused or did not answer ({error.error_code}); is it running?")


class Tracking:
    """MLflow at one address. Every method raises ServerError where it does not answer.

    `retries` is how often this process, and a training that it starts, asks again before that.
    """

    def __init__(self, uri: str, retries: int = 2) -> None:
        # The defaults hold a caller for minutes when the server is down.
        MLFLOW_HTTP_REQUEST_MAX_RETRIES.set(retries)
        MLFLOW_HTTP_REQUEST_TIMEOUT.set(20)
        MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR.set(False)
        mlflow.set_tracking_uri(uri)
        mlflow.set_registry_uri(uri)
        self._client = MlflowClient(tracking_uri=uri, registry_uri=uri)

    def list_versions(self, name: str | None = None) -> list[Version]:
        """Versions of one registered model, or of all, newest first. Raises NotFoundError."""
        with mlflow_errors():
            if name is not None:
                self._client.get_registered_model(name)  # a search for what does not exist finds nothing, silently
            wanted = f"name='{name}'" if name else None
            found = every_page(lambda token: self._client.search_model_versions(wanted, page_token=token))
            aliases = {
                (model.name, int(version)): alias
                for model in every_page(lambda token: self._client.search_registered_models(wanted, page_token=token))
                for alias, version in model.aliases.items()
            }
        by_version: dict[tuple[str, int], list[str]] = {}
        for model in aliases:
            by_version.setdefault(model, []).append(aliases[model])
        return [_version(item, by_version.get((item.name, int(item.version)), [])) for item in found]

    def get_version(self, name: str, version: int) -> Version:
        """One version. Raises NotFoundError."""
        with mlflow_errors():
            found = self._client.get_model_version(name, str(version))
        return _version(found, list(found.aliases))

    def version_at_alias(self, name: str, alias: str) -> Version:
        """The version an alias names. Raises NotFoundError."""
        with mlflow_errors():
            found = self._client.get_model_version_by_alias(name, alias)
        return _version(found, list(found.aliases))

    def version_files(self, name: str, version: int) -> VersionFiles:
        """The content of every file of a version: its bundle and the model for people. Raises NotFoundError."""
        with mlflow_errors(), tempfile.TemporaryDirectory() as folder:
            found = self._client.get_model_version(name, str(version))
            for source, part in ((f"runs:/{found.run_id}/{FOLDER}", FOLDER), (found.source, "model")):
                mlflow.artifacts.download_artifacts(artifact_uri=source, dst_path=str(Path(folder) / part))
            files = {
                _name_in_version(path.relative_to(folder)): path.read_bytes()
                for path in sorted(Path(folder).rglob("*"))
                if path.is_file()
            }
        provenance = {
            "run_id": found.run_id,
            **{tag: found.tags.get(tag, "unknown") for tag in PROVENANCE_TAGS},
        }
        return VersionFiles(version, files, provenance)

    def run_training(
        self, root: Path, settings: Settings, model_type: str, project: str, run_name: str | None = None
    ) -> str:
        """Run the entry point `train` of `root`/MLproject as a child process; returns the run's id.

        It sees this process's environment, with these settings. Raises TrainingError with the reason that the run gave.
        """
        # MLflow hands its own environment on to the child, and starts `python` from the path.
        os.environ.update(settings.as_environment())
        os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
        with mlflow_errors():
            try:
                run = mlflow.projects.run(
                    uri=str(root),
                    entry_point="train",
                    parameters={"model_type": model_type, "project": project},
                    experiment_name=model_type,
                    env_manager="local",
                    run_name=run_name,
                )
            except ExecutionException as error:
                raise TrainingError(self._reason(error)) from None
        return str(run.run_id)

    def find_finished(self, experiment: str, run_name: str) -> str | None:
        """The id of a run of this name that succeeded."""
        with mlflow_errors():
            runs = self._named(experiment, run_name)
        return next((run.info.run_id for run in runs if run.info.status == "FINISHED"), None)

    def kill_runs(self, experiment: str, run_name: str, reason: str) -> None:
        """End the runs of this name that were cut off, and their child runs, as KILLED with the reason.

        What they had registered is taken back, unless it serves.
        """
        with mlflow_errors():
            for run in self._named(experiment, run_name):
                if run.info.status == "FINISHED" or (run.info.status == "FAILED" and "failure" in run.data.tags):
                    continue  # it has an end of its own
                self._kill(run, reason)

    def _kill(self, run: Run, reason: str) -> None:
        for cut in (run, *(child for child in self._children(run) if child.info.status == "RUNNING")):
            self._client.set_tag(cut.info.run_id, "failure", cut.data.tags.get("failure", reason))
            self._client.set_terminated(cut.info.run_id, "KILLED")
        self._take_back(run.info.run_id)

    def _delete_files(self, run: Run) -> None:
        made = f"source_run_id = '{run.info.run_id}'"
        for model in self._client.search_logged_models([run.info.experiment_id], made):
            get_artifact_repository(model.artifact_location).delete_artifacts()
            self._client.delete_logged_model(model.model_id)
        get_artifact_repository(run.info.artifact_uri).delete_artifacts()

    def _children(self, run: Run) -> list[Run]:
        return self._search([run.info.experiment_id], f"tags.`{PARENT}` = '{run.info.run_id}'")

    def _search(self, experiments: list[str], condition: str) -> list[Run]:
        if not experiments:
            return []
        return every_page(lambda token: self._client.search_runs(experiments, condition, page_token=token))

    def _take_back(self, run_id: str) -> None:
        for found in self._client.search_model_versions(f"run_id = '{run_id}'"):
            version = self._client.get_model_version(found.name, found.version)
            if not {PRODUCTION, PREVIOUS} & set(version.aliases):
                self._client.delete_model_version(found.name, found.version)

    def _named(self, experiment: str, run_name: str) -> list[Run]:
        found = self._client.get_experiment_by_name(experiment)
        if found is None:
            return []
        return list(self._client.search_runs([found.experiment_id], f"attributes.run_name = '{run_name}'"))

    def _reason(self, error: ExecutionException) -> str:
        found = re.search(r"ID '(\w+)'", str(error))
        if found is None:
            return f"the run did not start: {error}"
        with mlflow_errors():
            failure = self._client.get_run(found[1]).data.tags.get("failure", "its log says why")
        return f"run {found[1]} failed: {failure}"

    def set_alias(self, name: str, alias: str, version: int) -> None:
        with mlflow_errors():
            self._client.set_registered_model_alias(name, alias, str(version))

    def remove_alias(self, name: str, alias: str) -> None:
        with mlflow_errors():
            self._client.delete_registered_model_alias(name, alias)


def every_page(search: Callable[[str | None], Any]) -> list[Any]:
    """Every page of a search."""
    page = search(None)
    found = list(page)
    while page.token:
        page = search(page.token)
        found += page
    return found


def _name_in_version(path: Path) -> str:
    # A folder is downloaded as itself into the part that was asked for: bundle/bundle/x is bundle/x.
    parts = path.parts
    return "/".join(parts[1:] if len(parts) > 2 and parts[0] == parts[1] else parts)


def _version(item: ModelVersion, aliases: list[str]) -> Version:
    return Version(
        name=item.name,
        version=int(item.version),
        run_id=item.run_id,
        aliases=tuple(sorted(aliases)),
        tags=dict(item.tags),
        created_at_ms=int(item.creation_timestamp),
    )
