"""Mappings from pairs and JSON files, and what they refuse."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from forecastle.errors import InputError
from forecastle.sources.mapping import Cells, DatesFile, Done, Mapping
from forecastle.sources.mapping_files import mapping_from_json, mapping_from_pairs

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


def test_a_json_file_may_join_columns_convert_units_and_say_what_is_done(tmp_path: Path) -> None:
    path = tmp_path / "mapping.json"
    document = {
        "columns": {
            "key": {"columns": ["item", "person"], "joined_by": "-"},
            "title": {"columns": ["Summary", "Title"]},
            "estimate_hours": {"columns": ["plan"], "optional": True},
            "effort_hours": "spent",
        },
        "missing_cells": ["\\N"],
        "zero_is_missing": ["estimate_hours"],
        "units": {"effort_hours": "minutes"},
        "every_row_dated": True,
        "repeated_rows": True,
        "assignee_known_at": "creation",
        "done": {"column": "Status", "values": ["Closed"]},
        "dates": {"by": "item", "columns": {"created_at": "asked", "completed_at": "closed"}},
    }
    path.write_text(json.dumps(document))
    assert mapping_from_json(path) == Mapping(
        {
            "key": Cells(("item", "person"), joined_by="-"),
            "title": Cells(("Summary", "Title")),
            "estimate_hours": Cells(("plan",), optional=True),
            "effort_hours": "spent",
        },
        missing_cells=("\\N",),
        zero_is_missing=("estimate_hours",),
        units={"effort_hours": "minutes"},
        every_row_dated=True,
        repeated_rows=True,
        assignee_known_at="creation",
        done=Done("Status", ("Closed",)),
        dates=DatesFile("item", {"created_at": "asked", "completed_at": "closed"}),
    )


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
        {"columns": {**COLUMNS, "title": {"columns": []}}},
        {"columns": {**COLUMNS, "title": {"columns": ["a"], "joind_by": "-"}}},
        {"columns": {**COLUMNS, "title": {"columns": ["a"], "joined_by": "-", "optional": True}}},
        {"columns": COLUMNS, "units": {"effort_hours": "days"}},
        {"columns": COLUMNS, "units": {"title": "hours"}},
        {"columns": COLUMNS, "zero_is_missing": ["title"]},
        {"columns": COLUMNS, "missing_cells": "-"},
        {"columns": COLUMNS, "repeated_rows": "perhaps"},
        {"columns": COLUMNS, "every_row_dated": True},
        {"columns": COLUMNS, "assignee_known_at": "creation"},
        {"columns": {**COLUMNS, "created_at": "c"}, "assignee_known_at": "always"},
        {"columns": COLUMNS, "done": {"values": ["x"]}},
        {"columns": COLUMNS, "dates": {"by": "key", "columns": {}}},
        {"columns": COLUMNS, "dates": {"by": "key", "columns": {"title": "x"}}},
        {"columns": {**COLUMNS, "created_at": "c"}, "dates": {"by": "key", "columns": {"created_at": "x"}}},
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
