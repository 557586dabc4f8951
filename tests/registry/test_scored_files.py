"""Results as files: typed columns, and whole or not at all."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pyarrow import parquet

from forecastle.errors import InputError
from forecastle.registry import scored_files
from forecastle.registry.scored_files import columns_of, require_writable, write_result
from forecastle.settings import Settings
from projects import get_model_type

COLUMNS = columns_of(get_model_type("delivery.effort"), "row", "integer")
ROWS = [
    {"row": 1, "title": 'ä, "b"\n', "estimate_hours": "2.5", "predicted_hours": 3.0, "prediction_range": {"min": 1}},
    {"row": 2, "title": 7, "estimate_hours": "many", "error": "estimate_hours: no number"},
]


def test_the_columns_are_the_key_what_was_asked_what_was_answered_and_the_error() -> None:
    names = list(COLUMNS)
    assert (names[0], names[-1]) == ("row", "error")
    assert "prediction_id" not in names
    kinds = {name: COLUMNS[name] for name in ("row", "title", "estimate_hours", "predicted_hours", "prediction_range")}
    assert list(kinds.values()) == ["integer", "string", "number", "number", "string"]


def test_csv_and_parquet_hold_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scored_files, "PARQUET_ROWS", 1)
    for name in ("a.csv", "a.parquet"):
        write_result(Settings(), str(tmp_path / name), tmp_path, COLUMNS, ROWS)
    with (tmp_path / "a.csv").open(newline="") as file:
        first, second = csv.DictReader(file)
    assert (first["title"], first["prediction_range"], second["error"]) == (
        ROWS[0]["title"],
        '{"min": 1}',
        "estimate_hours: no number",
    )
    table = parquet.read_table(tmp_path / "a.parquet")
    assert table.column_names == list(COLUMNS)
    assert table["estimate_hours"].to_pylist() == [2.5, None]
    assert table["title"].to_pylist() == [ROWS[0]["title"], "7"]
    assert table["prediction_range"].to_pylist() == ['{"min": 1}', None]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.csv", "a.parquet"]


@pytest.mark.parametrize("name", ["a.csv", "a.parquet"])
def test_a_result_that_fails_midway_leaves_what_was_there(tmp_path: Path, name: str) -> None:
    def failing() -> Iterator[dict[str, Any]]:
        yield ROWS[0]
        raise RuntimeError

    (tmp_path / name).write_text("before")
    with pytest.raises(RuntimeError):
        write_result(Settings(), str(tmp_path / name), tmp_path, COLUMNS, failing())
    assert [path.read_text() for path in tmp_path.iterdir()] == ["before"]


@pytest.mark.parametrize("output, sentence", [("a.xlsx", "ends in"), ("nowhere/a.csv", "no such folder")])
def test_where_nothing_can_be_written_is_said_before(tmp_path: Path, output: str, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        require_writable(str(tmp_path / output))
