"""What the ledger names replaces what serves, or is refused with a reason."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from forecastle.errors import ConfigurationError, FeatureCodeError, ForecastleError, IntegrityError, ServerError
from forecastle.notify.alerts import Kind, close_alert, raise_alert
from forecastle.registry.cache import ModelCache
from forecastle.registry.declaration import ModelType
from forecastle.registry.loading import ServingVersion, load_serving, type_of
from forecastle.registry.served import approved_files, versions_served
from forecastle.store import promotions as ledger
from forecastle.store.database import Connection, Database
from forecastle.store.objects import Objects
from forecastle.store.promotions import LedgerStep

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Refusal:
    """A version that was not loaded, or whose files are no longer the approved ones; `reason` is a sentence."""

    label: str
    reason: str
    since: datetime


class Replacer:
    """Loads what the ledger names into the cache; what is refused replaces nothing, and log and `refused` say why."""

    def __init__(
        self, database: Database, objects: Objects, model_types: Mapping[str, ModelType], cache: ModelCache
    ) -> None:
        self._database = database
        self._objects = objects
        self._model_types = model_types
        self._cache = cache
        self.refused: dict[tuple[str, int], Refusal] = {}
        """By registered model and ledger step."""
        self._untold: set[tuple[str, int]] = set()
        """Those whose alert could not be written yet."""

    def load(self, model_name: str) -> None:
        """Let the newest version serve; where it is refused and nothing serves yet, the one before it.

        Raises IntegrityError, ConfigurationError and ServerError where the newest was not loaded.
        """
        with self._database.transaction() as connection:
            step = ledger.serving(connection, model_name)[model_name]
        try:
            self._put(model_name, step)
        except ServerError as error:
            logger.warning("%s is not loaded yet: %s", _label(step), error)
            raise
        except (IntegrityError, ConfigurationError) as error:
            self._refuse(model_name, step, error)
            if self._cache.step_of(model_name) is None:
                self._put_the_one_before(model_name)  # the alert stays: it is not what is in production
            raise
        self._tell(lambda connection: close_alert(connection, Kind.FILE_TAMPERED, model_name))

    def check(self, model_name: str, version: ServingVersion) -> None:
        """Hold the files of a version that serves against the ledger once more.

        Raises ServerError, ConfigurationError.
        """
        try:
            approved_files(self._objects, version.step.promotion)
        except IntegrityError as error:
            self._refuse(model_name, version.step, error)
        except ForecastleError as error:
            logger.warning("the files of %s cannot be looked at now: %s", version.label, error)
            raise
        else:
            self._cache.checked(model_name, version)
            if self.refused.pop((model_name, version.step.step), None):
                self._tell(lambda connection: close_alert(connection, Kind.FILE_TAMPERED, model_name))

    def _put(self, model_name: str, step: LedgerStep) -> None:
        model_type = type_of(self._model_types, model_name)
        assert model_type is not None  # others are not asked for
        loaded = load_serving(self._objects, model_type, step)
        if self._cache.put(model_name, loaded, is_project=model_name not in self._model_types):
            logger.info("%s serves", loaded.version.label)
        self.refused.pop((model_name, step.step), None)

    def _put_the_one_before(self, model_name: str) -> None:
        """After a restart, what the other workers go on serving from memory."""
        with self._database.transaction() as connection:
            confirmed = ledger.confirmed_steps(connection, model_name)
        served = versions_served(step.promotion for step in confirmed)
        by_promotion = {step.promotion.promotion_id: step for step in confirmed}
        for promotion in served[-2:-1]:
            try:
                self._put(model_name, by_promotion[promotion.promotion_id])
            except ForecastleError as error:
                logger.warning("nor is the version before it: %s", error)

    def _refuse(self, model_name: str, step: LedgerStep, error: ForecastleError) -> None:
        key, reason = (model_name, step.step), str(error)
        known, sentence = self.refused.get(key), f"not loaded, what served goes on serving: {reason}"
        if known is None or known.reason != reason:  # said once, not at every poll
            self.refused[key] = Refusal(_label(step), reason, datetime.now(UTC))
            logger.error(sentence)
            if isinstance(error, IntegrityError) and not isinstance(error, FeatureCodeError):
                self._untold.add(key)
        if key in self._untold and self._tell(
            lambda connection: raise_alert(connection, Kind.FILE_TAMPERED, model_name, sentence)
        ):
            self._untold.discard(key)

    def _tell(self, say: Callable[[Connection], None]) -> bool:
        """Whether it could be said: an alert that cannot be written now must not keep a version from serving."""
        try:
            self._database.retrying(say)
        except ServerError as error:
            logger.warning("an alert was not written: %s", error)
            return False
        return True


def _label(step: LedgerStep) -> str:
    return f"{step.promotion.model_name}/{step.promotion.to_version}"
