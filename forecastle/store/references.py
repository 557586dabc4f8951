"""What the ledger and the logged predictions name, and what nobody names any more."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime

from forecastle.store.database import Connection


@dataclass(frozen=True)
class DatasetFile:
    """A dataset version, and where its file lies."""

    name: str
    version: int
    object_name: str


@dataclass(frozen=True)
class Logged:
    """What logged predictions name: versions by name and number, runs, and digests of data."""

    versions: frozenset[tuple[str, int]]
    runs: frozenset[str]
    digests: frozenset[str]

    def names(self, model_name: str, version: int, run_id: str) -> bool:
        return (model_name, version) in self.versions or run_id in self.runs


def read_logged(connection: Connection) -> Logged:
    """Reads the whole log of predictions: once for however many versions and dataset versions are looked at.

    What a prediction names, the ledger had named before: only what is served is logged. So nobody who asks the ledger
    anew has to read the log anew.
    """
    rows = connection.execute(
        "select distinct model_name, model_version, run_id, dataset_digest from predictions"
    ).fetchall()
    return Logged(
        frozenset((row["model_name"], row["model_version"]) for row in rows),
        frozenset(row["run_id"] for row in rows),
        frozenset(row["dataset_digest"] for row in rows),
    )


def named_by_ledger(connection: Connection, asked: Sequence[tuple[str, int, str]]) -> set[tuple[str, int]]:
    """Of these versions (name, version, run id), those that a step of the ledger names."""
    if not asked:
        return set()
    names, versions, runs = zip(*asked, strict=True)
    rows = connection.execute(
        "select name, version from unnest(%(names)s::text[], %(versions)s::int[], %(runs)s::text[]) "
        "as asked (name, version, run_id) where exists (select 1 from promotions where "
        "(model_name = name and version in (from_version, to_version)) or provenance ->> 'run_id' = asked.run_id)",
        {"names": list(names), "versions": list(versions), "runs": list(runs)},
    )
    return {(row["name"], row["version"]) for row in rows}


def unnamed_datasets(connection: Connection, before: datetime, named: Collection[str]) -> list[DatasetFile]:
    """Dataset versions made before this moment that are not the newest of their name and that nobody names.

    That is neither the ledger nor whoever names the digests `named`.
    """
    rows = connection.execute(
        "select name, version, object_name from dataset_versions as old where created_at < %(before)s "
        "and version < (select max(version) from dataset_versions as every where every.name = old.name) "
        "and digest <> all(%(named)s) and not exists (select 1 from promotions where old.digest in "
        "(provenance ->> 'data.digest', provenance ->> 'dataset.digest')) "  # steps of before name it so
        "order by name, version",
        {"before": before, "named": list(named)},
    )
    return [DatasetFile(**row) for row in rows]


def delete_dataset(connection: Connection, dataset: DatasetFile) -> None:
    connection.execute("delete from dataset_versions where name = %s and version = %s", (dataset.name, dataset.version))
