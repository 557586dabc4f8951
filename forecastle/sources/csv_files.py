"""Reading CSV files, plain or gzipped, row by row, keeping the line on which each row starts."""

from __future__ import annotations

import csv
import gzip
import zlib
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Literal, cast

from forecastle.errors import InputError

Progress = Callable[[int, int], None]
Layout = Literal["whole", "too few cells", "too many cells", "not CSV"]

_BOM = b"\xef\xbb\xbf"
_GZIP = b"\x1f\x8b"
_LARGEST_CELL = 2**31 - 1  # characters; the most that every platform takes


def no_progress(bytes_done: int, bytes_total: int) -> None:
    """The progress that nobody watches."""


@dataclass(frozen=True, slots=True)
class RawRow:
    """One row as it stands: its first physical line (1-based, in the unpacked text) and its cells.

    `layout` says what is wrong with its shape; a row that is not CSV has no cells.
    """

    line: int
    cells: list[str]
    layout: Layout


def read_csv(
    path: Path, encoding: str = "utf-8", delimiter: str = ",", on_progress: Progress = no_progress
) -> tuple[list[str], Iterator[RawRow]]:
    """The header of a CSV file and its rows, streaming; blank lines are passed over.

    `on_progress` hears the bytes read of the file on disk, and its size. Where a row is not CSV (a stray
    quote, one that never closes), reading goes on at the next physical line, so that it swallows no sound
    rows. Raises InputError (for rows: while they are read) naming file and line: the file cannot be opened,
    is empty, holds bytes that are not of the encoding, or is a damaged or shortened gzip file.
    """
    rows = _rows(path, encoding, delimiter, on_progress)
    header = next(rows, None)
    if header is None:
        raise InputError(f"{path}: the file is empty")
    if header.layout == "not CSV":
        raise InputError(f"{path}:{header.line}: the header is not CSV with quotes that close and line ends")
    names = [name.strip() for name in header.cells]
    return names, (_fitted(row, len(names)) for row in rows)


def _fitted(row: RawRow, width: int) -> RawRow:
    if row.layout != "whole" or len(row.cells) == width:
        return row
    return replace(row, layout="too few cells" if len(row.cells) < width else "too many cells")


def _rows(path: Path, encoding: str, delimiter: str, on_progress: Progress) -> Iterator[RawRow]:
    # Descriptions outgrow csv's 128 KiB. The limit is the whole process's; nothing here wants a low one.
    csv.field_size_limit(_LARGEST_CELL)
    lines = _Lines(path, encoding, on_progress)
    # Strict, since a lenient reader joins what stands around a stray quote without a word.
    reader = csv.reader(lines, delimiter=delimiter, strict=True)
    while True:
        start = lines.begin_row()
        try:
            cells = next(reader, None)
        except csv.Error:
            lines.resume_behind_first()
            yield RawRow(start, [], "not CSV")
            continue
        if cells is None:
            return
        if cells:
            yield RawRow(start, cells, "whole")


class _Lines:
    """The physical lines of a file as text, numbered; those of the current row can be read again.

    A line that cannot be read is an InputError naming it.
    """

    def __init__(self, path: Path, encoding: str, on_progress: Progress) -> None:
        self._path, self._encoding = path, encoding
        self._read = _binary_lines(path, on_progress)
        self._number = 0
        self._row: list[str] = []
        self._again: deque[str] = deque()

    def begin_row(self) -> int:
        """Forget the lines of the last row; the number of the line that comes next."""
        self._row.clear()
        return self._number + 1

    def resume_behind_first(self) -> None:
        """Hand out again every line of the current row but its first."""
        behind = self._row[1:]
        self._again.extendleft(reversed(behind))
        self._number -= len(behind)

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        self._number += 1
        line = self._again.popleft() if self._again else self._decoded()
        self._row.append(line)
        return line

    def _decoded(self) -> str:
        try:
            return next(self._read).decode(self._encoding)
        except UnicodeDecodeError:
            reason = f"bytes that are not {self._encoding}; name the file's encoding in the mapping"
        except (EOFError, zlib.error, gzip.BadGzipFile):
            reason = "the gzip file is damaged or cut short; fetch it again"
        except OSError as error:
            reason = error.strerror or "the file cannot be read"
        raise InputError(f"{self._path}:{self._number}: {reason}")


def _binary_lines(path: Path, on_progress: Progress) -> Iterator[bytes]:
    with ExitStack() as stack:
        on_disk = stack.enter_context(path.open("rb"))
        size, done = path.stat().st_size, 0
        packed = path.suffix == ".gz" or on_disk.peek(2)[:2] == _GZIP
        lines = stack.enter_context(gzip.open(on_disk)) if packed else on_disk
        for number, line in enumerate(cast(IO[bytes], lines)):
            yield line.removeprefix(_BOM) if number == 0 else line
            if (now := on_disk.raw.tell()) != done:
                done = now
                on_progress(done, size)
        on_progress(size, size)
