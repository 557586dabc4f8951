"""Mappings from pairs and JSON files, and what they refuse."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from forecastle.errors import InputError
from forecastle.sources.mapping import Mapping
from forecastle.sources.mapping_files import mapping_from_json, mapping_from_pairs
from forecastle.sources.presets import PRESETS

COLUMNS = {"key": "Issue key", "title": "Summary"}


def test_pairs_make_a_mapping_which_is_dated_when_it_names_a_creation() -> None:
    pairs = ["key=Issue key", " title = Sum=mary "]
    assert mapping_from_pairs(pairs) == Mapping({"key": "Issue key", "title": "Sum=mary"}, time_basis="ordinal")
    assert mapping_from_pairs([*pairs, "created_at=Created"]).time_basis == "date"


@pytest.mark.parametrize(
    ("pairs", "named"),
    [
        (["key"], "FIELD=COLUMN"),
        (["key="], "FIELD=COLUMN"),
        (["key=a", "key=b"], "key is mapped twice"),
        (["key=a", "title=b", "titel=c"], "unknown fields: titel; there are: key, title"),
        (["key=a"], "no column for: title"),
        ([], "no column for: key, title"),
    ],
)
def test_pairs_that_make_no_sense_are_named(pairs: list[str], named: str) -> None:
    with pytest.raises(InputError, match=named):
        mapping_from_pairs(pairs)


def test_a_json_file_may_set_everything(tmp_path: Path) -> None:
    path = tmp_path / "mapping.json"
    more = {"encoding": "latin-1", "delimiter": ";", "date_formats": ["%Y"], "time_basis": "ordinal"}
    path.write_text(json.dumps({"columns": COLUMNS, **more}))
    assert mapping_from_json(path) == Mapping(COLUMNS, "latin-1", ";", ("%Y",), "ordinal")


@pytest.mark.parametrize(
    "document",
    [
        [],
        {},
        {"columns": []},
        {"columns": {**COLUMNS, "title": 3}},
        {"columns": COLUMNS, "colums": {}},
        {"columns": COLUMNS, "encoding": 8},
        {"columns": COLUMNS, "encoding": "utf-16"},
        {"columns": COLUMNS, "encoding": "base64"},
        {"columns": COLUMNS, "encoding": "klingon"},
        {"columns": COLUMNS, "delimiter": ";;"},
        {"columns": COLUMNS, "delimiter": '"'},
        {"columns": COLUMNS, "date_formats": "%Y"},
        {"columns": COLUMNS, "time_basis": "date"},
        {"columns": COLUMNS, "time_basis": "month"},
    ],
)
def test_json_that_makes_no_sense_is_refused_naming_the_file(tmp_path: Path, document: object) -> None:
    path = tmp_path / "mapping.json"
    path.write_text(json.dumps(document))
    with pytest.raises(InputError, match=r"mapping\.json"):
        mapping_from_json(path)


def test_a_file_that_is_not_json_or_absent_is_refused(tmp_path: Path) -> None:
    (tmp_path / "bad.json").write_bytes(b"\xff{")
    for name in ("bad.json", "absent.json"):
        with pytest.raises(InputError, match=name):
            mapping_from_json(tmp_path / name)


def test_the_preset_without_dates_is_undated() -> None:
    assert PRESETS["deepse"].time_basis == "ordinal"
