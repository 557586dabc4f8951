"""A suite loads whole or not at all, and says which row broke which rule."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from forecastle.errors import SuiteError
from forecastle.validation.run import Violation, validate
from forecastle.validation.suite import load_suite

ISSUES = Path(__file__).parents[2] / "expectations" / "issues.json"
FILLED: dict[str, Any] = {
    "type": "expect_column_values_to_not_be_null",
    "kwargs": {"column": "key"},
    "meta": {"rule": "the key is not empty"},
}
UNIQUE: dict[str, Any] = {
    "type": "expect_compound_columns_to_be_unique",
    "kwargs": {"column_list": ["project", "key"]},
    "meta": {"rule": "a key stands once", "column": "key"},
}


def written(folder: Path, *expectations: object, **more: object) -> Path:
    path = folder / "suite.json"
    path.write_text(json.dumps({"name": "small", "expectations": list(expectations), **more}))
    return path


def test_every_suite_of_the_project_loads_whole() -> None:
    for path in ISSUES.parent.glob("*.json"):
        assert load_suite(path).expectations == len(json.loads(path.read_text())["expectations"])


@pytest.mark.parametrize(
    ("entry", "named"),
    [
        ({**FILLED, "type": "expect_column_values_to_not_be_nul"}, "expect_column_values_to_not_be_nul"),
        ({**FILLED, "kwargs": {"column": "key", "mosty": 1}}, "mosty: extra fields not permitted"),
        ({**FILLED, "kwargs": {"colum": "key"}}, "column: field required"),
        ({**FILLED, "kwarg": {}}, "kwarg"),
        ({"kwargs": {}, "meta": {"rule": "x"}}, "without a type"),
        ({**FILLED, "meta": {}}, "meta.rule"),
        ({**FILLED, "meta": None}, "meta.rule"),
        (
            {"type": "expect_table_row_count_to_equal", "kwargs": {"value": 1}, "meta": {"rule": "x"}},
            "no column",
        ),
        (3, "not an object"),
    ],
)
def test_a_suite_that_does_not_load_whole_is_refused_naming_what_was_lost(
    tmp_path: Path, entry: object, named: str
) -> None:
    with pytest.raises(SuiteError, match="expectation 2 ") as raised:
        load_suite(written(tmp_path, FILLED, entry))
    assert named in str(raised.value)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"name": "x"}', '{"name": "x", "expectations": []}', "\xff"])
def test_a_file_that_is_no_suite_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "suite.json"
    path.write_text(text, encoding="latin-1")
    with pytest.raises(SuiteError):
        load_suite(path)


def test_an_absent_suite_and_a_misspelt_entry_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SuiteError, match="cannot be read"):
        load_suite(tmp_path / "absent.json")
    with pytest.raises(SuiteError, match="expectation"):
        load_suite(written(tmp_path, FILLED, expectation=[UNIQUE]))


def test_a_column_that_the_frame_has_not_is_refused(tmp_path: Path) -> None:
    suite = load_suite(written(tmp_path, FILLED, UNIQUE))
    with pytest.raises(SuiteError, match="not there: project"):
        validate(pd.DataFrame({"key": ["A-1"]}), suite)


def test_an_expectation_that_cannot_be_computed_is_refused_without_quoting_cells(tmp_path: Path) -> None:
    between = {
        **FILLED,
        "type": "expect_column_values_to_be_between",
        "kwargs": {"column": "key", "min_value": 0},
    }
    with pytest.raises(SuiteError, match="cannot be computed on column key") as raised:
        validate(pd.DataFrame({"key": ["private"]}), load_suite(written(tmp_path, between)))
    assert "private" not in str(raised.value)


def test_each_violation_names_row_column_and_rule(tmp_path: Path) -> None:
    frame = pd.DataFrame({"project": ["P"] * 4, "key": ["A", None, "B", "A"]}, index=[9, 9, 3, 1])
    report = validate(frame, load_suite(written(tmp_path, FILLED, UNIQUE)))
    assert report.violations == (
        Violation(0, "key", "a key stands once"),
        Violation(1, "key", "the key is not empty"),
        Violation(3, "key", "a key stands once"),
    )
    assert (report.suite, report.rows, report.expectations, report.passed) == ("small", 4, 2, False)


def test_sound_rows_and_no_rows_pass(tmp_path: Path) -> None:
    suite = load_suite(written(tmp_path, FILLED))
    assert validate(pd.DataFrame({"key": ["A"]}), suite).passed
    assert validate(pd.DataFrame({"key": pd.Series([], dtype="str")}), suite).passed


def test_a_run_prints_nothing(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    misspelt = written(tmp_path, {**FILLED, "type": "expect_nothing"})
    with pytest.raises(SuiteError):
        load_suite(misspelt)
    validate(pd.DataFrame({"key": ["A", None]}), load_suite(written(tmp_path, FILLED)))
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("key", ["A-{}", "A-1"])
def test_a_hundred_thousand_rows_sound_or_all_broken_take_seconds(tmp_path: Path, key: str) -> None:
    frame = pd.DataFrame({"project": "P", "key": [key.format(row) for row in range(100_000)]})
    suite = load_suite(written(tmp_path, FILLED, UNIQUE))
    start = time.perf_counter()
    violations = validate(frame, suite).violations
    assert time.perf_counter() - start < 20
    assert len(violations) in (0, 100_000)


def test_importing_the_packages_does_not_load_great_expectations() -> None:
    code = "import sys, forecastle.sources.issues; sys.exit('great_expectations' in sys.modules)"
    root = Path(__file__).parents[2]
    assert subprocess.run([sys.executable, "-c", code], cwd=root, check=False).returncode == 0
