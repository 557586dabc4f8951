"""Old versions that never served, and data sets that nobody names any more: what is removed, and what stays and why.

A version goes in three steps, after each of which there may be a crash: its run is marked, the version is deleted from
the registry, and marked runs that no version names are deleted with their files. The next archiving goes on.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from forecastle.registry.cleanup import Cleanup
from forecastle.registry.mlflow_rest import Version
from forecastle.store import references
from forecastle.store.database import Connection, Database
from forecastle.store.objects import Objects
from forecastle.store.promotions import locked
from forecastle.store.references import DatasetFile, Logged

KEPT_VERSIONS = 3
KEPT = timedelta(days=90)


@dataclass(frozen=True)
class Decision:
    """A version, and why it stays; None where it is removed."""

    version: Version
    stays_because: str | None


@dataclass(frozen=True)
class Plan:
    """Every version with what becomes of it, the dataset versions that are removed, and what predictions name."""

    versions: tuple[Decision, ...]
    datasets: tuple[DatasetFile, ...]
    logged: Logged

    @property
    def removed(self) -> list[Version]:
        return [decision.version for decision in self.versions if decision.stays_because is None]


@dataclass(frozen=True)
class Archived:
    """How many were removed; `runs` counts those whose files are gone, of this or an earlier archiving."""

    versions: int
    runs: int
    datasets: int


def decide(versions: Sequence[Version], named: Collection[tuple[str, int]], moment: datetime) -> list[Decision]:
    """What becomes of each version; `named` are those that the ledger or a logged prediction names."""
    newer: Counter[str] = Counter()
    reasons: list[tuple[Version, str | None]] = []
    for version in sorted(versions, key=lambda one: (one.name, -one.version)):
        reasons.append((version, _stays_because(version, newer[version.name], named, moment)))
        newer[version.name] += 1
    needed = {version.run_id for version, reason in reasons if reason is not None and version.run_id}
    shared = "its run has another version, which stays"
    return [Decision(v, shared if reason is None and v.run_id in needed else reason) for v, reason in reasons]


def _stays_because(version: Version, newer: int, named: Collection[tuple[str, int]], moment: datetime) -> str | None:
    if newer < KEPT_VERSIONS:
        return f"one of the last {KEPT_VERSIONS}"
    if (version.name, version.version) in named:
        return "the ledger or a logged prediction names it"
    if version.aliases:
        return f"alias {', '.join(version.aliases)}"
    age = moment - datetime.fromtimestamp(version.created_at_ms / 1000, UTC)
    return f"made {age.days} days ago, {KEPT.days} are kept" if age <= KEPT else None


@dataclass(frozen=True)
class Archive:
    """Removes, as of `moment`, what nobody needs any more."""

    database: Database
    objects: Objects
    mlflow: Cleanup
    moment: datetime
    is_ours: Callable[[str], bool]
    """Knows our registered models: an MLflow server may hold those of others as well."""

    def plan(self) -> Plan:
        """What would be removed now. Raises ServerError."""
        with self.database.transaction() as connection:
            logged = references.read_logged(connection)
        return self._plan(logged)

    def _plan(self, logged: Logged) -> Plan:
        versions = [version for version in self.mlflow.list_versions() if self.is_ours(version.name)]
        with self.database.transaction() as connection:
            named = _named_by_ledger(connection, versions) | {
                (one.name, one.version) for one in versions if logged.names(one.name, one.version, one.run_id)
            }
            decisions = decide(versions, named, self.moment)
            kept = {d.version.tags.get("data.digest", "") for d in decisions if d.stays_because is not None}
            datasets = references.unnamed_datasets(connection, self.moment - KEPT, kept | logged.digests)
        return Plan(tuple(decisions), tuple(datasets), logged)

    def remove(self, plan: Plan) -> Archived:
        """Remove what the plan names, unless somebody has come to need it since. Raises ServerError."""
        versions = sum(self._remove(version) for version in plan.removed)
        runs = self.mlflow.delete_archived_runs()
        datasets = self._plan(plan.logged).datasets
        for dataset in datasets:
            with self.database.transaction() as connection:  # a row without its file would be worse than both
                references.delete_dataset(connection, dataset)
                self.objects.delete(dataset.object_name)
        return Archived(versions, runs, len(datasets))

    def _remove(self, version: Version) -> bool:
        """Under the lock of promotions: who promotes it now either was first, or finds no version."""
        with self.database.transaction() as connection, locked(connection, version.name):
            if _named_by_ledger(connection, [version]):
                return False
            connection.commit()  # nothing is left open while MLflow works
            return self.mlflow.archive_version(version.name, version.version)


def _named_by_ledger(connection: Connection, versions: Sequence[Version]) -> set[tuple[str, int]]:
    return references.named_by_ledger(connection, [(one.name, one.version, one.run_id) for one in versions])
