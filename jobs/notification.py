"""Telling people what they have to know."""

from __future__ import annotations

from datetime import datetime

from forecastle.errors import ServerError
from forecastle.notify.alerts import Kind, close_alert, raise_alert
from forecastle.notify.channels import channels_of
from forecastle.notify.delivery import deliver as deliver_due
from forecastle.store import job_queue, job_runs, known_jobs, notifications
from forecastle.store.database import Connection
from jobs.registry import Done, Work

DELIVER = "notification.deliver"


def deliver(work: Work) -> Done:
    """Tell every channel what is due. Raises ServerError where one took nothing; it is tried again by itself."""
    delivered = deliver_due(work.database, channels_of(work.settings))
    if delivered.failures:
        raise ServerError("; ".join(delivered.failures))
    return Done(delivered.messages, f"messages delivered: {delivered.messages}")


def plan_delivery(connection: Connection, moment: datetime, planned_by: str) -> None:
    """Plan a run where something is due and none is on its way; one a minute, so that a broken one does not spin."""
    if notifications.any_due(connection) and not job_queue.open_runs(connection, DELIVER):
        job_runs.plan(connection, DELIVER, {}, planned_by, f"{DELIVER}@{moment:%Y-%m-%dT%H:%MZ}")


def watch_jobs(connection: Connection) -> None:
    """Raise an alert for every job that did not run by its time, and close those of jobs that did since."""
    overdue = {job.name: job.sentence for job in known_jobs.overdue_jobs(connection)}
    alerted = notifications.open_subjects(connection, Kind.JOB_OVERDUE)
    for name in sorted(set(overdue) - alerted):
        raise_alert(
            connection, Kind.JOB_OVERDUE, name, f"{overdue[name]}; `forecastle jobs ls --name {name}` says more"
        )
    for name in sorted(alerted - set(overdue)):
        close_alert(connection, Kind.JOB_OVERDUE, name)
