"""Loaded versions within a budget: what stays, what goes, what is due."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forecastle.errors import ConfigurationError
from forecastle.registry.cache import LIFETIME_SECONDS, MEGABYTE, ModelCache
from forecastle.registry.loading import Loaded, ServingVersion
from forecastle.store.promotions import LedgerStep, Promotion

EVERYBODYS = "delivery.effort"


@dataclass
class Clock:
    now: float = 1_000.0

    def __call__(self) -> float:
        return self.now


def loaded(name: str, size: int = 10, step: int = 1) -> Loaded:
    promotion = Promotion(UUID(int=step), "promote", name, None, step, "rita", "tested", "UNGATED", False, (), {})
    nothing: Any = None
    confirmed = LedgerStep(step, "confirmed", datetime.now(UTC), "hash", promotion)
    version = ServingVersion(nothing, confirmed, "digest")
    return Loaded(version, size, 2.0, 1.0, datetime.now(UTC))


def held(cache: ModelCache) -> set[str]:
    return {version.label.rpartition("/")[0] for version in cache.statistics().versions}


def test_the_projects_version_that_was_not_used_for_longest_goes_first() -> None:
    clock = Clock()
    cache = ModelCache(35, clock)
    cache.put(EVERYBODYS, loaded(EVERYBODYS, 5), is_project=False)
    for name in ("a", "b", "c"):
        clock.now += 1
        cache.put(name, loaded(name), is_project=True)
    clock.now += 1
    cache.find("a")
    clock.now += 1
    cache.put("d", loaded("d"), is_project=True)
    assert held(cache) == {EVERYBODYS, "a", "c", "d"}
    cache.put("e", loaded("e", 20), is_project=True)
    assert held(cache) == {EVERYBODYS, "d", "e"}
    assert cache.statistics().evictions == 3


def test_everybodys_versions_stay_and_push_projects_out() -> None:
    cache = ModelCache(20)
    cache.put("a", loaded("a"), is_project=True)
    cache.put(EVERYBODYS, loaded(EVERYBODYS, 15), is_project=False)
    cache.put("delivery.story_points", loaded("delivery.story_points", 15), is_project=False)
    assert held(cache) == {EVERYBODYS, "delivery.story_points"}
    assert cache.statistics().size_bytes == 30


def test_a_projects_version_that_can_never_fit_is_refused_and_drops_nothing() -> None:
    cache = ModelCache(3 * MEGABYTE)
    cache.put(EVERYBODYS, loaded(EVERYBODYS, MEGABYTE), is_project=False)
    cache.put("a", loaded("a", MEGABYTE), is_project=True)
    with pytest.raises(ConfigurationError, match=r"b/1 takes 2\.5 MB, .* 2\.0 MB are left.*FORECASTLE_MODEL_CACHE_MB"):
        cache.put("b", loaded("b", MEGABYTE * 5 // 2), is_project=True)
    assert held(cache) == {EVERYBODYS, "a"}


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(1, 40), st.booleans()), max_size=40))
def test_the_budget_holds_and_who_is_kept_was_used_later_than_who_went(
    events: list[tuple[int, int, bool]],
) -> None:
    """Beside a simple account of what was put and used when."""
    clock = Clock()
    cache = ModelCache(50, clock)
    cache.put(EVERYBODYS, loaded(EVERYBODYS), is_project=False)
    account: dict[str, int] = {}  # sizes, the one that was not used for longest first
    for step, (number, size, is_use) in enumerate(events, 1):
        clock.now += 1
        name = str(number)
        if is_use:
            assert (cache.find(name) is not None) == (name in account)
            if name in account:
                account[name] = account.pop(name)
            continue
        cache.put(name, loaded(name, size, step), is_project=True)
        account[name] = size
        while sum(account.values()) > 40:
            del account[next(other for other in account if other != name)]
        assert held(cache) == {EVERYBODYS, *account}
        assert cache.statistics().size_bytes <= 50


def test_a_version_of_an_earlier_step_that_comes_late_replaces_nothing() -> None:
    cache = ModelCache()
    assert cache.put(EVERYBODYS, loaded(EVERYBODYS, step=2), is_project=False)
    assert not cache.put(EVERYBODYS, loaded(EVERYBODYS, step=1), is_project=False)
    assert cache.step_of(EVERYBODYS) == 2


def test_what_was_not_checked_for_its_lifetime_is_due_until_it_was() -> None:
    clock = Clock()
    cache = ModelCache(clock=clock)
    cache.put("a", loaded("a"), is_project=True)
    clock.now += LIFETIME_SECONDS - 1
    cache.put("b", loaded("b"), is_project=True)
    assert cache.due() == {}
    clock.now += 1
    ((name, version),) = cache.due().items()
    assert name == "a"
    cache.put("a", loaded("a", step=2), is_project=True)
    cache.checked("a", version)  # another one is there by now: it was loaded, and so checked, a moment ago
    clock.now += LIFETIME_SECONDS
    assert set(cache.due()) == {"a", "b"}
    for name, version in cache.due().items():
        cache.checked(name, version)
    assert cache.due() == {}


def test_the_statistics_count_what_was_asked_for_and_say_when() -> None:
    clock = Clock()
    cache = ModelCache(clock=clock)
    cache.put("a", loaded("a"), is_project=True)
    (before,) = cache.statistics().versions
    assert (before.hits, before.last_used_at) == (0, None)
    for name in ("a", "a", "b"):
        cache.find(name)
    clock.now += 60
    found = cache.statistics()
    (version,) = found.versions
    assert (found.hits, found.misses, found.evictions, found.size_bytes) == (2, 1, 0, 10)
    assert (version.label, version.hits, version.load_ms, version.warm_ms) == ("a/1", 2, 2.0, 1.0)
    assert version.last_used_at is not None
    assert (datetime.now(UTC) - version.last_used_at).total_seconds() == pytest.approx(60, abs=5)
