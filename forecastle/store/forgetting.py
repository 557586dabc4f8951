"""Erases the text of a person or an issue from the database, and keeps a record that says nothing of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, LiteralString
from uuid import UUID

from psycopg.types.json import Jsonb

from forecastle.records.redaction import OMITTED, IssueRedaction, PersonRedaction, without_texts
from forecastle.store import issues, tenants
from forecastle.store.database import Connection
from forecastle.store.identifiers import new_id

LOCK = 7_302_741_008  # one at a time: two would each bring back what the other took from a file
BATCH_ROWS = 500

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Forgetting:
    """A forgetting whose files are not done yet; `subject` says what they are searched for."""

    id: UUID
    kind: str
    subject: Mapping[str, Any]
    erased: Mapping[str, int]


def lock(connection: Connection) -> None:
    """Keep every other forgetting waiting until the end of the transaction."""
    connection.execute("select pg_advisory_xact_lock(%s)", (LOCK,))


def unfinished(connection: Connection) -> list[Forgetting]:
    """Those that were stopped before all files were done."""
    rows = connection.execute(
        "select id, kind, subject, erased from forgettings where finished_at is null order by started_at"
    )
    return [Forgetting(**row) for row in rows]


def finish(connection: Connection, found: Forgetting, erased: Mapping[str, int]) -> None:
    """Say that the files are done; a forgetting that found nothing leaves no record."""
    if not any(erased.values()):
        connection.execute("delete from forgettings where id = %s", (found.id,))
        return
    connection.execute(
        "update forgettings set subject = null, finished_at = clock_timestamp(), erased = %s where id = %s",
        (Jsonb(dict(erased)), found.id),
    )


def redacted_at(connection: Connection, family: str, prediction_id: UUID) -> datetime | None:
    """When text was erased from a prediction, if it was."""
    row = connection.execute(
        "select redacted_at from predictions where family = %s and id = %s", (family, prediction_id)
    ).fetchone()
    return row["redacted_at"] if row else None


def forget_person(connection: Connection, name: str, requested_by: str) -> Forgetting:
    """Put a pseudonym in the place of a person's name; imports wait meanwhile."""
    connection.execute("select pg_advisory_xact_lock(%s)", (issues.LOCK,))
    workspace = tenants.default_workspace(connection)
    row = connection.execute(
        "select id from people where workspace_id = %s and name = %s", (workspace, name)
    ).fetchone()
    person = row["id"] if row else new_id()
    redaction = PersonRedaction(name, f"person_{person.hex[-12:]}")
    erased = {
        "people": _execute(connection, "update people set name = %s where id = %s", redaction.pseudonym, person),
        "issues": _mark_issues_of(connection, person),
        "issue_texts": _in_issues(connection, redaction),
        "issue_changes": _in_changes(connection, redaction),
        "predictions": _in_predictions(connection, _PREDICTIONS_MENTIONING, {"name": name}, redaction.redact),
    }
    return _record(connection, "person", person, asdict(redaction), requested_by, erased)


def forget_issue(connection: Connection, project: UUID, key: str, requested_by: str) -> Forgetting:
    """Erase the texts of an issue; imports wait meanwhile.

    A request without an issue's key is taken to be about this one where it has its title, or one that it had.
    """
    connection.execute("select pg_advisory_xact_lock(%s)", (issues.LOCK,))
    row = connection.execute(
        "select id, title from issues where project_id = %s and key = %s", (project, key)
    ).fetchone()
    issue: UUID | None = row["id"] if row else None
    titles = _titles(connection, row["id"], row["title"]) if row else frozenset()
    redaction = IssueRedaction(titles)

    def redact(found: Row) -> Row:
        asked = found["request"]
        own = found["issue_key"] == key or (found["issue_key"] is None and asked.get("title") in titles)
        return {
            "request": without_texts(asked) if own else redaction.redact(asked),
            "answer": redaction.redact(found["answer"]),
        }

    erased = {
        "issues": _execute(connection, _ERASE_ISSUE, OMITTED, issue, OMITTED),
        "issue_changes": _execute(connection, _ERASE_CHANGES, OMITTED, OMITTED, issue, _NO_TEXTS, OMITTED, OMITTED),
        "predictions": _in_predictions(
            connection, _PREDICTIONS_OF_ISSUE, {"project": project, "key": key, "titles": list(titles)}, redact
        ),
    }
    return _record(connection, "issue", issue, {"project": str(project), "key": key}, requested_by, erased)


def _execute(connection: Connection, statement: LiteralString, *values: Any) -> int:
    return connection.execute(statement, values).rowcount


def _record(
    connection: Connection, kind: str, subject_id: UUID | None, subject: Row, by: str, erased: Mapping[str, int]
) -> Forgetting:
    found = Forgetting(new_id(), kind, dict(subject), erased)
    connection.execute(
        "insert into forgettings (id, kind, subject_id, subject, requested_by, erased) values (%s, %s, %s, %s, %s, %s)",
        (found.id, kind, subject_id, Jsonb(found.subject), by, Jsonb(dict(erased))),
    )
    return found


