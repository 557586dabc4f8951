"""What is in production, loaded from the ledger and the objects alone, and kept current."""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping
from dataclasses import dataclass

from forecastle.errors import ForecastleError, IntegrityError, NothingServesError
from forecastle.registry.bundle import FOLDER, digest_of_files, load_bundle
from forecastle.registry.declaration import ModelType
from forecastle.registry.predictor import Predictor
from forecastle.registry.promotions import approved_files
from forecastle.store import promotions as ledger
from forecastle.store.database import Database
from forecastle.store.objects import Objects
from forecastle.store.promotions import LedgerStep

logger = logging.getLogger(__name__)

POLL_SECONDS = 10.0
"""How long a promotion whose notice was lost may go unseen."""


@dataclass(frozen=True)
class ServingVersion:
    """A version that serves: what answers, and the ledger step that let it."""

    predictor: Predictor
    step: LedgerStep
    bundle_digest: str

    @property
    def label(self) -> str:
        return f"{self.step.promotion.model_name}/{self.step.promotion.to_version}"


def load_serving(objects: Objects, model_type: ModelType, step: LedgerStep) -> ServingVersion:
    """Load what a ledger step approved. Raises IntegrityError where a file is not the one that was approved."""
    files = approved_files(objects, step.promotion)
    bundle_files = {
        name.removeprefix(f"{FOLDER}/"): content for name, content in files.items() if name.startswith(f"{FOLDER}/")
    }
    predictor = Predictor.of(model_type, load_bundle(model_type, bundle_files))
    return ServingVersion(predictor, step, digest_of_files(bundle_files))


class ServingModels:
    """The versions in production, by registered model; follows the ledger in a thread of its own.

    A version that does not load replaces nothing: the one that served goes on serving, and the log says why.
    """

    def __init__(self, database: Database, objects: Objects, model_types: Mapping[str, ModelType]) -> None:
        self._database = database
        self._objects = objects
        self._model_types = model_types
        self._serving: Mapping[str, ServingVersion] = {}
        self._refused: dict[str, tuple[int, str]] = {}
        self._stopped = threading.Event()

    def start(self) -> None:
        """Load what serves now, then follow promotions until `stop`."""
        try:
            self.refresh()
        except ForecastleError as error:  # the database may come up after the façade does
            logger.warning("nothing is loaded yet: %s", error)
        threading.Thread(target=self._follow, name="promotions", daemon=True).start()

    def stop(self) -> None:
        self._stopped.set()

    def for_cluster(self, model_type: ModelType, cluster: str) -> ServingVersion:
        """The project's own version, else everybody's. Raises NothingServesError where neither is in production."""
        serving = self._serving
        found = serving.get(f"{model_type.name}.{cluster}") or serving.get(model_type.name)
        if found is None and model_type.name in self._refused:
            raise NothingServesError(f"what is in production was not loaded: {self._refused[model_type.name][1]}")
        if found is None:
            raise NothingServesError(
                f"no version of {model_type.name} is in production; train one and promote it with "
                f"`forecastle models promote {model_type.name} VERSION`"
            )
        return found

    def refresh(self) -> None:
        """Bring what is loaded in line with the ledger. Raises ServerError where the database does not answer."""
        with self._database.transaction() as connection:
            steps = ledger.serving(connection)
        serving = dict(self._serving)
        for name, step in steps.items():
            current = serving.get(name)
            if current is None or current.step.step != step.step:
                self._replace(serving, name, step)
        self._serving = serving  # one assignment: a request sees the old or the new, never a mixture

    def _replace(self, serving: dict[str, ServingVersion], name: str, step: LedgerStep) -> None:
        model_type = self._model_types.get(".".join(name.split(".")[:2]))
        if model_type is None or self._refused.get(name, (0, ""))[0] == step.step:
            return
        try:
            serving[name] = load_serving(self._objects, model_type, step)
            logger.info("%s serves", serving[name].label)
        except IntegrityError as error:
            self._refused[name] = (step.step, str(error))  # said once, not at every poll
            logger.error("not loaded, what served goes on serving: %s", error)  # noqa: TRY400 - the sentence is all

    def _follow(self) -> None:
        while not self._stopped.is_set():
            try:
                with self._database.listening(ledger.CHANNEL) as connection:
                    self.refresh()  # what happened before the listening began
                    while not self._stopped.is_set():
                        for _ in connection.notifies(timeout=POLL_SECONDS, stop_after=1):
                            pass
                        self.refresh()
            except Exception:  # noqa: BLE001 - the thread must outlive whatever the database does
                logger.warning("promotions are not heard now; trying again")
                self._stopped.wait(1.0)
