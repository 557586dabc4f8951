"""From what the ledger approved to a version that may serve: files checked, bundle made, example answered."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from forecastle.errors import ForecastleError, IntegrityError, NotFoundError
from forecastle.registry.aliases import VersionFiles
from forecastle.registry.bundle import FOLDER, Bundle, digest_of_files, load_bundle
from forecastle.registry.declaration import ModelType
from forecastle.registry.footprint import size_of
from forecastle.registry.predictor import Predictor
from forecastle.registry.served import approved_files
from forecastle.registry.warming import answer_example
from forecastle.store.objects import Objects
from forecastle.store.promotions import LedgerStep


@dataclass(frozen=True)
class ServingVersion:
    """A version that serves: what answers, and the ledger step that let it."""

    predictor: Predictor
    step: LedgerStep
    bundle_digest: str

    @property
    def label(self) -> str:
        return f"{self.step.promotion.model_name}/{self.step.promotion.to_version}"


@dataclass(frozen=True)
class Loaded:
    """A version in memory, and what it took to get it there: bytes, and milliseconds that passed."""

    version: ServingVersion
    size_bytes: int
    load_ms: float
    warm_ms: float
    loaded_at: datetime


def load_serving(objects: Objects, model_type: ModelType, step: LedgerStep) -> Loaded:
    """Load what a ledger step approved, and answer the model type's example with it.

    Raises IntegrityError where a file is not the one that was approved, FeatureCodeError, ServerError.
    """
    started = time.perf_counter()
    files = _bundle_files(approved_files(objects, step.promotion))
    predictor = Predictor.of(model_type, _bundle(model_type, files))
    loaded = time.perf_counter()
    answer_example(predictor)
    warmed = time.perf_counter()
    # Memory that a library keeps to itself is not seen; it hardly is less than the files.
    size = max(size_of(predictor.bundle), sum(map(len, files.values())))
    version = ServingVersion(predictor, step, digest_of_files(files))
    return Loaded(version, size, (loaded - started) * 1000, (warmed - loaded) * 1000, datetime.now(UTC))


def loadable(model_types: Mapping[str, ModelType]) -> Callable[[str, VersionFiles], None]:
    """The check of a promotion: the version's bundle loads and answers here, and is the one of its training.

    It raises NotFoundError for an unknown model type, IntegrityError and FeatureCodeError like `load_serving`.
    """

    def check(model_name: str, found: VersionFiles) -> None:
        model_type = type_of(model_types, model_name)
        if model_type is None:
            raise NotFoundError(f"{model_name} belongs to no model type; there are: {', '.join(model_types)}")
        files = _bundle_files(found.files)
        bundle = _bundle(model_type, files)
        if digest_of_files(files) != found.provenance.get("bundle.digest"):
            raise IntegrityError(
                f"{model_name} version {found.version}: its bundle was changed after the training; train a new version"
            )
        answer_example(Predictor.of(model_type, bundle))

    return check


def type_of(model_types: Mapping[str, ModelType], model_name: str) -> ModelType | None:
    """The model type of a registered model: a project's own has the project's id behind its name."""
    return model_types.get(".".join(model_name.split(".")[:2]))


def ours(model_types: Mapping[str, ModelType]) -> Callable[[str], bool]:
    """Whether a registered model is one of a model type here; others may share the MLflow server."""
    return lambda model_name: type_of(model_types, model_name) is not None


def _bundle(model_type: ModelType, files: Mapping[str, bytes]) -> Bundle:
    """The bundle; whatever its content makes the code that reads it do is an IntegrityError."""
    try:
        return load_bundle(model_type, files)
    except ForecastleError:
        raise
    except Exception as error:  # noqa: BLE001 - files from outside may do anything
        raise IntegrityError(f"{model_type.name}: this is no bundle ({type(error).__name__}); train it anew") from None


def _bundle_files(files: Mapping[str, bytes]) -> dict[str, bytes]:
    prefix = f"{FOLDER}/"
    return {name.removeprefix(prefix): content for name, content in files.items() if name.startswith(prefix)}
