"""How a run ended is written together with what somebody has to know of it."""

from __future__ import annotations

from forecastle.errors import NotFoundError
from forecastle.notify.alerts import Kind, close_alert, raise_alert
from forecastle.store import job_runs
from forecastle.store.database import Connection
from forecastle.store.job_runs import Ending, JobRun
from forecastle.store.tenants import get_project
from projects.entry import ALL

TRAINING = "training.train"


def end(connection: Connection, held: JobRun, ending: Ending) -> bool:
    """End a run that a worker holds; False where it was lost to another one, or has ended."""
    is_ended = job_runs.end(connection, held, ending)
    if is_ended:
        _tell(connection, held, ending)
    return is_ended


def end_unheld(connection: Connection, run: JobRun, ending: Ending) -> bool:
    """End a run that nobody holds; False where somebody does, or it has ended."""
    is_ended = job_runs.end_unheld(connection, run.id, ending)
    if is_ended:
        _tell(connection, run, ending)
    return is_ended


def _tell(connection: Connection, run: JobRun, ending: Ending) -> None:
    if run.name != TRAINING:
        return
    project = run.arguments.get("project", ALL)
    named = [run.arguments.get("model_type"), None if project == ALL else _id_of(connection, project)]
    subject = ".".join(part for part in named if part) or run.name
    if ending.outcome == "failed":
        reason = ending.detail.partition("\n")[0]
        detail = f"the training of {subject} failed, what serves goes on serving: {reason} (run {run.id})"
        raise_alert(connection, Kind.TRAINING_FAILED, subject, detail)
    elif ending.outcome == "succeeded":
        close_alert(connection, Kind.TRAINING_FAILED, subject)


def _id_of(connection: Connection, project: str) -> str:
    """The registered model of a project bears its id, however the project was named."""
    try:
        return str(get_project(connection, project).id)
    except NotFoundError:
        return project
