"""Imports go the way the contracts say, and every contract is able to fail."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
CONFIGURATION = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
CONTRACTS = [contract["name"] for contract in CONFIGURATION["contracts"]]

# For every contract, by the start of its name: a module that breaks it when it holds this import.
VIOLATIONS = {
    "Rooms stand on each other": ("forecastle/records", "import forecastle.store.identifiers"),
    "The generator knows records only": ("forecastle/generator", "import forecastle.features.levels"),
    "Only the command line and tests start embedded": ("forecastle/registry", "import forecastle.embedded.home"),
    "Nothing of Forecastle knows MLflow's plugin": ("cli", "import mlflow_plugin"),
    "Embedded servers know nothing": ("forecastle/embedded", "import forecastle.store.identifiers"),
    "Flask stands only in serving": ("cli", "import flask"),
    "Celery stands only in jobs": ("cli", "import celery"),
    "Only tracking, recording and entry points import MLflow": ("forecastle/sources", "import mlflow"),
    "Only the store speaks SQL": ("forecastle/access", "import psycopg"),
    "Only the store speaks S3": ("forecastle/registry", "import boto3"),
    "The façade loads neither": ("serving", "import forecastle.learning.regressors"),
    "Only validation runs Great Expectations": ("forecastle/features", "import great_expectations"),
}


def lint(folder: Path) -> subprocess.CompletedProcess[str]:
    program = Path(sys.executable).with_name("lint-imports")
    return subprocess.run(
        [program, "--no-cache"],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(folder), "NO_COLOR": "1", "COLUMNS": "300"},
        capture_output=True,
        text=True,
        check=False,
    )


def verdicts(output: str) -> dict[str, str]:
    """KEPT or BROKEN, by the name of the contract."""
    found = {}
    for line in output.splitlines():
        for verdict in ("KEPT", "BROKEN"):
            name, separator, rest = line.partition(f" {verdict}")
            if separator and name in CONTRACTS and (not rest or rest.startswith(" (")):
                found[name] = verdict
    return found


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    copied = tmp_path_factory.mktemp("tree")
    for package in CONFIGURATION["root_packages"]:
        shutil.copytree(ROOT / package, copied / package, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", copied)
    return copied


def violation_of(contract: str) -> tuple[str, str]:
    found = [planted for start, planted in VIOLATIONS.items() if contract.startswith(start)]
    assert len(found) == 1, f"plant a violation of: {contract}"
    return found[0]


def test_every_contract_is_kept() -> None:
    ran = lint(ROOT)
    assert verdicts(ran.stdout) == dict.fromkeys(CONTRACTS, "KEPT"), ran.stdout + ran.stderr
    assert ran.returncode == 0


def test_the_copied_tree_keeps_every_contract_before_anything_is_planted(tree: Path) -> None:
    ran = lint(tree)
    assert verdicts(ran.stdout) == dict.fromkeys(CONTRACTS, "KEPT"), ran.stdout + ran.stderr


@pytest.mark.parametrize("contract", CONTRACTS)
def test_a_planted_violation_breaks_its_contract(tree: Path, contract: str) -> None:
    assert_breaks(tree, contract, *violation_of(contract))


@pytest.mark.parametrize(
    "start, folder, imported",
    [
        # Beside each other: what learns reads no store, and what the façade loads of it is the plain forms.
        ("Rooms stand on each other", "forecastle/learning", "import forecastle.store.identifiers"),
        ("Rooms stand on each other", "forecastle/store", "import forecastle.learning.forms"),
        ("Rooms stand on each other", "forecastle/features", "import forecastle.learning.forms"),
        ("The façade loads neither", "serving", "import xgboost"),
    ],
)
def test_learning_stands_where_it_belongs(tree: Path, start: str, folder: str, imported: str) -> None:
    (contract,) = (name for name in CONTRACTS if name.startswith(start))
    assert_breaks(tree, contract, folder, imported)


def assert_breaks(tree: Path, contract: str, folder: str, imported: str) -> None:
    planted = tree / folder / "planted.py"
    planted.write_text(f"{imported}\n")
    try:
        ran = lint(tree)
    finally:
        planted.unlink()
    assert ran.returncode != 0
    found = verdicts(ran.stdout)
    assert set(found) == set(CONTRACTS)
    assert found[contract] == "BROKEN", ran.stdout
    assert "planted" in ran.stdout


def test_no_violation_is_planted_for_a_contract_that_is_gone() -> None:
    assert all(any(name.startswith(start) for name in CONTRACTS) for start in VIOLATIONS)


def test_every_package_of_the_product_is_linted() -> None:
    packages = {path.parent.name for path in ROOT.glob("*/__init__.py")} - {"tests", "benchmarks"}
    assert packages == set(CONFIGURATION["root_packages"])
