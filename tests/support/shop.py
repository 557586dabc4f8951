"""What a retraining decision looks at, as tests write it: issues, a version in production, its answers and outcomes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from predictions import a_prediction, id_at

import projects
from forecastle.generator.dated import DatedPortfolio, generate_dated_issues
from forecastle.records.issues import IssueRecord
from forecastle.registry.bundle import digest_of_features
from forecastle.registry.dataset import read_rows
from forecastle.registry.retraining import Asked, decide
from forecastle.store import job_runs
from forecastle.store import promotions as ledger
from forecastle.store.database import Database
from forecastle.store.datasets import DatasetVersion, add_version
from forecastle.store.identifiers import new_id
from forecastle.store.issues import import_issues
from forecastle.store.job_runs import Ending
from forecastle.store.predictions import write_predictions
from forecastle.store.promotions import Promotion
from forecastle.store.retraining import StoredDecision
from forecastle.store.tenants import get_project

EFFORT = projects.get_model_type("delivery.effort")
DAY = timedelta(days=1)


@dataclass(frozen=True)
class Shop:
    """A database in which `delivery.effort` lives."""

    database: Database

    def bring(self, issues: Iterable[IssueRecord]) -> None:
        with self.database.transaction() as connection:
            import_issues(connection, list(issues))

    def promote(self, version: int = 1, **provenance: str) -> None:
        """Save the data of now as a dataset version, and let a version that they taught serve."""
        digest = self.save_data()
        told = {
            "run_id": "run", "data.digest": digest, "feature.digest": digest_of_features(EFFORT), "mae": "2.0"
        } | provenance  # fmt: skip
        step = Promotion(
            new_id(), "promote", EFFORT.name, None, version, "rita", "tested", "UNGATED", True, (), told
        )  # fmt: skip
        with self.database.transaction() as connection:
            ledger.add_step(connection, step, "intent")
            ledger.add_step(connection, step, "confirmed")

    def save_data(self) -> str:
        rows, digest = len(read_rows(self.database, EFFORT).rows), str(new_id())
        found = DatasetVersion(EFFORT.name, 0, digest, "datasets/x", rows, 1, "date", "", "")
        with self.database.transaction() as connection:
            add_version(connection, found)
        return digest

    def train(self, ending: Ending) -> UUID:
        """A run of the training that ended so, now."""
        with self.database.transaction() as connection:
            run = job_runs.plan(connection, "training.train", {"model_type": EFFORT.name, "project": "all"}, "ada")
            assert run is not None
            held = job_runs.take_lease(connection, run.id, "worker", 30)
            assert held is not None
        self.end(held, ending)
        return run.id

    def end(self, held: job_runs.JobRun, ending: Ending) -> None:
        with self.database.transaction() as connection:
            assert job_runs.end(connection, held, ending)

    def answer(self, moments: Sequence[datetime], value: float, truth: float | None = None, width: float = 5.0) -> None:
        """Answers of version 1 in the project DEMO1 at these moments, and what came out."""
        with self.database.transaction() as connection:
            project = get_project(connection, "DEMO1").id
        said = {"target": "effort_hours", "value": value, "low": value - width, "high": value + width}
        rows = [
            a_prediction(
                project, id=id_at(moment), model_type=EFFORT.name, model_name=EFFORT.name, model_version=1, **said
            )
            for moment in moments
        ]
        write_predictions(self.database, rows)
        if truth is not None:
            with self.database.transaction() as connection, connection.cursor() as cursor:
                cursor.executemany(
                    "insert into ground_truth (family, prediction_id, id, value, source, known_at, recorded_by) "
                    "values ('delivery', %s, gen_random_uuid(), %s, 's', now(), 'ada')",
                    [(row.id, truth) for row in rows],
                )

    def decide(self, after: timedelta = timedelta(), **asked: Any) -> StoredDecision:
        """What is decided about `delivery.effort` this long after now."""
        moment = self.now() + after
        return decide(self.database, projects.discover(), EFFORT.name, Asked("ada", moment=moment, **asked))

    def now(self) -> datetime:
        with self.database.transaction() as connection:
            return job_runs.now(connection)


def issues(count: int, start: datetime = datetime(2026, 1, 1, tzinfo=UTC), **changed: Any) -> list[IssueRecord]:
    """Dated issues of one project with hours, one after the other from `start` on, under keys of their own."""
    usual: dict[str, Any] = {"projects": 1, "issues": count, "start": start, "days": count / 5, "done": 1.0}
    made = generate_dated_issues(DatedPortfolio(**usual | changed))
    return [replace(issue, key=f"{issue.key}@{start:%Y%m%d%H}") for issue in made]


def signal(decision: StoredDecision, name: str) -> dict[str, Any]:
    (found,) = (one for one in decision.signals if one["name"] == name)
    return found
