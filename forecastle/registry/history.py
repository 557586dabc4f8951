"""The history reader of the product: what the store knows at a moment."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from forecastle.records.outcomes import Outcomes
from forecastle.store.database import Database
from forecastle.store.outcomes import projects_with_outcomes


@dataclass(frozen=True)
class StoredHistory:
    """Reads the outcomes of any number of projects in one query."""

    database: Database
    target: str

    def outcomes(self, projects: Sequence[str], moment: datetime) -> Mapping[str, tuple[str, Outcomes]]:
        found = self.database.retrying(
            lambda connection: projects_with_outcomes(connection, self.target, projects, moment)
        )
        return {name: (str(project), outcomes) for name, (project, outcomes) in found.items()}
