"""Files of requests: every kind is read alike, and rows that cannot be read stop no others."""

from __future__ import annotations

import csv
import gzip
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow
import pytest
from pyarrow import parquet

from forecastle.errors import InputError
from forecastle.sources import requests
from forecastle.sources.requests import AskedRow, RequestFile

ROWS = [
    {"title": 'Größe, "quoted"', "description": "two\nlines", "other": "x"},
    {"title": "", "description": "no title", "other": ""},
    {"title": "third", "description": "", "other": "y"},
] * 400


def asked(path: Path, **changed: Any) -> RequestFile:
    return RequestFile(path, **{"fields": ["title", "description", "hours"], "required": ["title"], **changed})


def write(path: Path, rows: Sequence[Mapping[str, Any]] = ROWS) -> Path:
    """The rows in the kind of file that the name says."""
    if ".parquet" in path.name:
        parquet.write_table(pyarrow.Table.from_pylist(list(rows)), path)
        return path
    opened = gzip.open if path.suffix == ".gz" else open
    with opened(path, "wt", newline="", encoding="utf-8") as file:
        if ".csv" in path.name:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
        else:
            file.writelines(f"{json.dumps(row)}\n\n" for row in rows)
    return path


@pytest.mark.parametrize("name", ["a.csv", "a.csv.gz", "a.ndjson", "a.jsonl.gz", "a.parquet"])
def test_every_kind_of_file_has_the_same_rows_without_empty_cells_and_other_columns(tmp_path: Path, name: str) -> None:
    heard: list[tuple[int, int]] = []
    found = list(asked(write(tmp_path / name)).rows(lambda done, total: heard.append((done, total))))
    expected = [
        AskedRow(number, {field: row[field] for field in ("title", "description") if row[field]})
        for number, row in enumerate(ROWS, 1)
    ]
    assert found == expected
    assert heard == sorted(heard)
    assert heard[-1][0] == heard[-1][1]


def test_what_is_no_number_is_no_cell(tmp_path: Path) -> None:
    path = write(tmp_path / "a.parquet", [{"title": "a", "hours": float("nan")}, {"title": "b", "hours": 1.5}])
    assert [row.cells for row in asked(path).rows()] == [{"title": "a"}, {"title": "b", "hours": 1.5}]


def test_a_row_that_cannot_be_read_says_why_and_the_others_are_read(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text('title,description\na,b\n"stray" quote,c\nshort\nd,e\n')
    found = list(asked(tmp_path / "a.csv").rows())
    assert [row.error for row in found] == ["", "line 3 of the file: not CSV", "line 4 of the file: too few cells", ""]
    (tmp_path / "a.ndjson").write_bytes(b'{"title": "a"}\n{\n[1]\n\xff\n' + b"[" * 100_000 + b'\n{"title": "b"}')
    found = list(asked(tmp_path / "a.ndjson").rows())
    assert [bool(row.error) for row in found] == [False, True, True, True, True, False]
    assert [row.number for row in found] == [1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize("name", ["a.csv", "a.parquet"])
def test_a_file_that_lacks_a_required_column_says_which_and_what_there_may_be(tmp_path: Path, name: str) -> None:
    path = write(tmp_path / name, [{"description": "x"}])
    with pytest.raises(InputError, match=r"no column title; there may be: title, description, hours"):
        list(asked(path).rows())


@pytest.mark.parametrize(
    "name, content, sentence",
    [
        ("a.txt", b"title\n", r"ends in \.csv, \.ndjson, \.jsonl, \.parquet"),
        ("a.parquet", b"no Parquet", "no Parquet file"),
        ("a.ndjson.gz", gzip.compress(b'{"title": "a"}\n' * 999, mtime=0)[:-30], "damaged or cut short"),
        ("a.ndjson.gz", b"no gzip", "damaged or cut short"),
        ("a.csv", b"", "the file is empty"),
    ],
)
def test_a_file_that_cannot_be_read_is_a_sentence(tmp_path: Path, name: str, content: bytes, sentence: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=sentence):
        list(asked(tmp_path / name).rows())


def test_a_file_that_is_not_there_is_a_sentence(tmp_path: Path) -> None:
    for name in ("a.csv", "a.ndjson", "a.parquet"):
        with pytest.raises(InputError, match="No such file"):
            list(asked(tmp_path / name).rows())


def test_a_line_without_an_end_is_refused_before_it_is_held(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(requests, "LONGEST_LINE_BYTES", 100)
    (tmp_path / "a.ndjson").write_text('{"title": "a"}\n' + "x" * 1_000)
    with pytest.raises(InputError, match="line 2 is longer than 100 bytes"):
        list(asked(tmp_path / "a.ndjson").rows())
