"""What is in production, loaded from the ledger and the objects alone, and kept current."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from forecastle.errors import ForecastleError, IntegrityError, NotFoundError, NothingServesError
from forecastle.notify.alerts import Kind, close_alert, raise_alert
from forecastle.registry.bundle import FOLDER, digest_of_files, load_bundle
from forecastle.registry.declaration import ModelType
from forecastle.registry.predictor import Predictor
from forecastle.registry.promotions import VersionFiles, approved_files
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
    files = _bundle_files(approved_files(objects, step.promotion))
    return ServingVersion(Predictor.of(model_type, load_bundle(model_type, files)), step, digest_of_files(files))


def loadable(model_types: Mapping[str, ModelType]) -> Callable[[str, VersionFiles], None]:
    """The check of a promotion: the version's bundle loads here, and is the one that its training registered.

    It raises NotFoundError for an unknown model type, IntegrityError and FeatureCodeError like `load_bundle`.
    """

    def check(model_name: str, found: VersionFiles) -> None:
        model_type = type_of(model_types, model_name)
        if model_type is None:
            raise NotFoundError(f"{model_name} belongs to no model type; there are: {', '.join(model_types)}")
        files = _bundle_files(found.files)
        load_bundle(model_type, files)
        if digest_of_files(files) != found.provenance.get("bundle.digest"):
            raise IntegrityError(
                f"{model_name} version {found.version}: its bundle was changed after the training; train a new version"
            )

    return check


def type_of(model_types: Mapping[str, ModelType], model_name: str) -> ModelType | None:
    """The model type of a registered model: a project's own has the project's id behind its name."""
    return model_types.get(".".join(model_name.split(".")[:2]))


def _bundle_files(files: Mapping[str, bytes]) -> dict[str, bytes]:
    prefix = f"{FOLDER}/"
    return {name.removeprefix(prefix): content for name, content in files.items() if name.startswith(prefix)}


class ServingModels:
    """The versions in production, by registered model; follows the ledger in a thread of its own.

    A version that does not load replaces nothing: the one that served goes on serving, and the log says why.
    """

    def __init__(self, database: Database, objects: Objects, model_types: Mapping[str, ModelType]) -> None:
        self._database = database
        self._objects = objects
        self._model_types = model_types
        self._serving: Mapping[str, ServingVersion] = {}
        self._refused: dict[str, str] = {}
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
            raise NothingServesError(f"what is in production was not loaded: {self._refused[model_type.name]}")
        if found is None:
            raise NothingServesError(
                f"no version of {model_type.name} is in production; train one and promote it with "
                f"`forecastle models promote {model_type.name} VERSION`"
            )
        return found

    def labels(self) -> list[str]:
        """What is loaded, by name and version."""
        return sorted(version.label for version in self._serving.values())

    def refused(self) -> list[str]:
        """Registered models whose version in production was not loaded."""
        return sorted(self._refused)

    def refresh(self) -> None:
        """Bring what is loaded in line with the ledger. Raises ServerError where the database does not answer."""
        with self._database.transaction() as connection:
            steps = ledger.serving(connection)
        before, serving, refused = self._serving, dict(self._serving), dict(self._refused)
        for name, step in steps.items():
            current = serving.get(name)
            if current is None or current.step.step != step.step:
                self._replace(serving, name, step)
        self._serving = serving  # one assignment: a request sees the old or the new, never a mixture
        self._tell([name for name in serving if serving[name] is not before.get(name)], refused)

    def _replace(self, serving: dict[str, ServingVersion], name: str, step: LedgerStep) -> None:
        model_type = type_of(self._model_types, name)
        if model_type is None:
            return
        try:
            serving[name] = load_serving(self._objects, model_type, step)
            self._refused.pop(name, None)
            logger.info("%s serves", serving[name].label)
        except IntegrityError as error:
            if self._refused.get(name) != str(error):  # said once, not at every poll
                logger.error("not loaded, what served goes on serving: %s", error)  # noqa: TRY400 - the sentence is all
            self._refused[name] = str(error)

    def _tell(self, loaded: Sequence[str], refused: Mapping[str, str]) -> None:
        """Alert about what is refused now and was not before, and close the alerts of what was loaded."""
        news = self._refused.items() - refused.items()
        if not loaded and not news:
            return
        with self._database.transaction() as connection:
            for name in loaded:
                close_alert(connection, Kind.FILE_TAMPERED, name)
            for name, why in news:
                raise_alert(connection, Kind.FILE_TAMPERED, name, f"not loaded, what served goes on serving: {why}")

    def _follow(self) -> None:
        while not self._stopped.is_set():
            try:
                with self._database.listening(ledger.CHANNEL) as connection:
                    self.refresh()  # what happened before the listening began
                    while not self._stopped.is_set():
                        for _ in connection.notifies(timeout=POLL_SECONDS, stop_after=1):
                            pass
                        self.refresh()
            except Exception as error:  # noqa: BLE001 - the thread must outlive whatever the database does
                logger.warning("promotions are not heard now (%s); trying again", type(error).__name__)
                self._stopped.wait(1.0)