def _in_issues(connection: Connection, redaction: PersonRedaction) -> int:
    changed = 0
    for batch in _batches(connection, _ISSUES_MENTIONING, {"name": redaction.name}):
        redacted = [(row["id"], redaction.redact({name: row[name] for name in _TEXTS})) for row in batch]
        news = [
            (*(after[name] for name in _TEXTS), identifier)
            for (identifier, after), row in zip(redacted, batch, strict=True)
            if any(after[name] != row[name] for name in _TEXTS)
        ]
        with connection.cursor() as cursor:
            cursor.executemany(_UPDATE_ISSUE, news)
        changed += len(news)
    return changed


def _mark_issues_of(connection: Connection, person: UUID) -> int:
    """What the person reported or did looks changed to the next import, and says nothing of the name by its digest."""
    return _execute(connection, _MARK_ISSUES_OF, person)


def _in_changes(connection: Connection, redaction: PersonRedaction) -> int:
    changed = 0
    for batch in _batches(connection, _CHANGES_MENTIONING, {"name": redaction.name}):
        for row in batch:
            before, after = (redaction.redact(row[name], row["field"]) for name in ("before", "after"))
            if (before, after) != (row["before"], row["after"]):
                connection.execute(
                    "update issue_changes set before = %s, after = %s where id = %s", (before, after, row["id"])
                )
                changed += 1
    return changed


def _in_predictions(connection: Connection, query: LiteralString, values: Row, redact: Callable[[Row], Row]) -> int:
    changed = 0
    for batch in _batches(connection, query, values):
        for row in batch:
            redacted = redact(row)
            if (redacted["request"], redacted["answer"]) != (row["request"], row["answer"]):
                connection.execute(
                    "update predictions set request = %s, answer = %s, redacted_at = now() "
                    "where family = %s and id = %s",
                    (Jsonb(redacted["request"]), Jsonb(redacted["answer"]), row["family"], row["id"]),
                )
                changed += 1
    return changed


def _batches(connection: Connection, query: LiteralString, values: Row) -> Iterator[Sequence[Row]]:
    with connection.cursor(name="forgetting") as cursor:
        cursor.execute(query, values)
        while batch := cursor.fetchmany(BATCH_ROWS):
            yield batch


def _titles(connection: Connection, issue: UUID, title: str) -> frozenset[str]:
    rows = connection.execute(
        "select unnest(array[before, after]) as title from issue_changes where issue_id = %s and field = 'title'",
        (issue,),
    )
    return frozenset({title, *(row["title"] for row in rows if row["title"])} - {OMITTED})


_TEXTS = ("title", "description")
_NO_TEXTS = [name for name in issues.CONTENT if name not in _TEXTS]
"""Fields of an issue whose changes say nothing in its author's words; all others do, comments among them."""

# A digest that no import has: what an issue said cannot be guessed by it, and the next import counts it as changed.
_MARK_ISSUES_OF = (
    "update issues set content_digest = sha256(convert_to(id::text, 'UTF8')) where %s in (reporter_id, assignee_id)"
)
_UPDATE_ISSUE = (
    "update issues set title = %s, description = %s, content_digest = sha256(convert_to(id::text, 'UTF8')) "
    "where id = %s"
)
_ERASE_ISSUE = (
    "update issues set title = %s, description = '', content_digest = sha256(convert_to(id::text, 'UTF8')) "
    "where id = %s and (title <> %s or description <> '')"
)
_ERASE_CHANGES = (
    "update issue_changes set before = case when before is not null then %s end, "
    "after = case when after is not null then %s end "
    "where issue_id = %s and field <> all(%s) and (before <> %s or after <> %s)"
)

_ISSUES_MENTIONING = (
    "select id, title, description from issues "
    "where position(lower(%(name)s) in lower(title || ' ' || description)) > 0"
)
_CHANGES_MENTIONING = (
    "select id, field, before, after from issue_changes "
    "where position(lower(%(name)s) in lower(concat(before, ' ', after))) > 0"
)
# A name as JSON writes it, without the quotes around it.
_PREDICTIONS_MENTIONING = """
select family, id, issue_key, request, answer from predictions
where position(lower(substring(to_jsonb(%(name)s::text)::text from '^.(.*).$')) in lower(concat(request, answer))) > 0
"""
_PREDICTIONS_OF_ISSUE = """
select family, id, issue_key, request, answer from predictions
where family = 'delivery' and project_id = %(project)s
    and (issue_key = %(key)s or request ->> 'title' = any(%(titles)s) or exists (
        select from unnest(%(titles)s::text[]) as title where position(to_jsonb(title)::text in answer::text) > 0))
"""
