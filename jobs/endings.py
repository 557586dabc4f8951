"""How a run ended is written together with what somebody has to know of it."""

from __future__ import annotations

from forecastle.notify.alerts import Kind, close_alert, raise_alert
from forecastle.store import job_runs
from forecastle.store.database import Connection
from forecastle.store.job_runs import Ending, JobRun

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
    named = [run.arguments[name] for name in ("model_type", "project") if name in run.arguments]
    subject = ".".join(named) or run.name
    if ending.outcome == "failed":
        reason = ending.detail.partition("\n")[0]
        detail = f"the training of {subject} failed, what serves goes on serving: {reason} (run {run.id})"
        raise_alert(connection, Kind.TRAINING_FAILED, subject, detail)
    elif ending.outcome == "succeeded":
        close_alert(connection, Kind.TRAINING_FAILED, subject)
