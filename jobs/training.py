"""Training as a child process of `mlflow run`'s machinery."""

from __future__ import annotations

import projects
from forecastle.errors import ForecastleError
from forecastle.registry.mlflow_rest import MlflowRest
from forecastle.store.tenants import get_project
from jobs.registry import Done, Work
from jobs.retraining import promote_trained
from projects.entry import ALL


def train(work: Work) -> Done:
    """Run the entry point `train` for whoever planned the run; the MLflow run bears the id of this one.

    What a retraining decision had trained goes to production where the model type's policy promotes it. A run that an
    earlier attempt left RUNNING is ended first; one that is cancelled, or could not say how it ended, is ended as
    KILLED.
    """
    from forecastle.registry.lost_runs import name_of
    from forecastle.registry.tracking import PATIENT_RETRIES, Tracking  # MLflow takes seconds to import

    model_type = projects.get_model_type(work.run.arguments["model_type"])
    project = work.run.arguments.get("project", ALL)
    if project != ALL:
        with work.database.transaction() as connection:
            get_project(connection, project)
    tracking = Tracking(work.settings.require_tracking_uri(), PATIENT_RETRIES)
    registry = MlflowRest.of(work.settings, PATIENT_RETRIES)
    name = name_of(work.run.id)
    finished = tracking.find_finished(model_type.name, name)
    if finished is not None:
        return Done(1, f"MLflow run {finished}, by an earlier attempt{promote_trained(work, registry, finished)}")
    tracking.kill_runs(model_type.name, name, "its worker was lost")
    try:
        run_id = tracking.run_training(projects.ROOT, work.settings, model_type.name, project, name)
    except KeyboardInterrupt:
        tracking.kill_runs(model_type.name, name, "ended before it was done: cancelled, out of time, or worker stopped")
        raise
    except ForecastleError:
        tracking.kill_runs(model_type.name, name, "MLflow did not answer, or its process ended")
        raise
    return Done(1, f"MLflow run {run_id}{promote_trained(work, registry, run_id)}")
