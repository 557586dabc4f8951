"""MLflow runs that nobody will end: those of a job that is over, and those that have been going on for too long."""

from __future__ import annotations

from collections.abc import Collection
from contextlib import suppress
from datetime import datetime, timedelta
from uuid import UUID

from forecastle.registry.cleanup import Cleanup, RunningRun
from forecastle.store import job_runs
from forecastle.store.database import Database

FORGOTTEN_AFTER = timedelta(hours=24)
"""A training that no job started says nothing while it learns: after this long its process counts as gone."""
_PREFIX = "job "


def name_of(job_run: UUID) -> str:
    """What the MLflow run of a job is called."""
    return f"{_PREFIX}{job_run}"


def job_of(name: str) -> UUID | None:
    """The run of a job that an MLflow run of this name belongs to."""
    with suppress(ValueError):
        return UUID(name.removeprefix(_PREFIX)) if name.startswith(_PREFIX) else None
    return None


def lost_because(run: RunningRun, open_jobs: Collection[UUID], moment: datetime) -> str | None:
    """Why nobody will end the run; None where somebody may.

    As long as a job is open, it ends its run itself, or its next attempt does.
    """
    job = job_of(run.name)
    if job is not None:
        return None if job in open_jobs else f"its job {job} is over"
    if moment - run.started_at > FORGOTTEN_AFTER:
        return f"nothing was heard of it for {FORGOTTEN_AFTER / timedelta(hours=1):.0f} hours"
    return None


def end_lost_runs(database: Database, mlflow: Cleanup, experiments: Collection[str], moment: datetime) -> list[str]:
    """End the lost runs of these experiments as KILLED with the reason; returns their ids. Raises ServerError."""
    running = mlflow.running_runs(experiments)
    jobs = [job for run in running if (job := job_of(run.name)) is not None]
    with database.transaction() as connection:
        open_jobs = job_runs.open_among(connection, jobs)
    lost = [(run.run_id, why) for run in running if (why := lost_because(run, open_jobs, moment)) is not None]
    return [run_id for run_id, why in lost if mlflow.kill_run(run_id, why)]
