"""The history reader of the product: what the store knows at a moment."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cached_property
from typing import Any

from forecastle.features.similarity import IndexedCases
from forecastle.records.outcomes import Known, Outcomes
from forecastle.registry.declaration import ModelType
from forecastle.registry.remembering import Announcements, OutcomeMemory
from forecastle.store.database import Database
from forecastle.store.outcomes import Asked, Looking, ProjectOutcomes, known_outcomes

WORTH_AN_INDEX = 10
"""Titles that are held against a project's cases one by one in the time in which an index of them is made."""


@dataclass(frozen=True)
class StoredHistory:
    """Reads what the store knows of any number of projects and of groups of their issues, in one query.

    With a memory it answers for moments that are now, and asks the store for what is not remembered.
    """

    database: Database
    model_type: ModelType
    memory: OutcomeMemory | None = None

    def known(self, requests: Sequence[Mapping[str, Any]], moment: datetime) -> Sequence[tuple[str, Known] | None]:
        """The id of each request's project and what was known; None for projects that do not exist.

        Issues count as they look now, whatever `moment` is: it says which outcomes are known. Raises ServerError.
        """
        groups = [self._groups(request) for request in requests]
        projects, asked = _all_of(requests, groups)
        if self.memory is not None:
            return _each(requests, groups, *self.memory.known(projects, asked, moment))
        of_projects, of_groups = self.database.reading(
            lambda connection: known_outcomes(connection, self._looking, projects, asked, moment)
        )
        for name, number in Counter(request["project_id"] for request in requests).items():
            if number >= WORTH_AN_INDEX and name in of_projects:
                found = of_projects[name]
                of_projects[name] = replace(found, cases=IndexedCases(found.cases))
        return _each(requests, groups, of_projects, of_groups)

    def recalled(self, request: Mapping[str, Any], moment: datetime) -> tuple[str, Known] | None:
        """As `known` of one request, without asking the store: None where some of it is not remembered."""
        found = None if self.memory is None else self.memory.recalled(request["project_id"], moment)
        if found is None:
            return None
        project, remembered = found
        groups = {}
        for each in self._groups(request):
            if each not in remembered:
                return None
            if (outcomes := remembered[each]) is not None:
                groups[each.group] = outcomes
        return project.project, Known(project.outcomes, groups, project.cases)

    def _groups(self, request: Mapping[str, Any]) -> list[Asked]:
        keys = self.model_type.group_keys(request)
        return [Asked(request["project_id"], name, key) for name, key in keys.items()]

    @cached_property
    def _looking(self) -> Looking:
        return looking_of(self.model_type)


def _all_of(requests: Sequence[Mapping[str, Any]], groups: Sequence[Sequence[Asked]]) -> tuple[list[str], list[Asked]]:
    """All projects and all groups that are asked for, once each."""
    projects = {request["project_id"]: None for request in requests}
    return list(projects), list({each: None for request in groups for each in request})


def _each(
    requests: Sequence[Mapping[str, Any]],
    groups: Sequence[Sequence[Asked]],
    of_projects: Mapping[str, ProjectOutcomes],
    of_groups: Mapping[Asked, Outcomes],
) -> list[tuple[str, Known] | None]:
    """For each request what was found of its project and its groups."""
    answers: list[tuple[str, Known] | None] = []
    for request, wanted in zip(requests, groups, strict=True):
        found = of_projects.get(request["project_id"])
        if found is None:
            answers.append(None)
            continue
        known = {each.group: of_groups[each] for each in wanted if each in of_groups}
        answers.append((found.project, Known(found.outcomes, known, found.cases)))
    return answers


def remembering(database: Database, model_type: ModelType, announcements: Announcements) -> StoredHistory:
    """The history of a model type that is kept in memory as long as nothing changes."""
    return StoredHistory(database, model_type, OutcomeMemory(database, looking_of(model_type), announcements))


def looking_of(declared: ModelType) -> Looking:
    """Which outcomes a model type looks at."""
    groups = tuple(declared.groups.items())
    estimates, cases = declared.has_estimates, declared.looks_at_cases
    return Looking(declared.name, declared.target, declared.known_field, groups, estimates, cases)
