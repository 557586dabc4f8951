"""The history reader of the product: what the store knows at a moment."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from forecastle.records.outcomes import Outcomes
from forecastle.registry.declaration import ModelType
from forecastle.store.database import Database
from forecastle.store.outcomes import projects_with_outcomes


@dataclass(frozen=True)
class StoredHistory:
    """Reads the outcomes of any number of projects, as this model type sees them, in one query."""

    database: Database
    model_type: ModelType

    def outcomes(self, projects: Sequence[str], moment: datetime) -> Mapping[str, tuple[str, Outcomes]]:
        found = self.database.retrying(
            lambda connection: projects_with_outcomes(
                connection, self.model_type.target, self.model_type.known_field, projects, moment
            )
        )
        return {name: (str(project), outcomes) for name, (project, outcomes) in found.items()}
