"""A version as files: what the façade loads, and what the ledger approves by digest.

manifest.json     what it is and where it comes from
model.json        the fast form of the candidate
skill.json        which method answers where
thresholds.json   how far intervals reach, by method
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

from forecastle.errors import FeatureCodeError, IntegrityError
from forecastle.features.digest import feature_digest
from forecastle.monitoring.conformal import Thresholds
from forecastle.monitoring.skill import SkillTable
from forecastle.registry.declaration import FastForm, ModelType, Scorer, resolve
from forecastle.store.objects import digest_of

FOLDER = "bundle"
FILES = ("manifest.json", "model.json", "skill.json", "thresholds.json")


@dataclass(frozen=True)
class Manifest:
    """`trained_until` is the last position that taught the model, on the dataset's axis of time."""

    model_type: str
    candidates: Mapping[str, str]
    """The candidate of each view."""
    feature_digest: str
    dataset_digest: str
    time_basis: str
    trained_until: float
    rows: int
    coverage_target: float


@dataclass(frozen=True)
class View:
    """What answers the requests of one view."""

    candidate: str
    model: FastForm
    skill: SkillTable
    thresholds: Mapping[str, Thresholds]


@dataclass(frozen=True)
class Bundle:
    manifest: Manifest
    views: Mapping[str, View]

    def files(self) -> dict[str, bytes]:
        return {
            "manifest.json": _to_json(asdict(self.manifest)),
            "model.json": _to_json({name: view.model.as_json() for name, view in self.views.items()}),
            "skill.json": _to_json({name: asdict(view.skill) for name, view in self.views.items()}),
            "thresholds.json": _to_json({name: _all_out(view.thresholds) for name, view in self.views.items()}),
        }


def load_bundle(model_type: ModelType, files: Mapping[str, bytes]) -> Bundle:
    """The bundle in these files; files beside it do not count.

    Raises IntegrityError where a file is missing or no bundle, FeatureCodeError where it was made with other
    feature code than the code that runs.
    """
    if missing := [name for name in FILES if name not in files]:
        raise IntegrityError(f"{model_type.name}: this is no bundle, it lacks {', '.join(missing)}; train it anew")
    with _no_bundle(model_type):
        parts = {name: json.loads(files[name]) for name in FILES}
        manifest = Manifest(**parts["manifest.json"])
    if manifest.model_type != model_type.name:
        raise IntegrityError(f"this bundle is one of {manifest.model_type}, not of {model_type.name}")
    if manifest.feature_digest != digest_of_features(model_type):
        raise FeatureCodeError(
            f"{model_type.name}: the bundle was made with other feature code than this; train a new version with "
            "`forecastle train`, or run the code of the version's git commit"
        )
    scorer: Scorer = resolve(model_type.scorer)
    with _no_bundle(model_type):
        views = {
            name: View(
                manifest.candidates[name],
                scorer.load(parts["model.json"][name]),
                SkillTable(**parts["skill.json"][name]),
                {method: _thresholds_in(values) for method, values in parts["thresholds.json"][name].items()},
            )
            for name in model_type.views  # the first that sees a request answers it: in the declared order
            if name in manifest.candidates
        }
        if not views or set(views) != set(manifest.candidates):
            raise ValueError
        return Bundle(manifest, views)


@contextmanager
def _no_bundle(model_type: ModelType) -> Iterator[None]:
    """Whatever is wrong with the shape of the files is one error."""
    try:
        yield
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        raise IntegrityError(f"{model_type.name}: this is no bundle ({type(error).__name__}); train it anew") from None


def _all_out(thresholds: Mapping[str, Thresholds]) -> dict[str, Any]:
    return {method: _finite(asdict(found)) for method, found in thresholds.items()}


def _finite(value: Any) -> Any:
    """JSON has no infinity: an interval without end is null."""
    if isinstance(value, dict):
        return {name: _finite(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return value if math.isfinite(value) else None


def _thresholds_in(form: Mapping[str, Any]) -> Thresholds:
    return Thresholds(
        pooled=_number(form["pooled"]),
        by_cluster={name: _number(value) for name, value in form["by_cluster"].items()},
        scores=tuple(map(_number, form["scores"])),
        scores_by_cluster={name: tuple(map(_number, values)) for name, values in form["scores_by_cluster"].items()},
    )


def _number(value: float | None) -> float:
    return math.inf if value is None else float(value)


def digest_of_features(model_type: ModelType) -> str:
    return feature_digest(*model_type.feature_modules)


def digest_of_files(files: Mapping[str, bytes]) -> str:
    """One digest for all files of a bundle, names included."""
    return digest_of("\n".join(f"{digest_of(files[name])}  {name}" for name in sorted(files)).encode())


def _to_json(content: Any) -> bytes:
    return json.dumps(content, sort_keys=True, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()
