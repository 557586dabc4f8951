"""The one door to MLflow's package: runs and trainings; registered models as `mlflow_rest` has them."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import mlflow
import requests
from mlflow import MlflowClient
from mlflow.entities import Run
from mlflow.environment_variables import (
    MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR,
    MLFLOW_HTTP_REQUEST_MAX_RETRIES,
    MLFLOW_HTTP_REQUEST_TIMEOUT,
)
from mlflow.exceptions import ExecutionException, MlflowException
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository
from mlflow.utils.credentials import get_default_host_creds
from mlflow.utils.mlflow_tags import MLFLOW_PARENT_RUN_ID

from forecastle.errors import ForecastleError, ServerError, TrainingError
from forecastle.registry.aliases import PREVIOUS, PRODUCTION
from forecastle.registry.mlflow_rest import NOT_FOUND, MlflowRest, basic, not_found
from forecastle.settings import Settings

PARENT = MLFLOW_PARENT_RUN_ID
"""The tag of a child run that names its parent."""
PATIENT_RETRIES = 5
"""How often a training asks again: with pauses of 0, 4, 8, 16 and 32 s it outlasts a restart of any server."""


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
    if error.error_code in NOT_FOUND:
        return not_found()
    return ServerError(f"MLflow refused or did not answer ({error.error_code}); is it running?")


class Tracking(MlflowRest):
    """MLflow at one address, with its runs and trainings. Every method raises ServerError where it does not answer.

    `retries` is how often this process, and a training that it starts, asks again before that.
    """

    def __init__(self, uri: str, retries: int = 2) -> None:
        # The defaults hold a caller for minutes when the server is down.
        MLFLOW_HTTP_REQUEST_MAX_RETRIES.set(retries)
        MLFLOW_HTTP_REQUEST_TIMEOUT.set(20)
        MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR.set(False)
        mlflow.set_tracking_uri(uri)
        mlflow.set_registry_uri(uri)
        super().__init__(uri, retries, _authorization(uri))
        self._client = MlflowClient(tracking_uri=uri, registry_uri=uri)

    def run_training(
        self, root: Path, settings: Settings, model_type: str, project: str, run_name: str | None = None
    ) -> str:
        """Run the entry point `train` of `root`/MLproject as a child process; returns the run's id.

        It sees this process's environment, with these settings. Raises TrainingError with the reason that the run gave.
        """
        # MLflow hands its own environment on to the child, and starts `python` from the path.
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
        with mlflow_errors(), _environment({**settings.as_environment(), "PATH": path}):
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


def every_page(search: Callable[[str | None], Any]) -> list[Any]:
    """What a search finds, on all its pages; it is handed the token of a page."""
    page = search(None)
    found = list(page)
    while page.token:
        page = search(page.token)
        found += page
    return found


def _authorization(uri: str) -> str | None:
    """Who we are to MLflow, read as its own client reads it."""
    found = get_default_host_creds(uri)
    if found.token:
        return f"Bearer {found.token}"
    return basic(found.username, found.password) if found.username and found.password else None


@contextmanager
def _environment(changed: Mapping[str, str]) -> Iterator[None]:
    """This process's environment with these values, until the block ends."""
    before = {name: os.environ.get(name) for name in changed}
    os.environ.update(changed)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
