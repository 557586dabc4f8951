"""The model type that these tests train, and synthetic rows for it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any

import pytest

from forecastle.access.principals import Principal, Role
from forecastle.errors import ServerError
from forecastle.generator.issues import Portfolio, generate_issues
from forecastle.registry.aliases import VersionFiles
from forecastle.registry.dataset import rows_of_issues
from forecastle.registry.declaration import ModelType
from forecastle.registry.examples import Extracted, extract_all
from forecastle.registry.training import Fitted, fit
from forecastle.registry.walking import Budget
from projects import get_model_type


@pytest.fixture(scope="session")
def model_type() -> ModelType:
    return get_model_type("delivery.story_points")


@pytest.fixture(scope="session")
def extracted(model_type: ModelType) -> Extracted:
    """Synthetic rows of three projects with what every view sees; frozen, so that tests may share them."""
    issues = generate_issues(Portfolio(projects=3, issues=120))
    return extract_all(model_type, rows_of_issues(model_type, issues).rows)


@pytest.fixture(scope="session")
def fitted(model_type: ModelType, extracted: Extracted) -> Fitted:
    return fit(model_type, extracted, budget=Budget(trials=1))  # what it tries is test_search's


@pytest.fixture
def planted(monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """Makes objects importable under a module of their own for this test; returns the module's name."""

    def plant(**objects: Any) -> str:
        module = ModuleType("planted_by_a_test")
        module.__dict__.update(objects)
        monkeypatch.setitem(sys.modules, module.__name__, module)
        return module.__name__

    return plant


class FakeAliases:
    """MLflow as far as a promotion sees it: versions with files, aliases, and failures on demand."""

    def __init__(self, versions: Mapping[int, Mapping[str, bytes]] | None = None) -> None:
        self.versions = versions or {number: {"bundle/model.json": f"{number}".encode()} for number in range(1, 6)}
        self.aliases: dict[tuple[str, str], int] = {}
        self.failing: set[str] = set()
        self.tags: dict[tuple[str, int, str], str] = {}
        self.provenance: dict[str, str] = {}

    def version_files(self, name: str, version: int) -> VersionFiles:
        provenance = {
            "run_id": f"run{version}", "data.digest": "d", "git.commit": "c", "feature.digest": "f",
            "gate.verdict": "PROMOTE",
        }  # fmt: skip
        return VersionFiles(version, self.versions[version], {**provenance, **self.provenance})

    def find_alias(self, name: str, alias: str) -> int | None:
        return self.aliases.get((name, alias))

    def set_tag(self, name: str, version: int, key: str, value: str) -> None:
        if "tag" in self.failing:
            raise ServerError("MLflow did not answer")
        self.tags[name, version, key] = value

    def set_alias(self, name: str, alias: str, version: int) -> None:
        if alias in self.failing:
            raise ServerError("MLflow did not answer")
        self.aliases[name, alias] = version

    def remove_alias(self, name: str, alias: str) -> None:
        if alias in self.failing:
            raise ServerError("MLflow did not answer")
        self.aliases.pop((name, alias), None)


@pytest.fixture
def aliases() -> FakeAliases:
    return FakeAliases()


@pytest.fixture
def make_aliases() -> type[FakeAliases]:
    return FakeAliases


@pytest.fixture
def reviewer() -> Principal:
    return Principal("rita", Role.REVIEWER)
