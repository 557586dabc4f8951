"""About which registered model is decided, and what was decided. Light to import: the façade shows decisions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from forecastle.errors import NotFoundError
from forecastle.registry.declaration import ModelType
from forecastle.registry.loading import type_of
from forecastle.store import job_runs
from forecastle.store import retraining as store
from forecastle.store.database import Connection, Database
from forecastle.store.job_runs import JobRun
from forecastle.store.retraining import Learning, StoredDecision
from forecastle.store.tenants import get_project

ALL = "all"
"""What a training of all projects is asked for."""
DECIDE = "retraining.decide"
"""The job that decides about one registered model."""


@dataclass(frozen=True)
class Subject:
    """A registered model about which is decided."""

    model_type: ModelType
    name: str
    project: UUID | None
    aliases: tuple[str, ...]
    """How a training may name the project: `all`, or its id or key."""

    @property
    def learning(self) -> Learning:
        return Learning(self.model_type.name, self.model_type.target, self.model_type.known_field, self.project)


def find_subject(connection: Connection, model_types: Mapping[str, ModelType], name: str) -> Subject:
    """The registered model of this name. Raises NotFoundError."""
    model_type = type_of(model_types, name)
    if model_type is None:
        raise NotFoundError(f"{name} belongs to no model type; there are: {', '.join(model_types)}")
    if name == model_type.name:
        return Subject(model_type, name, None, (ALL,))
    project = get_project(connection, name.removeprefix(f"{model_type.name}."))
    return Subject(model_type, f"{model_type.name}.{project.id}", project.id, (str(project.id), project.key))


def plan_decision(database: Database, model_types: Mapping[str, ModelType], name: str, by: str) -> JobRun:
    """Plan a run of the job that decides about this registered model. Raises NotFoundError."""
    with database.transaction() as connection:
        subject = find_subject(connection, model_types, name)
        run = job_runs.plan(connection, DECIDE, {"model": subject.name}, by)
    assert run is not None  # it has no due key
    return run


def list_decisions(
    database: Database, model_types: Mapping[str, ModelType], name: str, limit: int = 30
) -> list[StoredDecision]:
    """The newest decisions about a registered model. Raises NotFoundError."""
    with database.transaction() as connection:
        return store.list_decisions(connection, find_subject(connection, model_types, name).name, limit)


def as_document(decision: StoredDecision) -> dict[str, Any]:
    """A decision in plain values, for JSON."""
    ids = {name: value and str(value) for name, value in vars(decision).items() if name in _IDS}
    return {**vars(decision), **ids, "decided_at": decision.decided_at.isoformat()}


_IDS = ("id", "decision_run", "training_run")
