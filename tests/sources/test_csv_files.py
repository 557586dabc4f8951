"""The CSV reader under bad input."""

from __future__ import annotations

import csv
import gzip
import io
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from forecastle.errors import InputError
from forecastle.sources.csv_files import RawRow, read_csv


def rows_of(path: Path, content: bytes, **how: str) -> list[RawRow]:
    path.write_bytes(content)
    return list(read_csv(path, **how)[1])


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "issues.csv"


def test_rows_know_the_physical_line_on_which_they_start(path: Path) -> None:
    rows = rows_of(path, b'a,b\r\n1,"x\r\ny\n\nz"\r\n\r\n2,w\n')
    assert [(row.line, row.cells) for row in rows] == [(2, ["1", "x\r\ny\n\nz"]), (7, ["2", "w"])]


def test_a_byte_order_mark_blanks_around_names_and_gzip_make_no_difference(path: Path) -> None:
    packed = gzip.compress(b"\xef\xbb\xbf a ,b\n1,2\n")
    for target in (path, path.with_suffix(".gz")):
        target.write_bytes(packed)
        header, rows = read_csv(target)
        assert (header, [row.cells for row in rows]) == (["a", "b"], [["1", "2"]])


def test_ragged_rows_are_told_and_reading_goes_on(path: Path) -> None:
    rows = rows_of(path, b"a,b\n1\n1,2,3\n1,2\n")
    assert [row.layout for row in rows] == ["too few cells", "too many cells", "whole"]


@pytest.mark.parametrize("broken", [b'1,"x" y\n', b'1,"never closed\n', b"1,x\ry\n"])
def test_a_row_that_is_not_csv_swallows_no_sound_rows(path: Path, broken: bytes) -> None:
    rows = rows_of(path, b"a,b\n" + broken + b'2,y\n3,"z"\n4,"v"\n')
    assert [(row.line, row.layout) for row in rows] == [
        (2, "not CSV"),
        (3, "whole"),
        (4, "whole"),
        (5, "whole"),
    ]


def test_huge_cells_and_nul_characters_are_read(path: Path) -> None:
    rows = rows_of(path, b"a,b\n" + b"x" * 3_000_000 + b",\x00\n")
    assert [len(cell) for cell in rows[0].cells] == [3_000_000, 1]


def test_other_encodings_and_delimiters_are_read_when_named(path: Path) -> None:
    rows = rows_of(path, "a;b\né;ü,\n".encode("latin-1"), encoding="latin-1", delimiter=";")
    assert rows[0].cells == ["é", "ü,"]


def test_bytes_of_another_encoding_name_their_line_and_not_their_text(path: Path) -> None:
    with pytest.raises(InputError, match=r"issues\.csv:3: bytes that are not utf-8") as raised:
        rows_of(path, b"a,b\n1,2\nsecret,\xff\n")
    assert "secret" not in str(raised.value)


@pytest.mark.parametrize("harm", [lambda data: data[:-20], lambda data: data[:40] + b"\0" * 30 + data[70:]])
def test_a_damaged_or_shortened_gzip_file_is_refused(path: Path, harm) -> None:  # type: ignore[no-untyped-def]
    text = "a,b\n" + "".join(f"{row},{row * 7919 % 10007}\n" for row in range(2000))
    with pytest.raises(InputError, match=r"issues\.csv:\d+: the gzip file is damaged"):
        rows_of(path, harm(gzip.compress(text.encode())))


def test_a_gz_file_that_is_not_gzip_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="gzip"):
        rows_of(tmp_path / "issues.csv.gz", b"a,b\n1,2\n")


@pytest.mark.parametrize("content", [b"", b"\xef\xbb\xbf", b"\n\n\n", gzip.compress(b"", mtime=0)])
def test_an_empty_file_is_refused(path: Path, content: bytes) -> None:
    with pytest.raises(InputError, match="empty"):
        rows_of(path, content)


@pytest.mark.parametrize("content", [b'"a,b\n', b'"a"x,b\n', b"a,b\r1,2\r"])
def test_a_header_that_is_not_csv_is_refused(path: Path, content: bytes) -> None:
    with pytest.raises(InputError, match="header"):
        rows_of(path, content)


def test_an_absent_file_and_a_folder_are_refused(tmp_path: Path) -> None:
    for place in (tmp_path / "absent.csv", tmp_path):
        with pytest.raises(InputError):
            read_csv(place)


def test_progress_counts_the_bytes_on_disk_up_to_all_of_them(path: Path) -> None:
    path.write_bytes(b"a,b\n" + b"1,2\n" * 200_000)
    heard: list[tuple[int, int]] = []
    list(read_csv(path, on_progress=lambda done, total: heard.append((done, total)))[1])
    size = path.stat().st_size
    assert heard[-1] == (size, size)
    assert 2 < len(heard) < 1000
    assert heard == sorted(heard)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=st.binary(max_size=200) | st.text('ab,"\r\n\x00é', max_size=80).map(str.encode))
def test_no_bytes_crash_the_reader(path: Path, content: bytes) -> None:
    try:
        rows = rows_of(path, content)
    except InputError:
        return
    assert all(row.line > 1 for row in rows)
    assert [row.line for row in rows] == sorted({row.line for row in rows})


cells = st.text(st.characters(codec="utf-8"), min_size=1, max_size=12)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(table=st.lists(st.tuples(cells, cells), max_size=6))
def test_whatever_a_csv_writer_wrote_is_read_again(path: Path, table: list[tuple[str, str]]) -> None:
    text = io.StringIO(newline="")
    csv.writer(text, quoting=csv.QUOTE_ALL).writerows([("a", "b"), *table])
    rows = rows_of(path, text.getvalue().encode())
    assert [tuple(row.cells) for row in rows] == table
    assert all(row.layout == "whole" for row in rows)
