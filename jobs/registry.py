"""Every job there is: its queue, when it is due, its limits, and the function that does it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from importlib import import_module
from typing import Any

from forecastle.settings import Settings
from forecastle.store.database import Database
from forecastle.store.job_runs import JobRun
from forecastle.store.known_jobs import KnownJob, refusal
from jobs.schedules import Daily, Every, Hourly, Schedule, Weekly

TRAINING, ANALYSIS, MAINTENANCE = QUEUES = ("training", "analysis", "maintenance")
HOUR, GIGABYTE = 3600, 1 << 30
ALLOWANCE = timedelta(minutes=15)
"""Beyond its time limit, what a run has between being due and being overdue."""
_EPOCH = datetime(2000, 1, 31, tzinfo=UTC)
GRACE_SECONDS = 8.0
"""What a job's process has between being asked to end and being killed."""


@dataclass(frozen=True)
class Work:
    """What a job's function is handed."""

    settings: Settings
    database: Database
    run: JobRun


@dataclass(frozen=True)
class Done:
    """What a job's function achieved: how many things, and a sentence without anybody's text.

    One that left its work undone on purpose was `skipped`, and the sentence says why.
    """

    items: int
    detail: str
    skipped: bool = False


@dataclass(frozen=True)
class Job:
    """One job. `function` (module:name) takes a Work and returns a Done, in a process of its own.

    It is idempotent: it may run again from its beginning after a worker was lost. `required` and `optional`
    are the names of its arguments.
    """

    name: str
    queue: str
    function: str
    time_limit_seconds: float
    memory_limit_bytes: int
    schedule: Schedule | None = None
    required: frozenset[str] = frozenset()
    optional: frozenset[str] = frozenset()

    def refusal(self, arguments: Mapping[str, str]) -> str | None:
        """A sentence that says which arguments are missing or not known."""
        return refusal(self.name, self.required, self.optional, arguments)

    @property
    def known(self) -> KnownJob:
        """What others have to know of it."""
        return KnownJob(
            name=self.name,
            queue=self.queue,
            required=sorted(self.required),
            optional=sorted(self.optional),
            period=self.schedule.period if self.schedule else None,
            anchor=self.schedule.last_tick(_EPOCH) if self.schedule else None,
            allowance=timedelta(seconds=self.time_limit_seconds) + ALLOWANCE,
        )


JOBS: Mapping[str, Job] = {
    job.name: job
    for job in (
        Job(
            "maintenance.cleanup_predictions",
            MAINTENANCE,
            "jobs.maintenance:cleanup_predictions",
            time_limit_seconds=HOUR,
            memory_limit_bytes=GIGABYTE,
            schedule=Daily(3),
        ),
        Job(
            "maintenance.cleanup_job_runs",
            MAINTENANCE,
            "jobs.maintenance:cleanup_job_runs",
            time_limit_seconds=HOUR,
            memory_limit_bytes=GIGABYTE,
            schedule=Daily(4),
        ),
        Job(
            "maintenance.make_prediction_months",
            MAINTENANCE,
            "jobs.maintenance:make_prediction_months",
            time_limit_seconds=HOUR,
            memory_limit_bytes=GIGABYTE,
            schedule=Daily(2),
        ),
        Job(
            "registry.reconcile",
            MAINTENANCE,
            "jobs.reconciling:reconcile",
            time_limit_seconds=HOUR / 4,
            memory_limit_bytes=GIGABYTE,
            schedule=Every(30),
        ),
        Job(
            "retraining.decide",
            ANALYSIS,
            "jobs.retraining:decide_one",
            time_limit_seconds=HOUR,
            memory_limit_bytes=2 * GIGABYTE,
            required=frozenset({"model"}),
        ),
        Job(
            "retraining.decide_delivery",
            ANALYSIS,
            "jobs.retraining:decide_delivery",
            time_limit_seconds=HOUR,
            memory_limit_bytes=2 * GIGABYTE,
            schedule=Weekly(0, 2),
        ),
        Job(
            "retraining.decide_reliability",
            ANALYSIS,
            "jobs.retraining:decide_reliability",
            time_limit_seconds=HOUR,
            memory_limit_bytes=2 * GIGABYTE,
            schedule=Daily(2),
        ),
        Job(
            "maintenance.cleanup_withdrawn",
            MAINTENANCE,
            "jobs.maintenance:cleanup_withdrawn",
            time_limit_seconds=HOUR,
            memory_limit_bytes=GIGABYTE,
            schedule=Daily(3, 30),
        ),
        Job(
            "maintenance.cleanup_decisions",
            MAINTENANCE,
            "jobs.decisions:cleanup_decisions",
            time_limit_seconds=HOUR,
            memory_limit_bytes=GIGABYTE,
            schedule=Daily(4, 30),
            optional=frozenset({"dry_run"}),
        ),
        Job(
            "maintenance.archive_versions",
            MAINTENANCE,
            "jobs.archive:archive_versions",
            time_limit_seconds=HOUR,
            memory_limit_bytes=2 * GIGABYTE,
            schedule=Daily(5),
            optional=frozenset({"dry_run"}),
        ),
        Job(
            "maintenance.end_lost_runs",
            MAINTENANCE,
            "jobs.archive:end_lost_runs",
            time_limit_seconds=HOUR / 4,
            memory_limit_bytes=2 * GIGABYTE,
            schedule=Hourly(20),
        ),
        Job(
            "notification.deliver",
            MAINTENANCE,
            "jobs.notification:deliver",
            time_limit_seconds=HOUR / 4,
            memory_limit_bytes=GIGABYTE,
        ),
        Job(
            "training.train",
            TRAINING,
            "jobs.training:train",
            time_limit_seconds=6 * HOUR,
            memory_limit_bytes=4 * GIGABYTE,
            required=frozenset({"model_type"}),
            optional=frozenset({"project"}),
        ),
    )
}


def resolve(function: str) -> Callable[[Work], Done]:
    """The function behind its dotted name."""
    module, _, name = function.partition(":")
    found: Any = getattr(import_module(module), name)
    assert callable(found)
    return found  # type: ignore[no-any-return]
