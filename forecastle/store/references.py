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


def named_versions(connection: Connection, asked: Sequence[tuple[str, int, str]]) -> set[tuple[str, int]]:
    """Of these versions (name, version, run id), those that a step of the ledger or a logged prediction names.

    Reads the predictions once, however many versions are asked for.
    """
    if not asked:
        return set()
    names, versions, runs = zip(*asked, strict=True)
    rows = connection.execute(
        "with used as materialized (select distinct model_name, model_version, run_id from predictions) "
        "select name, version from unnest(%(names)s::text[], %(versions)s::int[], %(runs)s::text[]) "
        "as asked (name, version, run_id) where exists (select 1 from promotions where "
        "(model_name = name and version in (from_version, to_version)) or provenance ->> 'run_id' = asked.run_id) "
        "or exists (select 1 from used "
        "where (model_name = name and model_version = version) or used.run_id = asked.run_id)",
        {"names": list(names), "versions": list(versions), "runs": list(runs)},
    )
    return {(row["name"], row["version"]) for row in rows}


def unnamed_datasets(connection: Connection, before: datetime, named: Collection[str]) -> list[DatasetFile]:
    """Dataset versions made before this moment that are not the newest of their name and that nobody names.

    That is neither the ledger, nor a logged prediction, nor whoever names the digests `named`.
    """
    rows = connection.execute(
        "with used as materialized (select distinct dataset_digest as digest from predictions) "
        "select name, version, object_name from dataset_versions as old where created_at < %(before)s "
        "and version < (select max(version) from dataset_versions as every where every.name = old.name) "
        "and digest <> all(%(named)s) and digest not in (select digest from used) "
        "and not exists (select 1 from promotions where old.digest in "
        "(provenance ->> 'data.digest', provenance ->> 'dataset.digest')) "  # steps of before name it so
        "order by name, version",
        {"before": before, "named": list(named)},
    )
    return [DatasetFile(**row) for row in rows]


def delete_dataset(connection: Connection, dataset: DatasetFile) -> None:
    connection.execute("delete from dataset_versions where name = %s and version = %s", (dataset.name, dataset.version))
