"""What a candidate is held against: the version in production and the first one that was approved, able to answer."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from forecastle.errors import FeatureCodeError, IntegrityError, NotFoundError
from forecastle.monitoring import signals as measured
from forecastle.monitoring.decision import Replacement
from forecastle.records.outcomes import Known
from forecastle.registry.bundle import FOLDER, Bundle, load_bundle
from forecastle.registry.dataset import load_version
from forecastle.registry.declaration import ModelType
from forecastle.registry.examples import Row
from forecastle.registry.predictor import Prediction, Predictor
from forecastle.registry.served import NEVER_MOVED, approved_files, head_of, versions_served
from forecastle.store import datasets
from forecastle.store import promotions as ledger
from forecastle.store.database import Database
from forecastle.store.gate_looks import RowKey
from forecastle.store.objects import Objects
from forecastle.store.promotions import Promotion
from forecastle.store.retraining import data_of


@dataclass(frozen=True)
class Incumbent:
    """An approved version that answers here, and the rows that taught it."""

    version: int
    predictor: Predictor
    taught: frozenset[RowKey]

    @property
    def name(self) -> str:
        return f"version {self.version}"

    def predict(self, row: Row, known: Known) -> Prediction:
        return self.predictor.predict(row.cluster, row.request, known)


@dataclass(frozen=True)
class Incumbents:
    """Production and the first approved version, as far as they can answer; `silent` says why one cannot.

    `replacement` is the declared reason for a replacement that the feature code gives, or the age of the data that
    taught production, as in a retraining decision.
    """

    production: Incumbent | None
    first_approved: Incumbent | None
    silent: tuple[str, ...]
    replacement: Replacement | None
    head: str = NEVER_MOVED
    """Of the ledger, as it was when they were looked up."""

    @property
    def taught(self) -> frozenset[RowKey]:
        found = (self.production, self.first_approved)
        return frozenset().union(*(one.taught for one in found if one))


def find_incumbents(
    database: Database,
    objects: Objects,
    model_type: ModelType,
    model_name: str,
    declared: Replacement | None = None,
    now: datetime | None = None,
) -> Incumbents:
    """Load what a candidate of this registered model has to be held against.

    `declared` is the reason for a replacement that whoever planned the training gives. Raises ServerError.
    """
    with database.transaction() as connection:
        confirmed = ledger.confirmed_steps(connection, model_name)
        served = versions_served(step.promotion for step in confirmed)
        data = data_of(connection, served[-1]) if served else None
    if not served:
        return Incumbents(None, None, (), None)
    silent: list[str] = []
    replacement = declared
    found: dict[int, Incumbent | None] = {}
    for promotion in (served[-1], confirmed[0].promotion):
        if promotion.to_version in found:
            continue
        try:
            found[promotion.to_version] = _load(database, objects, model_type, promotion)
        except (IntegrityError, FeatureCodeError) as error:
            found[promotion.to_version] = None
            silent.append(f"version {promotion.to_version} cannot answer here: {error}")
            if promotion is served[-1] and isinstance(error, FeatureCodeError):
                replacement = Replacement.FEATURE_CODE
    if replacement is None and data is not None:
        old = measured.age(data.days_at(now or datetime.now(UTC)), model_type.retraining).fired
        replacement = Replacement.AGE if old else None
    first = confirmed[0].promotion.to_version
    return Incumbents(
        production=found[served[-1].to_version],
        first_approved=found[first] if first != served[-1].to_version else None,
        silent=tuple(silent),
        replacement=replacement,
        head=head_of(confirmed),
    )


def _load(database: Database, objects: Objects, model_type: ModelType, promotion: Promotion) -> Incumbent:
    """Raises IntegrityError where its files or its data are not what they were, FeatureCodeError for other code."""
    prefix = f"{FOLDER}/"
    files = approved_files(objects, promotion)
    bundle = load_bundle(
        model_type, {name.removeprefix(prefix): found for name, found in files.items() if name.startswith(prefix)}
    )
    taught = _rows_that_taught(database, objects, promotion.model_name, bundle)
    return Incumbent(promotion.to_version, Predictor.of(model_type, bundle), taught)


def _rows_that_taught(database: Database, objects: Objects, model_name: str, bundle: Bundle) -> frozenset[RowKey]:
    """By key and not by position: positions of undated rows move when rows are added."""
    manifest = bundle.manifest
    with database.transaction() as connection:
        version = datasets.find_by_digest(connection, model_name, manifest.dataset_digest)
    if version is None:
        raise IntegrityError(f"its dataset version {manifest.dataset_digest[:12]} is gone: what taught it is not known")
    try:
        rows = load_version(objects, version).rows
    except NotFoundError:
        raise IntegrityError(f"the file of its dataset version is gone: {version.object_name}") from None
    until = manifest.trained_until
    return frozenset((row.cluster, row.key) for row in rows if row.asked_at < until and row.known_at <= until)
