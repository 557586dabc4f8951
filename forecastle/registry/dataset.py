"""Records become rows, and rows an immutable dataset version."""

from __future__ import annotations

import hashlib
import io
import json
import math
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pyarrow as pa
import pyarrow.parquet as pq

from forecastle.errors import IntegrityError
from forecastle.records.issues import IssueRecord, as_of
from forecastle.registry.declaration import ModelType
from forecastle.registry.examples import Edit, Row
from forecastle.store import issues as issue_store
from forecastle.store.database import Database
from forecastle.store.datasets import DatasetVersion, add_version, begin_redaction, end_redaction
from forecastle.store.issues import Latest
from forecastle.store.objects import Objects
from forecastle.store.unlearning import unlearned_issues


@dataclass(frozen=True)
class TrainingRows:
    """Rows on one axis of time.

    `date`: seconds since 1970 (UTC). `ordinal`: the relative position in the project, from 0 to 1, because some
    project has no dates; an outcome counts as known at the project's next row. `unknown_when` counts outcomes
    that were left out because nobody knows when they became known.
    """

    time_basis: str
    rows: tuple[Row, ...]
    unknown_when: int = 0
    left_out_older: int = 0
    """Outcomes that were not read because there are enough later ones."""
    unlearned: int = 0
    """Issues of periods that are marked to be unlearned; with an outcome or not yet."""


@dataclass(frozen=True)
class Records:
    """Issues to learn from, and how many were left out: older ones, and those that are to be unlearned."""

    issues: Sequence[IssueRecord]
    left_out_older: int
    unlearned: int


MOST_ROWS = 100_000
"""The latest rows teach: older ones would cost memory, and tell little of today."""


def read_rows(
    database: Database, model_type: ModelType, project: UUID | None = None, most_rows: int = MOST_ROWS
) -> TrainingRows:
    """The latest rows with a known outcome in the store, of one project where given; clusters are project ids.

    Rows of periods that are marked to be unlearned are left out, also of what was known when others were asked.
    """
    return rows_of_records(model_type, read_records(database, model_type, project, most_rows))


def read_records(
    database: Database, model_type: ModelType, project: UUID | None = None, most_rows: int = MOST_ROWS
) -> Records:
    """The issues behind these rows."""
    with database.transaction() as connection:
        older = max(0, issue_store.count_outcomes(connection, model_type.target, project) - most_rows)
        latest = Latest(model_type.target, most_rows) if older else None
        left = unlearned_issues(connection, model_type.name, model_type.known_field, project)
        issues = issue_store.read_issues(connection, project, latest)
        return Records([issue for issue in issues if (issue.project_key, issue.key) not in left], older, len(left))


def rows_of_records(model_type: ModelType, found: Records) -> TrainingRows:
    rows = rows_of_issues(model_type, found.issues)
    return replace(rows, left_out_older=found.left_out_older, unlearned=found.unlearned)


def rows_of_issues(model_type: ModelType, issues: Iterable[IssueRecord]) -> TrainingRows:
    """Rows as they were asked: every field as of the issue's own first moment."""
    by_project: dict[str, list[IssueRecord]] = {}
    for issue in issues:
        if getattr(issue, model_type.target) is not None:
            by_project.setdefault(issue.project_key, []).append(issue)
    everything = [issue for project in by_project.values() for issue in project]
    dated = all(issue.time_basis == "date" for issue in everything)
    known_field = model_type.known_field
    rows: list[Row] = []
    for project in by_project.values():
        usable = [i for i in project if i.time_basis == "ordinal" or getattr(i, known_field) is not None]
        rows += _dated(model_type, usable) if dated else _relative(model_type, usable)
    return TrainingRows("date" if dated and rows else "ordinal", tuple(rows), len(everything) - len(rows))


def _dated(model_type: ModelType, issues: Sequence[IssueRecord]) -> Iterable[Row]:
    for issue in issues:
        assert issue.created_at is not None
        asked_at = issue.created_at.timestamp()
        # Points that were set at the creation (files often hold days only) are no part of the question itself.
        known_at = max(getattr(issue, model_type.known_field).timestamp(), math.nextafter(asked_at, math.inf))
        yield _row(model_type, issue, asked_at, known_at, datetime.timestamp)


def _relative(model_type: ModelType, issues: Sequence[IssueRecord]) -> Iterable[Row]:
    ordered = sorted(issues, key=lambda issue: (_created(issue), issue.ordinal))
    created = [_created(issue) for issue in ordered]

    def position_of(moment: datetime) -> float:
        return bisect_right(created, moment) / len(ordered)  # before the first row that was created later

    for position, issue in enumerate(ordered):
        known_at = (position + 1) / len(ordered)
        if issue.time_basis == "date":
            known_at = max(known_at, position_of(getattr(issue, model_type.known_field)))
        yield _row(model_type, issue, position / len(ordered), known_at, position_of)


