"""A bundle comes back as it was saved, or not at all."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from typing import Any

import pytest

from forecastle.errors import FeatureCodeError, IntegrityError
from forecastle.monitoring.conformal import Thresholds
from forecastle.registry.bundle import FILES, Bundle, digest_of_files, load_bundle
from forecastle.registry.declaration import ModelType
from forecastle.registry.training import Fitted


def with_view(bundle: Bundle, **changed: Any) -> Bundle:
    """The bundle with another skill table or other thresholds."""
    return replace(bundle, views={name: replace(view, **changed) for name, view in bundle.views.items()})


def test_a_bundle_comes_back_as_it_was_saved(fitted: Fitted, model_type: ModelType) -> None:
    files = fitted.bundle.files()
    assert tuple(files) == FILES
    loaded = load_bundle(model_type, files)
    assert loaded == fitted.bundle
    assert loaded.files() == files
    for view, found in fitted.bundle.views.items():
        for row in fitted.views[view].held_back:
            assert loaded.views[view].model.estimate(row.features) == found.model.estimate(row.features)


def test_infinite_thresholds_come_back(fitted: Fitted, model_type: ModelType) -> None:
    endless = Thresholds(math.inf, {"a": 0.25, "b": math.inf}, (0.5, math.inf), {"b": (1.0, math.inf)})
    wide = with_view(fitted.bundle, thresholds={"mean": endless})
    assert load_bundle(model_type, wide.files()).views["all"].thresholds == {"mean": endless}


def test_files_beside_it_do_not_count(fitted: Fitted, model_type: ModelType) -> None:
    assert load_bundle(model_type, {**fitted.bundle.files(), "note.txt": b"\xff"}) == fitted.bundle


@pytest.mark.parametrize("name", FILES)
def test_a_missing_file_is_named_an_integrity_error(fitted: Fitted, model_type: ModelType, name: str) -> None:
    files = fitted.bundle.files()
    del files[name]
    with pytest.raises(IntegrityError, match=f"no bundle, it lacks {name}"):
        load_bundle(model_type, files)


OTHER_CONTENT = [b"", b"not JSON", b"{}", b"[]", b'{"unknown": 1}', b"\xff\xfe"]


@pytest.mark.parametrize(
    "name, content",
    [(n, c) for n in FILES for c in OTHER_CONTENT],
)
def test_a_file_with_other_content_is_an_integrity_error(
    fitted: Fitted, model_type: ModelType, name: str, content: bytes
) -> None:
    with pytest.raises(IntegrityError, match="no bundle"):
        load_bundle(model_type, {**fitted.bundle.files(), name: content})


def test_a_view_without_thresholds_is_a_view_whose_intervals_are_the_whole_scale(
    fitted: Fitted, model_type: ModelType
) -> None:
    files = fitted.bundle.files() | {"thresholds.json": b'{"all": {}}'}
    assert load_bundle(model_type, files).views["all"].thresholds == {}


def test_a_bundle_with_a_view_that_is_not_declared_is_refused(fitted: Fitted, model_type: ModelType) -> None:
    other = replace(model_type, views={"another": None})
    with pytest.raises(IntegrityError, match="no bundle"):
        load_bundle(other, fitted.bundle.files())


def test_views_answer_in_the_declared_order_whatever_their_names(fitted: Fitted, model_type: ModelType) -> None:
    """The files are sorted by name; the first view that sees a request answers it."""
    named = replace(model_type, views={"z": "description", "all": None})
    (view,) = fitted.bundle.views.values()
    manifest = replace(fitted.bundle.manifest, candidates={"z": view.candidate, "all": view.candidate})
    loaded = load_bundle(named, replace(fitted.bundle, manifest=manifest, views={"z": view, "all": view}).files())
    assert list(loaded.views) == ["z", "all"]


def test_the_bundle_of_another_model_type_is_refused(fitted: Fitted, model_type: ModelType) -> None:
    other = replace(model_type, name="delivery.other")
    with pytest.raises(IntegrityError, match=r"one of delivery\.story_points, not of delivery\.other"):
        load_bundle(other, fitted.bundle.files())


def test_a_bundle_made_with_other_feature_code_is_refused(fitted: Fitted, model_type: ModelType) -> None:
    old = replace(fitted.bundle, manifest=replace(fitted.bundle.manifest, feature_digest="0" * 64))
    with pytest.raises(FeatureCodeError, match="other feature code"):
        load_bundle(model_type, old.files())
    with pytest.raises(FeatureCodeError):
        load_bundle(replace(model_type, feature_modules=()), fitted.bundle.files())


def test_the_digest_of_files_follows_names_and_contents_but_not_their_order() -> None:
    files = {"a": b"1", "b": b"2"}
    assert digest_of_files(files) == digest_of_files({"b": b"2", "a": b"1"})
    others = [{"a": b"2", "b": b"1"}, {"a": b"1", "c": b"2"}, {"a": b"1"}, {"a": b"1", "b": b"3"}]
    assert len({digest_of_files(other) for other in (files, *others)}) == 5


def test_files_are_plain_json(fitted: Fitted) -> None:
    for content in fitted.bundle.files().values():
        assert isinstance(json.loads(content), dict)
