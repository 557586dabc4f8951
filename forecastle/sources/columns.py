"""Where in a file the cells of a field stand."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from forecastle.errors import InputError
from forecastle.sources.cells import read_text
from forecastle.sources.mapping import Cells

Read = Callable[[Sequence[str]], str | None]
"""Reads a text out of the cells of a row that is as long as the header."""


def readers(path: Path, header: list[str], columns: dict[str, str | Cells], missing: Sequence[str]) -> dict[str, Read]:
    """A reader for each field of `columns`; cells that hold one of `missing` are empty.

    Raises InputError where the file lacks a column or has it twice.
    """
    single = [name for cells in columns.values() for name in _that_stand_once(cells)]
    _require_columns(path, header, single)
    empty = frozenset(missing)
    found: dict[str, Read] = {}
    for field, cells in columns.items():
        if isinstance(cells, str):
            found[field] = _one(header.index(cells), empty)
        elif cells.joined_by is not None:
            parts = [_one(header.index(name), empty) for name in cells.columns]
            found[field] = _joined(parts, cells.joined_by, needs_all=field == "key")
        else:
            found[field] = _first(_anywhere(path, header, cells), empty)
    return found


def _that_stand_once(cells: str | Cells) -> tuple[str, ...]:
    if isinstance(cells, str):
        return (cells,)
    return () if cells.joined_by is None else cells.columns


def _require_columns(path: Path, header: list[str], wanted: Sequence[str]) -> None:
    if missing := sorted({column for column in wanted if column not in header}):
        raise InputError(f"{path}: the file has no column {', '.join(missing)}; it has: {_shown(header)}")
    if twice := sorted({column for column in wanted if header.count(column) > 1}):
        raise InputError(f"{path}: columns that stand more than once: {', '.join(twice)}; rename all but one")


def _anywhere(path: Path, header: list[str], cells: Cells) -> list[int]:
    places = [place for name in cells.columns for place, column in enumerate(header) if column == name]
    if not places and not cells.optional:
        raise InputError(f"{path}: the file has no column {cells}; it has: {_shown(header)}")
    return places


def _shown(header: list[str]) -> str:
    # A file without a header shows its first row here: keep what is said of it short.
    return ", ".join(name[:40] for name in header[:40])


def _one(place: int, empty: frozenset[str]) -> Read:
    def read(row: Sequence[str]) -> str | None:
        text = read_text(row[place])
        return None if text in empty else text

    return read


def _first(places: Sequence[int], empty: frozenset[str]) -> Read:
    parts = [_one(place, empty) for place in places]
    return lambda row: next((text for part in parts if (text := part(row)) is not None), None)


def _joined(parts: Sequence[Read], joined_by: str, needs_all: bool) -> Read:
    def read(row: Sequence[str]) -> str | None:
        texts = [text for part in parts if (text := part(row)) is not None]
        if not texts or (needs_all and len(texts) < len(parts)):
            return None
        return joined_by.join(texts)

    return read
