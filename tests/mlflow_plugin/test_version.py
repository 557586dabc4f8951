"""The plugin is found by MLflow, and refuses a version of MLflow that it was not made for."""

from __future__ import annotations

from importlib.metadata import entry_points

import mlflow
import pytest

from forecastle.errors import ConfigurationError
from mlflow_plugin import create_app, require_version


def test_mlflow_finds_it_by_its_name() -> None:
    found = {entry.name: entry for entry in entry_points(group="mlflow.app")}
    assert found["forecastle"].load() is create_app


def test_another_version_of_mlflow_is_refused_with_what_to_do() -> None:
    require_version(mlflow.__version__)
    with pytest.raises(ConfigurationError, match=r"made for MLflow .*, and this is 3\.18\.0: install mlflow=="):
        require_version("3.18.0")
