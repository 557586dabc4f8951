"""The versions that a worker holds in memory, within a budget."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from forecastle.errors import ConfigurationError
from forecastle.registry.loading import Loaded, ServingVersion

MEGABYTE = 1024 * 1024
BUDGET_BYTES = 256 * MEGABYTE
LIFETIME_SECONDS = 3_600.0
"""A version whose files were not held against the ledger for so long is due."""


@dataclass(frozen=True)
class CachedVersion:
    """One version in memory, and what became of it there; times are UTC."""

    label: str
    is_project: bool
    size_bytes: int
    load_ms: float
    warm_ms: float
    loaded_at: datetime
    checked_at: datetime
    last_used_at: datetime | None
    hits: int


@dataclass(frozen=True)
class CacheStatistics:
    """What a worker holds, and how often it was asked for what it held (`hits`) or did not hold (`misses`)."""

    budget_bytes: int
    size_bytes: int
    hits: int
    misses: int
    evictions: int
    versions: tuple[CachedVersion, ...]


@dataclass
class _Entry:
    """`used` and `checked` are seconds of the cache's clock."""

    loaded: Loaded
    is_project: bool
    used: float
    checked: float
    hits: int = 0


class ModelCache:
    """Loaded versions by registered model; safe for any number of threads.

    Everybody's versions always stay. Those of projects go where the budget (bytes) is used up, the one that was not
    used for longest first. A version that is still answering a request lives until it has answered.
    """

    def __init__(self, budget_bytes: int = BUDGET_BYTES, clock: Callable[[], float] = time.monotonic) -> None:
        self._budget_bytes = budget_bytes
        self._clock = clock
        self._lock = threading.Lock()
        self._entries: dict[str, _Entry] = {}
        self._hits = self._misses = self._evictions = 0

    def find(self, model_name: str) -> ServingVersion | None:
        """The version to answer with, which counts as used now; None where it is not loaded."""
        with self._lock:
            entry = self._entries.get(model_name)
            if entry is None:
                self._misses += 1
                return None
            self._hits += 1
            entry.hits += 1
            entry.used = self._clock()
            return entry.loaded.version

    def step_of(self, model_name: str) -> int | None:
        """The ledger step of the version that is loaded, if one is."""
        entry = self._entries.get(model_name)
        return None if entry is None else entry.loaded.version.step.step

    def put(self, model_name: str, loaded: Loaded, is_project: bool) -> bool:
        """Let this version answer from now on, unless a later step of the ledger does already; whether it does.

        Raises ConfigurationError where a project's version is larger than what the budget leaves it.
        """
        with self._lock:
            current = self._entries.get(model_name)
            if current is not None and current.loaded.version.step.step > loaded.version.step.step:
                return False
            if is_project:
                self._require_room(loaded)
            now = self._clock()
            used = now if current is None else current.used
            self._entries[model_name] = _Entry(loaded, is_project, used, now)
            self._evict(model_name)
            return True

    def due(self) -> dict[str, ServingVersion]:
        """The versions whose files were not held against the ledger for LIFETIME_SECONDS."""
        with self._lock:
            before = self._clock() - LIFETIME_SECONDS
            return {name: entry.loaded.version for name, entry in self._entries.items() if entry.checked <= before}

    def checked(self, model_name: str, version: ServingVersion) -> None:
        """The files of this version are still the approved ones."""
        with self._lock:
            entry = self._entries.get(model_name)
            if entry is not None and entry.loaded.version is version:
                entry.checked = self._clock()

    def statistics(self) -> CacheStatistics:
        with self._lock:
            now, moment = datetime.now(UTC), self._clock()
            versions = tuple(
                _cached(entry, lambda then: now - timedelta(seconds=moment - then)) for entry in self._entries.values()
            )
            return CacheStatistics(
                self._budget_bytes, self._size_bytes, self._hits, self._misses, self._evictions, versions
            )

    @property
    def _size_bytes(self) -> int:
        return sum(entry.loaded.size_bytes for entry in self._entries.values())

    def _require_room(self, loaded: Loaded) -> None:
        everybodys = sum(entry.loaded.size_bytes for entry in self._entries.values() if not entry.is_project)
        room = self._budget_bytes - everybodys
        if loaded.size_bytes > room:
            raise ConfigurationError(
                f"{loaded.version.label} takes {loaded.size_bytes / MEGABYTE:.1f} MB, and beside everybody's versions "
                f"{max(0, room) / MEGABYTE:.1f} MB are left for projects; raise FORECASTLE_MODEL_CACHE_MB"
            )

    def _evict(self, newcomer: str) -> None:
        """Drop projects' versions until the budget holds; the newcomer has room once all others are gone."""
        excess = self._size_bytes - self._budget_bytes
        projects = [name for name, entry in self._entries.items() if entry.is_project and name != newcomer]
        for name in sorted(projects, key=lambda name: self._entries[name].used):
            if excess <= 0:
                break
            excess -= self._entries.pop(name).loaded.size_bytes
            self._evictions += 1


def _cached(entry: _Entry, at: Callable[[float], datetime]) -> CachedVersion:
    loaded = entry.loaded
    return CachedVersion(
        label=loaded.version.label,
        is_project=entry.is_project,
        size_bytes=loaded.size_bytes,
        load_ms=loaded.load_ms,
        warm_ms=loaded.warm_ms,
        loaded_at=loaded.loaded_at,
        checked_at=at(entry.checked),
        last_used_at=at(entry.used) if entry.hits else None,
        hits=entry.hits,
    )
