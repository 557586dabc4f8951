"""Files of requests: CSV, NDJSON and Parquet, of any size, row by row."""

from __future__ import annotations

import gzip
import json
import math
import zlib
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from forecastle.errors import InputError
from forecastle.sources.csv_files import Progress, no_progress, read_csv

PARQUET_ROWS = 500
LONGEST_LINE_BYTES = 16 * 1024 * 1024


@dataclass(frozen=True)
class AskedRow:
    """One row that is to be answered: its number (from 1, without the header), its cells, and why it has none."""

    number: int
    cells: Mapping[str, Any]
    error: str = ""


@dataclass(frozen=True)
class RequestFile:
    """A file whose columns, or the names of whose lines' values, are fields of a request.

    `fields` are those that a request may have, the others are not read; `required` ones have to be columns of it.
    """

    path: Path
    fields: Collection[str]
    required: Collection[str]

    def rows(self, on_progress: Progress = no_progress) -> Iterator[AskedRow]:
        """Every row, without the cells that are empty; `on_progress` hears bytes or rows, read and in all.

        Raises InputError: an unknown kind of file, one that cannot be read, or that lacks a required column.
        """
        name = self.path.name.removesuffix(".gz")
        reader = next((read for suffix, read in _READERS.items() if name.endswith(suffix)), None)
        if reader is None:
            raise InputError(f"{self.path}: the name of a file of requests ends in {', '.join(_READERS)}")
        try:
            yield from reader(self, on_progress)
        except OSError as error:
            raise InputError(f"{self.path}: {error.strerror or 'the file cannot be read'}") from None

    def require(self, columns: Collection[str]) -> None:
        if missing := set(self.required) - set(columns):
            may_be = ", ".join(self.fields)
            raise InputError(f"{self.path}: no column {', '.join(sorted(missing))}; there may be: {may_be}")

    def filled(self, cells: Mapping[str, Any]) -> dict[str, Any]:
        return {name: cells[name] for name in self.fields if name in cells and not _is_empty(cells[name])}


def _is_empty(cell: Any) -> bool:
    return cell is None or cell == "" or (isinstance(cell, float) and math.isnan(cell))


def _csv(file: RequestFile, on_progress: Progress) -> Iterator[AskedRow]:
    header, rows = read_csv(file.path, "utf-8", ",", on_progress)
    file.require(header)
    for number, row in enumerate(rows, 1):
        error = "" if row.layout == "whole" else f"line {row.line} of the file: {row.layout}"
        yield AskedRow(number, file.filled(dict(zip(header, row.cells, strict=False))), error)


def _ndjson(file: RequestFile, on_progress: Progress) -> Iterator[AskedRow]:
    size, number = file.path.stat().st_size, 0
    with ExitStack() as stack:
        on_disk = stack.enter_context(file.path.open("rb"))
        lines = stack.enter_context(gzip.open(on_disk)) if file.path.suffix == ".gz" else on_disk
        try:
            while line := lines.readline(LONGEST_LINE_BYTES):
                if line.strip():
                    number += 1
                    yield _of_line(file, number, line)
                on_progress(on_disk.tell(), size)
        except (EOFError, zlib.error, gzip.BadGzipFile):
            raise InputError(f"{file.path}: the gzip file is damaged or cut short; fetch it again") from None


def _of_line(file: RequestFile, number: int, line: bytes) -> AskedRow:
    if len(line) == LONGEST_LINE_BYTES and not line.endswith(b"\n"):
        raise InputError(f"{file.path}: line {number} is longer than {LONGEST_LINE_BYTES:,} bytes")
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        return AskedRow(number, {}, "the line is not JSON in UTF-8")
    return AskedRow(number, file.filled(found)) if isinstance(found, dict) else AskedRow(number, {}, "no JSON object")


def _parquet(file: RequestFile, on_progress: Progress) -> Iterator[AskedRow]:
    import pyarrow  # which only files of this kind need
    from pyarrow import parquet

    try:
        with parquet.ParquetFile(file.path) as found:
            names = found.schema_arrow.names
            file.require(names)
            number, total = 0, found.metadata.num_rows
            for batch in found.iter_batches(PARQUET_ROWS, columns=[name for name in names if name in file.fields]):
                for cells in batch.to_pylist():
                    number += 1
                    yield AskedRow(number, file.filled(cells))
                on_progress(number, total)
    except pyarrow.ArrowInvalid:
        raise InputError(f"{file.path}: this is no Parquet file, or a damaged one") from None


_READERS: dict[str, Callable[[RequestFile, Progress], Iterator[AskedRow]]] = {
    ".csv": _csv,
    ".ndjson": _ndjson,
    ".jsonl": _ndjson,
    ".parquet": _parquet,
}
