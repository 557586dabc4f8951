"""What is in production, loaded from the ledger and the objects alone, and kept current."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Mapping
from concurrent.futures import TimeoutError as LateError
from concurrent.futures import wait
from dataclasses import dataclass

from forecastle.errors import ForecastleError, NothingServesError, ServerError
from forecastle.registry.cache import CacheStatistics, ModelCache
from forecastle.registry.declaration import ModelType
from forecastle.registry.flights import Flight, Flights
from forecastle.registry.following import Follower
from forecastle.registry.loading import ServingVersion, type_of
from forecastle.registry.replacing import Refusal, Replacer
from forecastle.store import promotions as ledger
from forecastle.store.database import Database
from forecastle.store.objects import Objects

__all__ = ["ServingModels", "ServingStatistics", "ServingVersion"]

logger = logging.getLogger(__name__)

LOADING_THREADS = 2
WAIT_SECONDS = 1.0
"""How long requests wait for the first load of a version, counted from the first of them."""
RETRY_SECONDS = 10.0
"""How long requests do not try again to load a version that was not loaded."""


@dataclass(frozen=True)
class ServingStatistics:
    """What this process serves; `in_production` counts registered models, loaded or not."""

    cache: CacheStatistics
    refused: tuple[Refusal, ...]
    in_production: int


class ServingModels:
    """The versions in production, by registered model; follows the ledger in a thread of its own.

    Everybody's versions are loaded before anybody asks, a project's own when it is asked for first. A version serves
    once it has answered its model type's example. One that is refused replaces nothing: what served goes on serving.
    """

    def __init__(
        self,
        database: Database,
        objects: Objects,
        model_types: Mapping[str, ModelType],
        cache: ModelCache | None = None,
    ) -> None:
        self._database = database
        self._objects = objects
        self._model_types = model_types
        self._cache = cache or ModelCache()
        self._replacer = Replacer(database, objects, model_types, self._cache)
        self._flights: Flights[None] = Flights(LOADING_THREADS, "loading")
        self._follower = Follower(database, ledger.CHANNEL, self._follow)
        self._looking = threading.Lock()
        self._newest: dict[str, int] = {}
        self._failed: dict[str, tuple[int, float]] = {}

    @property
    def model_types(self) -> Mapping[str, ModelType]:
        """Whose versions are loaded, by name; those of others are left alone."""
        return self._model_types

    @property
    def objects(self) -> Objects:
        """Where the files of versions lie."""
        return self._objects

    def start(self) -> None:
        """Load what serves now, then follow promotions until `stop`."""
        try:
            self.refresh()
        except ForecastleError as error:  # the database may come up after the façade does
            logger.warning("not everything is loaded yet: %s", error)
        self._follower.start()

    def stop(self) -> None:
        self._follower.stop()

    def for_cluster(self, model_type: ModelType, cluster: str) -> ServingVersion:
        """The project's own version, else everybody's.

        A project's own is loaded when it is asked for first, everybody's may be on its way for the first time. Requests
        wait WAIT_SECONDS in all; then everybody's answers until the project's is there. Raises NothingServesError where
        neither is in production, or what is was refused; ServerError where it is still on its way.
        """
        own, until = f"{model_type.name}.{cluster}", time.monotonic() + WAIT_SECONDS
        for name in (own, model_type.name):
            if name in self._newest:
                found = self._cache.find(name) or self._load_now(name, until)
                if found is not None:
                    return found
        raise self._nothing_serves(own if own in self._newest else model_type.name)

    def at_once(self, model_type: ModelType, cluster: str) -> ServingVersion | None:
        """As `for_cluster`, without waiting for anything: None where what should answer is not loaded."""
        own = f"{model_type.name}.{cluster}"
        return self._cache.find(own if own in self._newest else model_type.name)

    def refresh(self) -> None:
        """Bring what is loaded in line with the ledger. Raises ServerError where the database or S3 does not answer."""
        futures = [flight.future for flight in self._look()]
        wait(futures)
        for error in (future.exception() for future in futures):
            if isinstance(error, ServerError):
                raise error

    def check_again(self) -> None:
        """Hold the files of versions that are due against the ledger once more. Raises ServerError, ConfigurationError.

        A version whose files are no longer the approved ones goes on serving from memory, and is refused by name.
        """
        for model_name, version in self._cache.due().items():
            self._replacer.check(model_name, version)

    def statistics(self) -> ServingStatistics:
        refused = [refusal for key, refusal in list(self._replacer.refused.items()) if self._counts(*key)]
        return ServingStatistics(self._cache.statistics(), tuple(refused), len(self._newest))

    def _follow(self, model_name: str | None) -> None:
        self._look(model_name)  # loads go on beside: a slow one must not keep the others from being heard of
        if model_name is None:
            self._flights.begin("check", self.check_again)

    def _look(self, model_name: str | None = None) -> list[Flight[None]]:
        """Read what is newest, and begin to load what should be in memory and is not."""
        with self._looking:
            with self._database.transaction() as connection:
                found = ledger.newest_steps(connection, model_name)
            newest = {name: step for name, step in found.items() if type_of(self._model_types, name)}
            self._newest.update(newest)
        return [self._begin(name, step) for name, step in newest.items() if self._is_behind(name, step)]

    def _is_behind(self, model_name: str, step: int) -> bool:
        loaded = self._cache.step_of(model_name)
        return loaded != step and (loaded is not None or model_name in self._model_types)

    def _begin(self, model_name: str, step: int) -> Flight[None]:
        return self._flights.begin((model_name, step), lambda: self._load(model_name, step))

    def _load(self, model_name: str, step: int) -> None:
        if self._cache.step_of(model_name) != step:  # else it came in while this was asked for
            self._replacer.load(model_name)

    def _load_now(self, model_name: str, until: float) -> ServingVersion | None:
        """A version that is not loaded; None where it is refused or takes longer than `until` (monotonic seconds)."""
        step = self._newest[model_name]
        failed, again = self._failed.get(model_name, (None, 0.0))
        if failed != step or time.monotonic() >= again:
            try:
                self._begin(model_name, step).wait(WAIT_SECONDS, until)
            except LateError:
                return None
            except ForecastleError:
                self._failed[model_name] = (step, time.monotonic() + RETRY_SECONDS)
        return None if self._cache.step_of(model_name) is None else self._cache.find(model_name)

    def _nothing_serves(self, model_name: str) -> ForecastleError:
        step = self._newest.get(model_name)
        if step is None:
            return NothingServesError(
                f"no version of {model_name} is in production; train one and promote it with "
                f"`forecastle models promote {model_name} VERSION`"
            )
        refusal = self._replacer.refused.get((model_name, step))
        if refusal is None:
            return ServerError(f"what is in production of {model_name} is not loaded yet")
        return NothingServesError(f"what is in production was not loaded: {refusal.reason}")

    def _counts(self, model_name: str, step: int) -> bool:
        """Whether this step of the ledger is one that serves, or should."""
        return step in (self._newest.get(model_name), self._cache.step_of(model_name))