def _created(issue: IssueRecord) -> datetime:
    """Undated issues stand before dated ones, by their ordinals: a date that nobody vouches for does not count."""
    return issue.created_at if issue.time_basis == "date" and issue.created_at else _EPOCH


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def _row(
    model_type: ModelType,
    issue: IssueRecord,
    asked_at: float,
    known_at: float,
    position_of: Callable[[datetime], float],
) -> Row:
    first = issue.created_at if issue.time_basis == "date" else issue.ordinal
    assert first is not None
    names = [name for name in model_type.request_type().model_fields if hasattr(IssueRecord, name)]
    request = _fields(as_of(issue, first), names)
    looks = [(known_at, issue)]  # an edit of an undated issue has no place in time: it is known once the outcome is
    if issue.time_basis == "date":
        later = _later_looks(issue, model_type.known_field)
        looks = [(max(position_of(moment), known_at), look) for moment, look in later]
    edits = tuple(_edits(request, looks, [name for name in names if name in model_type.looked_at_later]))
    return Row(
        issue.key, issue.project_key, asked_at, known_at, getattr(issue, model_type.target), request, edits=edits
    )  # fmt: skip


def _fields(issue: IssueRecord, names: Iterable[str]) -> dict[str, Any]:
    return {name: value for name in names if (value := getattr(issue, name)) is not None}


def _edits(
    request: Mapping[str, Any], looks: Iterable[tuple[float, IssueRecord]], names: Sequence[str]
) -> Iterator[Edit]:
    shown: Mapping[str, Any] = request
    for since, look in looks:
        now = _fields(look, names)
        if edited := {name: now.get(name) for name in names if now.get(name) != shown.get(name)}:
            yield Edit(since, edited)
        shown = now


def _later_looks(issue: IssueRecord, known_field: str) -> Iterator[tuple[datetime, IssueRecord]]:
    """How a dated issue looks once its outcome is known, and after everything that became known of it later."""
    assert issue.created_at is not None
    known = max(getattr(issue, known_field), issue.created_at)
    later = [issue.completed_at, *(change.changed_at for change in issue.changes)]
    for moment in sorted({known, *(moment for moment in later if moment is not None and moment > known)}):
        yield moment, as_of(issue, moment)


def save_version(database: Database, objects: Objects, name: str, found: TrainingRows) -> DatasetVersion:
    """Keep rows as a Parquet file under their digest; the same rows are the same version."""
    digest = digest_of_rows(found)
    object_name = f"datasets/{name}/{digest}.parquet"
    objects.put(object_name, _to_parquet(found))
    asked = [row.asked_at for row in found.rows]
    with database.transaction() as connection:
        return add_version(
            connection,
            DatasetVersion(
                name=name,
                version=0,
                digest=digest,
                object_name=object_name,
                rows=len(found.rows),
                clusters=len({row.cluster for row in found.rows}),
                time_basis=found.time_basis,
                span_from=_moment(min(asked), found.time_basis) if asked else "",
                span_until=_moment(max(asked), found.time_basis) if asked else "",
            ),
        )


def load_version(objects: Objects, version: DatasetVersion) -> TrainingRows:
    """The rows of a version, exactly as they were saved, or as they are since text was erased from them.

    Raises IntegrityError where the file holds others, NotFoundError where there is none.
    """
    try:
        table = pq.read_table(io.BytesIO(objects.get(version.object_name)))
        rows = [_from_parquet(item) for item in table.to_pylist()]
    except (pa.ArrowException, KeyError, TypeError, ValueError):
        raise IntegrityError(f"{version.object_name} is damaged; train anew to save its rows again") from None
    found = TrainingRows(version.time_basis, tuple(rows))
    if digest_of_rows(found) not in version.digests:
        raise IntegrityError(
            f"{version.object_name} does not hold the rows of its digest; train anew to save them again"
        )
    return found


def redact_version(
    database: Database, objects: Objects, version: DatasetVersion, redact: Callable[[Row], Row], dry_run: bool
) -> bool:
    """Erase text from the file of a version, in its place; returns whether it held any. The digest of before stays.

    The new digest stands beside it before the file is replaced, so that a process that is killed leaves a version that
    loads. Raises as `load_version` does.
    """
    found = load_version(objects, version)
    redacted = replace(found, rows=tuple(redact(row) for row in found.rows))
    changed = redacted.rows != found.rows
    if dry_run or not (changed or version.pending_digest):
        return changed
    digest = digest_of_rows(redacted)
    with database.transaction() as connection:
        begin_redaction(connection, version, digest)
    objects.put(version.object_name, _to_parquet(redacted))
    with database.transaction() as connection:
        end_redaction(connection, version, digest)
    return changed


def digest_of_rows(found: TrainingRows) -> str:
    """SHA-256 over the content of every row in order; the file format does not count."""
    digest = hashlib.sha256(found.time_basis.encode())
    for row in found.rows:
        digest.update(json.dumps(asdict(row), sort_keys=True).encode())
    return digest.hexdigest()


def _to_parquet(found: TrainingRows) -> bytes:
    columns: Mapping[str, list[Any]] = {
        name: [getattr(row, name) for row in found.rows]
        for name in ("key", "cluster", "asked_at", "known_at", "target")
    }
    requests = [json.dumps(row.request, sort_keys=True, ensure_ascii=False) for row in found.rows]
    edits = [json.dumps(row.edits, sort_keys=True, ensure_ascii=False) for row in found.rows]
    buffer = io.BytesIO()
    pq.write_table(pa.table({**columns, "request": requests, "edits": edits}), buffer, compression="zstd")
    return buffer.getvalue()


def _from_parquet(item: Mapping[str, Any]) -> Row:
    edits = tuple(Edit(*edit) for edit in json.loads(item["edits"]))
    return Row(**{**item, "request": json.loads(item["request"]), "edits": edits})


def _moment(position: float, time_basis: str) -> str:
    return datetime.fromtimestamp(position, UTC).isoformat() if time_basis == "date" else f"{position:.4f}"
