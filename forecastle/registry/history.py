"""The history reader of the product: what the store knows at a moment."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import Any

from forecastle.records.outcomes import Known
from forecastle.registry.declaration import ModelType
from forecastle.store.database import Database
from forecastle.store.outcomes import Asked, Looking, known_outcomes


@dataclass(frozen=True)
class StoredHistory:
    """Reads what the store knows of any number of projects and of groups of their issues, in one query."""

    database: Database
    model_type: ModelType

    def known(self, requests: Sequence[Mapping[str, Any]], moment: datetime) -> Sequence[tuple[str, Known] | None]:
        """The id of each request's project and what was known; None for projects that do not exist.

        Issues count as they look now, whatever `moment` is: it says which outcomes are known.
        """
        groups = [self._groups(request) for request in requests]
        projects = list({request["project_id"]: None for request in requests})
        asked = list({each: None for request in groups for each in request})
        of_projects, of_groups = self.database.reading(
            lambda connection: known_outcomes(connection, self._looking, projects, asked, moment)
        )
        answers: list[tuple[str, Known] | None] = []
        for request, wanted in zip(requests, groups, strict=True):
            found = of_projects.get(request["project_id"])
            if found is None:
                answers.append(None)
                continue
            known = {each.group: of_groups[each] for each in wanted if each in of_groups}
            answers.append((found.project, Known(found.outcomes, known, found.cases)))
        return answers

    def _groups(self, request: Mapping[str, Any]) -> list[Asked]:
        keys = self.model_type.group_keys(request)
        return [Asked(request["project_id"], name, key) for name, key in keys.items()]

    @cached_property
    def _looking(self) -> Looking:
        return looking_of(self.model_type)


def looking_of(declared: ModelType) -> Looking:
    """Which outcomes a model type looks at."""
    groups = tuple(declared.groups.items())
    return Looking(declared.target, declared.known_field, groups, declared.has_estimates, declared.looks_at_cases)
