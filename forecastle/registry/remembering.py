"""What is known of outcomes, kept in memory until the database says that something changed."""

from __future__ import annotations

import threading
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import count

from forecastle.features.similarity import IndexedCases
from forecastle.records.outcomes import Outcomes
from forecastle.registry.following import Follower
from forecastle.store.database import Database
from forecastle.store.outcomes import CHANNEL, Asked, Looking, ProjectOutcomes, known_outcomes

MOST_REMEMBERED = 5_000
"""Groups that are remembered for each model type, about 6 kB each; with one more all are read anew."""
PROJECT_WEIGHT = 25
"""As how many groups a project counts: outcomes take 24 kB, completed issues 50, the index of their words 40 to 70."""
MOST_GROUPS = 2_000
"""Groups that are remembered of one project."""


class Announcements:
    """Hears from PostgreSQL that issues, people, projects or unlearned periods changed.

    `version` is another number after each change, and None while nothing is heard: then nothing may be remembered.
    The poll behind it changes the number too, for a network that went away without a word.
    """

    def __init__(self, database: Database) -> None:
        self._numbers = count()
        self._follower = Follower(database, CHANNEL, self._heard, self._lost)
        self.version: int | None = None

    def start(self) -> None:
        self._follower.start()

    def stop(self) -> None:
        self._follower.stop()

    def _heard(self, _: str | None) -> None:
        self.version = next(self._numbers)

    def _lost(self) -> None:
        self.version = None


@dataclass(frozen=True)
class _Remembered:
    """What is known of one project from `since` on, if the announcements still stand at `version`.

    A group without outcomes is there as None.
    """

    version: int | None
    since: datetime
    outcomes: ProjectOutcomes
    groups: Mapping[Asked, Outcomes | None]

    @property
    def weight(self) -> int:
        return PROJECT_WEIGHT + len(self.groups)

    def holds(self, version: int | None, moment: datetime) -> bool:
        until = self.outcomes.changes_at
        return (
            version is not None and self.version == version and self.since <= moment and not (until and until <= moment)
        )


class OutcomeMemory:
    """`known_outcomes` of one `Looking`, for moments that are now; the store is asked for what is not remembered.

    The announcements' version is taken before the store is asked: what was read while something changed is remembered
    under a version that holds no more. Who reads needs no lock, since what is read twice is the same.
    """

    def __init__(self, database: Database, looking: Looking, announcements: Announcements) -> None:
        self._database = database
        self._looking = looking
        self._announcements = announcements
        self._projects: dict[str, _Remembered] = {}
        self._weight = 0
        self._remembering = threading.Lock()

    def known(
        self, projects: Sequence[str], groups: Sequence[Asked], moment: datetime
    ) -> tuple[dict[str, ProjectOutcomes], dict[Asked, Outcomes]]:
        """As `known_outcomes`. Raises ServerError."""
        version = self._announcements.version
        held, missing = self._recall(projects, groups, moment, version)
        if missing:
            held |= self._read(missing, [each for each in groups if each.project in missing], moment, version, held)
        return _answered(held, groups)

    def recalled(
        self, project: str, moment: datetime
    ) -> tuple[ProjectOutcomes, Mapping[Asked, Outcomes | None]] | None:
        """What is remembered of a project and of groups in it, those without outcomes as None; without the store."""
        found = self._projects.get(project)
        if found is None or not found.holds(self._announcements.version, moment):
            return None
        return found.outcomes, found.groups

    def _recall(
        self, projects: Sequence[str], groups: Sequence[Asked], moment: datetime, version: int | None
    ) -> tuple[dict[str, _Remembered], set[str]]:
        """What is remembered, and the projects of which something is not."""
        held = {
            name: found
            for name in projects
            if (found := self._projects.get(name)) is not None and found.holds(version, moment)
        }
        missing = {name for name in projects if name not in held}
        missing |= {each.project for each in groups if each.project in held and each not in held[each.project].groups}
        return held, missing

    def _read(
        self,
        projects: Collection[str],
        groups: Sequence[Asked],
        moment: datetime,
        version: int | None,
        held: Mapping[str, _Remembered],
    ) -> dict[str, _Remembered]:
        """Read these projects and groups, and remember them beside the groups that are `held` of them."""
        of_projects, of_groups = self._database.reading(
            lambda connection: known_outcomes(connection, self._looking, list(projects), groups, moment)
        )
        found = {}
        for name, read in of_projects.items():
            before = self._projects.get(name) or _Remembered(None, moment, read, {})
            outcomes = _kept_project(read, before.outcomes, lasting=version is not None)
            asked = [each for each in groups if each.project == name]
            new = {each: _kept(of_groups.get(each), before.groups.get(each)) for each in asked}
            old = held[name].groups if name in held and len(held[name].groups) < MOST_GROUPS else {}
            found[name] = _Remembered(version, moment, outcomes, {**old, **new})
        if version is not None:
            self._remember(found)
        return found

    def _remember(self, found: Mapping[str, _Remembered]) -> None:
        with self._remembering:
            for name, entry in found.items():
                old = self._projects.get(name)
                self._weight += entry.weight - (0 if old is None else old.weight)
                if self._weight > MOST_REMEMBERED:
                    self._projects.clear()
                    self._weight = entry.weight
                self._projects[name] = entry


def _kept_project(read: ProjectOutcomes, before: ProjectOutcomes, lasting: bool) -> ProjectOutcomes:
    """As `_kept`; its cases are indexed where more than one title will be held against them."""
    outcomes = _kept(read.outcomes, before.outcomes) or read.outcomes
    cases = before.cases if before.cases == read.cases else read.cases
    if lasting and not isinstance(cases, IndexedCases):
        cases = IndexedCases(cases)
    return replace(read, outcomes=outcomes, cases=cases)


def _kept(read: Outcomes | None, before: Outcomes | None) -> Outcomes | None:
    """With room for what is made of them: they are asked about again and again.

    A change of any project lets all of them be read anew: what is as it was before stays, with what was made of it.
    """
    if read is None:
        return None
    known = before if before is not None and before == read else read
    return replace(known, derived={}) if known.derived is None else known


def _answered(
    held: Mapping[str, _Remembered], groups: Sequence[Asked]
) -> tuple[dict[str, ProjectOutcomes], dict[Asked, Outcomes]]:
    of_groups = ((each, held[each.project].groups[each]) for each in groups if each.project in held)
    return (
        {name: found.outcomes for name, found in held.items()},
        {each: found for each, found in of_groups if found is not None},
    )
