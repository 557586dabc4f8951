"""Forgetting a person or an issue: the database in one transaction, then every dataset file.

Whatever was stopped in between is finished by the next forgetting: what files are searched for stands in the record
until they are done.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID

from forecastle.errors import IntegrityError, NotFoundError
from forecastle.records.redaction import PersonRedaction, without_texts
from forecastle.registry.dataset import redact_version
from forecastle.registry.examples import Edit, Row
from forecastle.store import forgetting as rows
from forecastle.store.database import Connection, Database
from forecastle.store.datasets import list_versions
from forecastle.store.forgetting import Forgetting
from forecastle.store.objects import Objects
from forecastle.store.tenants import get_project

STAYS = {
    "person": (
        "the person's row, under a pseudonym: history by person goes on counting",
        "numbers, vectors and digests of what was asked; keys of issues, which some trackers make of people's numbers",
        "names and words that a model learned from: who reported or did an issue is a label of delivery.effort, and "
        "words of at least three issues are its vocabulary; train, promote and delete older versions in MLflow",
        "the two example rows of each version in MLflow",
    ),
    "issue": (
        "the issue's row with its key, numbers, dates, type, component, priority and people",
        "numbers, vectors and digests of what was asked",
        "words that a model's vocabulary holds because at least three issues had them",
        "the two example rows of each version in MLflow",
    ),
}
STAYS_ANYWHERE = (
    "backups, the database's own log, pages that it has not vacuumed yet, earlier versions of files in a bucket that "
    "keeps them",
    "files that were imported: importing one again brings the text back",
    "what a training that was running saves; forget once more when it has ended",
    "files of batch scoring, and journals in `scoring` below the home of one that was cut off: delete them",
)


@dataclass(frozen=True)
class Forgotten:
    """How many rows and files text was erased from, by where it stood, and what stays in any case."""

    kind: str
    dry_run: bool
    erased: Mapping[str, int]

    @property
    def stays(self) -> tuple[str, ...]:
        return (*STAYS[self.kind], *STAYS_ANYWHERE)


def forget_person(database: Database, objects: Objects, name: str, by: str, dry_run: bool) -> Forgotten:
    """Erase a person's name. Raises NotFoundError where it stands nowhere, IntegrityError, ServerError."""
    return _forget(database, objects, lambda connection: rows.forget_person(connection, name, by), dry_run)


def forget_issue(database: Database, objects: Objects, project: str, key: str, by: str, dry_run: bool) -> Forgotten:
    """Erase an issue's text. Raises NotFoundError where there is none, IntegrityError, ServerError."""
    with database.transaction() as connection:
        project_id = get_project(connection, project).id
    return _forget(database, objects, lambda connection: rows.forget_issue(connection, project_id, key, by), dry_run)


def finish_forgetting(database: Database, objects: Objects) -> list[Forgotten]:
    """Finish what was stopped before all files were done. Raises IntegrityError, ServerError."""
    with database.transaction() as guard:
        rows.lock(guard)
        with database.transaction() as connection:
            found = rows.unfinished(connection)
        return [_finish(database, objects, each) for each in found]


def _forget(
    database: Database, objects: Objects, erase: Callable[[Connection], Forgetting], dry_run: bool
) -> Forgotten:
    with database.transaction() as guard:
        rows.lock(guard)
        with database.transaction() as connection:
            begun = erase(connection)
            if dry_run:
                connection.rollback()
        found = _finish(database, objects, begun, dry_run)
    if not any(found.erased.values()):
        raise NotFoundError(f"no text of such {found.kind} is stored; look at how it is written")
    return found


def _finish(database: Database, objects: Objects, begun: Forgetting, dry_run: bool = False) -> Forgotten:
    files = _in_files(database, objects, _redaction_of(begun), dry_run)
    erased = {**begun.erased, "dataset_files": begun.erased.get("dataset_files", 0) + files}
    if not dry_run:
        with database.transaction() as connection:
            rows.finish(connection, begun, erased)
    return Forgotten(begun.kind, dry_run, erased)


def _in_files(database: Database, objects: Objects, redact: Callable[[Row], Row], dry_run: bool) -> int:
    with database.transaction() as connection:
        versions = list_versions(connection)
    changed, broken = 0, []
    for version in versions:
        try:
            changed += redact_version(database, objects, version, redact, dry_run)
        except NotFoundError:
            continue  # there is no file that could hold anything
        except IntegrityError:
            broken.append(version.object_name)
    if broken:
        raise IntegrityError(
            f"text may still stand in {', '.join(broken)}, which do not hold the rows of their digests: delete them, "
            "or train anew to save them again, and then: forecastle forget resume"
        )
    return changed


def _redaction_of(begun: Forgetting) -> Callable[[Row], Row]:
    if begun.kind == "person":
        redaction = PersonRedaction(**begun.subject)
        return lambda row: _redacted(row, redaction.redact)
    project, key = str(UUID(begun.subject["project"])), begun.subject["key"]
    return lambda row: _redacted(row, without_texts) if (row.cluster, row.key) == (project, key) else row


def _redacted(row: Row, redact: Callable[[Any], Any]) -> Row:
    edits = tuple(Edit(edit.since, redact(edit.fields)) for edit in row.edits)
    return replace(row, request=redact(row.request), edits=edits)
