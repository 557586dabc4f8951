"""A bundle comes back as it was saved, or not at all."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import pytest

from forecastle.errors import FeatureCodeError, IntegrityError
from forecastle.monitoring.conformal import Thresholds
from forecastle.registry.bundle import FILES, digest_of_files, load_bundle
from forecastle.registry.declaration import ModelType
from forecastle.registry.training import Fitted


def test_a_bundle_comes_back_as_it_was_saved(fitted: Fitted, model_type: ModelType) -> None:
    files = fitted.bundle.files()
    assert tuple(files) == FILES
    loaded = load_bundle(model_type, files)
    assert loaded == fitted.bundle
    assert loaded.files() == files
    assert [loaded.model.estimate(row.features) for row in fitted.held_back] == [
        fitted.bundle.model.estimate(row.features) for row in fitted.held_back
    ]


def test_infinite_thresholds_come_back(fitted: Fitted, model_type: ModelType) -> None:
    wide = replace(fitted.bundle, thresholds={"mean": Thresholds(math.inf, {"a": 0.25})})
    assert load_bundle(model_type, wide.files()).thresholds == wide.thresholds


def test_files_beside_it_do_not_count(fitted: Fitted, model_type: ModelType) -> None:
    assert load_bundle(model_type, {**fitted.bundle.files(), "note.txt": b"\xff"}) == fitted.bundle


@pytest.mark.parametrize("name", FILES)
def test_a_missing_file_is_named_an_integrity_error(fitted: Fitted, model_type: ModelType, name: str) -> None:
    files = fitted.bundle.files()
    del files[name]
    with pytest.raises(IntegrityError, match="no bundle"):
        load_bundle(model_type, files)


OTHER_CONTENT = [b"", b"not JSON", b"{}", b"[]", b'{"unknown": 1}', b"\xff\xfe"]


@pytest.mark.parametrize(
    "name, content",
    # A bundle without thresholds is a bundle: every interval of it is the whole scale.
    [(n, c) for n in FILES for c in OTHER_CONTENT if (n, c) != ("thresholds.json", b"{}")],
)
def test_a_file_with_other_content_is_an_integrity_error(
    fitted: Fitted, model_type: ModelType, name: str, content: bytes
) -> None:
    with pytest.raises(IntegrityError, match="no bundle"):
        load_bundle(model_type, {**fitted.bundle.files(), name: content})


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
