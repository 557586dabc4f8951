"""Dates that stand in a file of their own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from forecastle.errors import InputError
from forecastle.sources.columns import readers
from forecastle.sources.csv_files import read_csv
from forecastle.sources.mapping import Mapping

Dates = dict[str, str | None]


def read_dates(path: Path, mapping: Mapping) -> dict[str, Dates]:
    """The dates of every value of the column that both files share, from a file of dates.

    What is wrong with this file is never skipped, since nothing says which issues would be meant. Raises
    InputError where it cannot be read, lacks a column, or a row is misshapen, has no key, or has the key of
    another row and other dates; rows are named by their lines.
    """
    assert mapping.dates is not None
    header, rows = read_csv(path, mapping.encoding, mapping.delimiter)
    by = mapping.dates.by
    read = readers(path, header, {**mapping.dates.columns, "by": by}, mapping.missing_cells)
    found: dict[str, Dates] = {}
    lines: dict[str, int] = {}
    for row in rows:
        if row.layout != "whole":
            raise InputError(f"{path}:{row.line}: {row.layout}; mend the row")
        dates = {name: part(row.cells) for name, part in read.items()}
        key = dates.pop("by")
        if key is None:
            raise InputError(f"{path}:{row.line}: {by} is empty; mend the row or take it out")
        if found.setdefault(key, dates) != dates:
            raise InputError(f"{path}:{lines[key]} and {row.line}: one {by}, different dates; keep one of the rows")
        lines.setdefault(key, row.line)
    return found


def dates_reader(
    path: Path, header: list[str], mapping: Mapping, dates: Path | None
) -> Callable[[list[str]], Dates | None]:
    """Reads the texts of the fields that stand in `dates` for a row of the file `path`; None where it has no such row.

    Raises InputError where a mapping without dates is given a file of them, or one with dates is given none.
    """
    if mapping.dates is None:
        if dates is not None:
            raise InputError(f"{dates}: this way of reading takes no file of dates; a mapping with `dates` does")
        return lambda cells: {}
    if dates is None:
        raise InputError(f"{path}: its dates stand in a file of their own; name it with --dates FILE")
    by = readers(path, header, {"by": mapping.dates.by}, mapping.missing_cells)["by"]
    found = read_dates(dates, mapping)
    return lambda cells: found.get(by(cells) or "")
