"""The list of dataset versions; their files lie among the objects."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from typing import LiteralString

from forecastle.store.database import Connection
from forecastle.store.identifiers import new_id


@dataclass(frozen=True)
class DatasetVersion:
    """Immutable training data; `span_from` and `span_until` are moments or ordinals, as `time_basis` says."""

    name: str
    version: int
    digest: str
    object_name: str
    rows: int
    clusters: int
    time_basis: str
    span_from: str
    span_until: str
    redacted_at: datetime | None = None
    """Text was erased from the file since: it holds the rows of `redacted_digest`, and the digest stays."""
    redacted_digest: str | None = None
    pending_digest: str | None = None
    """The file is being replaced by rows of this digest."""

    @property
    def digests(self) -> frozenset[str]:
        """Of the rows that the file may hold."""
        held = self.redacted_digest or self.digest
        return frozenset({held, self.pending_digest or held})


_COLUMNS: LiteralString = (
    "name, version, digest, object_name, rows, clusters, time_basis, span_from, span_until, redacted_at, "
    "redacted_digest, pending_digest"
)


def list_versions(connection: Connection) -> list[DatasetVersion]:
    """Every version of every name, in the order in which they were made."""
    return [
        DatasetVersion(**row)
        for row in connection.execute(f"select {_COLUMNS} from dataset_versions order by created_at, id")  # noqa: S608 - names of columns
    ]


def begin_redaction(connection: Connection, found: DatasetVersion, digest: str) -> None:
    """Say that the file is about to be replaced by one that holds the rows of `digest`."""
    connection.execute(
        "update dataset_versions set pending_digest = %s where name = %s and version = %s",
        (digest, found.name, found.version),
    )


def end_redaction(connection: Connection, found: DatasetVersion, digest: str) -> None:
    """Say that the file was replaced."""
    connection.execute(
        "update dataset_versions set redacted_at = now(), redacted_digest = %s, pending_digest = null "
        "where name = %s and version = %s",
        (digest, found.name, found.version),
    )


def find_redaction(connection: Connection, digest: str) -> datetime | None:
    """When text was erased from the rows of this digest, if it was."""
    row = connection.execute(
        "select max(redacted_at) as redacted_at from dataset_versions where digest = %s", (digest,)
    ).fetchone()
    return row["redacted_at"] if row else None


def find_by_digest(connection: Connection, name: str, digest: str) -> DatasetVersion | None:
    row = connection.execute(
        f"select {_COLUMNS} from dataset_versions where name = %s and digest = %s",  # noqa: S608 - names of columns
        (name, digest),
    ).fetchone()
    return None if row is None else DatasetVersion(**row)


def add_version(connection: Connection, found: DatasetVersion) -> DatasetVersion:
    """Add a version under the next number of its name; the number handed in does not count.

    Data that are there already, under the same digest, get no second version; the file holds them whole again, where
    text had been erased from it.
    """
    connection.execute("select pg_advisory_xact_lock(hashtextextended(%s, 1))", (found.name,))
    existing = find_by_digest(connection, found.name, found.digest)
    if existing is not None and existing.digests == {existing.digest}:
        return existing
    if existing is not None:
        connection.execute(
            "update dataset_versions set redacted_at = null, redacted_digest = null, pending_digest = null "
            "where name = %s and version = %s",
            (existing.name, existing.version),
        )
        return replace(existing, redacted_at=None, redacted_digest=None, pending_digest=None)
    row = connection.execute(
        "insert into dataset_versions (id, name, version, digest, object_name, rows, clusters, time_basis, span_from, "  # noqa: S608 - names of columns
        "span_until) values (%(id)s, %(name)s, "
        "(select coalesce(max(version), 0) + 1 from dataset_versions where name = %(name)s), %(digest)s, "
        "%(object_name)s, %(rows)s, %(clusters)s, %(time_basis)s, %(span_from)s, %(span_until)s) "
        f"returning {_COLUMNS}",
        {**found.__dict__, "id": new_id()},
    ).fetchone()
    assert row is not None
    return DatasetVersion(**row)
