"""A database with users, projects and versions in production, for the façade's contenders."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from itertools import count
from pathlib import Path
from typing import Any
from uuid import UUID

from benchmarks.numeric import MODEL_TYPE as NUMERIC
from benchmarks.numeric.training import Numeric
from forecastle.access.principals import Principal, Role, add_user
from forecastle.embedded.servers import provide, session
from forecastle.generator.dated import DatedPortfolio, generate_dated_issues
from forecastle.monitoring.conformal import calibrate
from forecastle.monitoring.skill import SkillTable
from forecastle.registry.aliases import VersionFiles
from forecastle.registry.bundle import FOLDER, Bundle, Manifest, View, digest_of_features, digest_of_files
from forecastle.registry.dataset import digest_of_rows, rows_of_issues
from forecastle.registry.declaration import FastForm, ModelType, Trainer, resolve
from forecastle.registry.examples import Examples, extract_all
from forecastle.registry.promotions import Promoter
from forecastle.settings import Settings
from forecastle.store.database import Database
from forecastle.store.issues import import_issues
from forecastle.store.migrate import migrate
from forecastle.store.objects import Objects
from forecastle.store.tenants import default_workspace, ensure_projects

PROJECT = "NUMBERS"
ADMIN = Principal("admin", Role.ADMIN)
BLEND = "blend"
"""The candidate of text model types: the costliest one, and the one that served most rows of public data."""


@dataclass(frozen=True)
class House:
    """Where the façade's contenders find what they need, and the API key that they are sent."""

    settings: Settings
    key: str
    postgresql: int
    """The process of PostgreSQL."""
    numbers: Iterator[int] = field(default_factory=lambda: count(1))
    """Of the versions that are promoted, each of its own."""

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.key}"}

    def promote(self, model_name: str, bundle: Bundle) -> None:
        """Let a bundle serve under this name."""
        files = bundle.files()
        manifest = bundle.manifest
        provenance = {
            "run_id": "benchmark", "git.commit": "benchmark", "data.digest": manifest.dataset_digest,
            "feature.digest": manifest.feature_digest, "bundle.digest": digest_of_files(files),
        }  # fmt: skip
        number = next(self.numbers)
        version = VersionFiles(number, {f"{FOLDER}/{name}": content for name, content in files.items()}, provenance)
        with Database(self.settings.require_database_url()) as database:
            promoter = Promoter(database, Objects.of(self.settings), _OneVersion(version), lambda name, found: None)
            promoter.promote(model_name, number, ADMIN, "no gate has looked at it", override=True)


@dataclass(frozen=True)
class _OneVersion:
    """Where a promotion asks MLflow, which takes no part in serving."""

    version: VersionFiles

    def version_files(self, name: str, version: int) -> VersionFiles:
        return self.version

    def find_alias(self, name: str, alias: str) -> int | None:
        return None

    def set_tag(self, name: str, version: int, key: str, value: str) -> None:
        """There is nothing to tag."""

    def set_alias(self, name: str, alias: str, version: int) -> None:
        """There is no alias to set."""

    def remove_alias(self, name: str, alias: str) -> None:
        """There is no alias to remove."""


@contextmanager
def furnished(home: Path, numeric: Numeric) -> Iterator[House]:
    """A house with the numeric version in production; its servers run within the block."""
    with session(Settings(home=home)) as opened:
        settings = provide(opened, Settings(home=home), ("postgresql", "s3"))
        settings = replace(settings, log_level="WARNING")
        with Database(settings.require_database_url()) as database:
            migrate(database)
            with database.transaction() as connection:
                ensure_projects(connection, default_workspace(connection), [PROJECT])
                key = add_user(connection, "benchmark", Role.MEMBER)
        house = House(settings, key, opened.started["postgresql"].process.pid)
        house.promote(NUMERIC.name, numeric_bundle(numeric))
        yield house


def make_projects(house: House, keys: Sequence[str]) -> Mapping[str, UUID]:
    """Projects without issues; returns their ids by key."""
    with Database(house.settings.require_database_url()) as database, database.transaction() as connection:
        return ensure_projects(connection, default_workspace(connection), keys)


def numeric_bundle(numeric: Numeric) -> Bundle:
    thresholds = calibrate({PROJECT: numeric.errors.tolist()}, NUMERIC.coverage_target)
    view = View("trees", numeric.form, _always("trees"), {"trees": thresholds})
    return Bundle(_manifest(NUMERIC, {"all": "trees"}, len(numeric.errors)), {"all": view})


def keep_issues(house: House, issues: int) -> list[dict[str, Any]]:
    """Completed synthetic issues of a project of their own; returns requests like them."""
    portfolio = DatedPortfolio(projects=1, issues=issues, done=1.0)
    found = [replace(issue, project_key=f"HISTORY{issues}") for issue in generate_dated_issues(portfolio)]
    with Database(house.settings.require_database_url()) as database, database.transaction() as connection:
        import_issues(connection, found)
    return [asdict(issue) | {"project_id": issue.project_key} for issue in found[-50:]]


def text_bundle(model_type: ModelType, issues: int) -> Bundle:
    """The blend of the model type, taught on synthetic issues, and chosen wherever it is asked."""
    rows = rows_of_issues(model_type, generate_dated_issues(DatedPortfolio(projects=1, issues=issues)))
    extracted = extract_all(model_type, rows.rows)
    views = {name: _view(model_type, examples) for name, examples in extracted.views.items()}
    manifest = _manifest(model_type, dict.fromkeys(views, BLEND), issues)
    return Bundle(replace(manifest, dataset_digest=digest_of_rows(rows)), views)


def _view(model_type: ModelType, examples: Examples) -> View:
    trainer: Trainer = resolve(model_type.trainer)
    features, targets = [one.features for one in examples], [one.target for one in examples]
    prepared = trainer.prepare(features)
    parts = [trainer.make(name, trainer.candidates[name][0]).fit(prepared, targets) for name in trainer.blends[BLEND]]
    form = trainer.blend(parts).fast_form()
    thresholds = calibrate({"all": _scores(model_type, form, examples)}, model_type.coverage_target)
    return View(BLEND, form, _always(BLEND), {BLEND: thresholds})


def _scores(model_type: ModelType, form: FastForm, examples: Examples) -> Sequence[float]:
    scorer = resolve(model_type.scorer)
    latest = examples[-400:]
    settled = [scorer.settler(one.features, one.known)(BLEND, form.estimate(one.features)) for one in latest]
    return [found.score(one.target) for found, one in zip(settled, latest, strict=True)]


def _always(method: str) -> SkillTable:
    return SkillTable(default=method, by_cluster={}, rows={}, measured={}, expected={})


def _manifest(model_type: ModelType, candidates: Mapping[str, str], rows: int) -> Manifest:
    return Manifest(
        model_type=model_type.name,
        candidates=candidates,
        feature_digest=digest_of_features(model_type),
        dataset_digest="made up",
        time_basis="date",
        trained_until=0.0,
        rows=rows,
        coverage_target=model_type.coverage_target,
    )


def environment(house: House) -> dict[str, str]:
    """What a façade's process of this house reads."""
    return {
        "PATH": os.defpath,
        "HOME": str(house.settings.home),
        "LANG": "C.UTF-8",
        "TZ": "UTC",
        **house.settings.as_environment(),
    }
