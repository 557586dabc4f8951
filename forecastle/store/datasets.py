"""The list of dataset versions; their files lie among the objects."""

from __future__ import annotations

from dataclasses import dataclass

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


def find_by_digest(connection: Connection, name: str, digest: str) -> DatasetVersion | None:
    row = connection.execute(
        "select name, version, digest, object_name, rows, clusters, time_basis, span_from, span_until "
        "from dataset_versions where name = %s and digest = %s",
        (name, digest),
    ).fetchone()
    return None if row is None else DatasetVersion(**row)


def add_version(connection: Connection, found: DatasetVersion) -> DatasetVersion:
    """Add a version under the next number of its name; the number handed in does not count.

    Data that are there already, under the same digest, get no second version.
    """
    connection.execute("select pg_advisory_xact_lock(hashtextextended(%s, 1))", (found.name,))
    existing = find_by_digest(connection, found.name, found.digest)
    if existing is not None:
        return existing
    row = connection.execute(
        "insert into dataset_versions (id, name, version, digest, object_name, rows, clusters, time_basis, span_from, "
        "span_until) values (%(id)s, %(name)s, "
        "(select coalesce(max(version), 0) + 1 from dataset_versions where name = %(name)s), %(digest)s, "
        "%(object_name)s, %(rows)s, %(clusters)s, %(time_basis)s, %(span_from)s, %(span_until)s) "
        "returning name, version, digest, object_name, rows, clusters, time_basis, span_from, span_until",
        {**found.__dict__, "id": new_id()},
    ).fetchone()
    assert row is not None
    return DatasetVersion(**row)
