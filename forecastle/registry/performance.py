"""How the versions of a model type do on known outcomes, by project."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING
from uuid import UUID

from forecastle.errors import NotFoundError
from forecastle.monitoring.sums import RealisedSums
from forecastle.registry.declaration import ModelType
from forecastle.registry.loading import type_of
from forecastle.store.database import Connection, Database
from forecastle.store.performance import Scope, Served, ServedBy, read_served
from forecastle.store.tenants import get_project, list_projects

if TYPE_CHECKING:
    from forecastle.monitoring.realised import Realised


@dataclass(frozen=True)
class Performance:
    """What a version served in a project (in all of them, where `project` is None), and how that turned out."""

    registered_model: str
    version: int
    project: str | None
    project_id: UUID | None
    waiting: int
    asked_late: int
    realised: Realised


def performance_of(
    database: Database,
    model_types: Mapping[str, ModelType],
    name: str,
    project: str | None = None,
    version: int | None = None,
    since: datetime | None = None,
) -> tuple[ModelType, list[Performance]]:
    """The model type, and every version of it or of a registered model of its: first over all projects, then
    by project.

    The newest version comes first. Raises NotFoundError for an unknown name or project, ServerError.
    """
    model_type = type_of(model_types, name)
    if model_type is None:
        raise NotFoundError(f"{name} belongs to no model type; there are: {', '.join(model_types)}")
    registered = None if name == model_type.name else name

    def read(connection: Connection) -> list[Performance]:
        project_id = get_project(connection, project).id if project is not None else None
        found = read_served(connection, Scope(model_type.name, registered, version, project_id, since))
        if project_id is not None:  # all projects together are this one
            found = {by: served for by, served in found.items() if by.project}
        keys = {known.id: known.key for known in list_projects(connection)}
        return _performances(model_type, found, keys)

    return model_type, database.retrying(read)


def realised_of(
    connection: Connection, model_type: ModelType, model_name: str, version: int, project: UUID
) -> Realised | None:
    """How a version did in a project; None where it served nothing there that has a number."""
    found = read_served(connection, Scope(model_type.name, model_name, version, project))
    served = found.get(ServedBy(model_name, version, project))
    return None if served is None else _realised(model_type, served, [])


def _performances(
    model_type: ModelType, found: Mapping[ServedBy, Served], keys: Mapping[UUID, str]
) -> list[Performance]:
    def place(by: ServedBy) -> tuple[str, int, str]:
        return by.model_name, -by.version, keys[by.project] if by.project else ""

    return [
        Performance(
            registered_model=by.model_name,
            version=by.version,
            project=None if by.project is None else keys[by.project],
            project_id=by.project,
            waiting=found[by].waiting,
            asked_late=found[by].asked_late,
            realised=_realised(model_type, found[by], _by_project(found, by)),
        )
        for by in sorted(found, key=place)
    ]


def _by_project(found: Mapping[ServedBy, Served], by: ServedBy) -> list[RealisedSums]:
    """The same rows by project, where `by` is all of them."""
    if by.project is not None:
        return []
    same = [served for key, served in found.items() if key.project and replace(key, project=None) == by]
    return [RealisedSums.of_all(served.blocks) for served in same]


def _realised(model_type: ModelType, served: Served, projects: Sequence[RealisedSums]) -> Realised:
    from forecastle.monitoring.realised import realised  # NumPy and SciPy: 46 MB that a façade seldom needs

    return realised(served.blocks, model_type.coverage_target, projects)
