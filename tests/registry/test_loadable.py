"""What a promotion checks of a version before anything serves it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from forecastle.errors import FeatureCodeError, IntegrityError, NotFoundError
from forecastle.registry.aliases import VersionFiles
from forecastle.registry.bundle import digest_of_files
from forecastle.registry.declaration import ModelType
from forecastle.registry.loading import loadable
from forecastle.registry.training import Fitted


@pytest.fixture
def version(fitted: Fitted) -> VersionFiles:
    files = fitted.bundle.files()
    found = {f"bundle/{name}": content for name, content in files.items()}
    return VersionFiles(1, {**found, "model/MLmodel": b"for people"}, {"bundle.digest": digest_of_files(files)})


def test_a_version_as_it_was_registered_may_serve(model_type: ModelType, version: VersionFiles) -> None:
    check = loadable({model_type.name: model_type})
    check(model_type.name, version)
    check(f"{model_type.name}.a-project", version)


def test_a_bundle_that_was_overwritten_since_its_training_may_not(model_type: ModelType, version: VersionFiles) -> None:
    skill = version.files["bundle/skill.json"].replace(b"rolling_median", b"mean")
    assert skill != version.files["bundle/skill.json"]
    overwritten = replace(version, files={**version.files, "bundle/skill.json": skill})
    with pytest.raises(IntegrityError, match="changed after the training"):
        loadable({model_type.name: model_type})(model_type.name, overwritten)


def test_what_is_no_bundle_may_not(model_type: ModelType, version: VersionFiles) -> None:
    with pytest.raises(IntegrityError):
        loadable({model_type.name: model_type})(model_type.name, replace(version, files={"bundle/manifest.json": b"?"}))


def test_a_bundle_that_lacks_a_file_may_not(model_type: ModelType, version: VersionFiles) -> None:
    files = {name: content for name, content in version.files.items() if name != "bundle/skill.json"}
    with pytest.raises(IntegrityError, match=r"skill\.json"):
        loadable({model_type.name: model_type})(model_type.name, replace(version, files=files))


def test_a_bundle_of_other_feature_code_may_not(model_type: ModelType, version: VersionFiles) -> None:
    other = replace(model_type, feature_modules=(*model_type.feature_modules, "json"))
    with pytest.raises(FeatureCodeError):
        loadable({model_type.name: other})(model_type.name, version)


def test_a_registered_model_of_no_model_type_may_not(model_type: ModelType, version: VersionFiles) -> None:
    with pytest.raises(NotFoundError):
        loadable({model_type.name: model_type})("delivery.unheard_of", version)
