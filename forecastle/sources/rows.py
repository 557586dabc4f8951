"""From the cells of a row to the texts of its fields, as a mapping says."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from forecastle.sources.columns import readers
from forecastle.sources.dates import dates_reader
from forecastle.sources.mapping import FIELDS, Mapping

Texts = tuple[str | bool | None, ...]
"""The text of each of FIELDS, in their order, and whether the file of dates has the row."""

NO_TEXTS: Texts = (*(None for _ in FIELDS), True)
_OUTCOMES = ("effort_hours", "completed_at")


def row_reader(path: Path, header: list[str], mapping: Mapping, dates: Path | None) -> Callable[[list[str]], Texts]:
    """Reads the texts of the cells of a row that is as long as the header.

    Raises InputError where the file lacks a mapped column or has it twice, or for its dates (see read_dates).
    """
    read = readers(path, header, mapping.columns, mapping.missing_cells)
    is_done = _done_reader(path, header, mapping)
    find_dates = dates_reader(path, header, mapping, dates)

    def texts(cells: list[str]) -> Texts:
        dated = find_dates(cells)
        found = {name: part(cells) for name, part in read.items()} | (dated or {})
        if not is_done(cells):
            found |= dict.fromkeys(_OUTCOMES)
        return (*map(found.get, FIELDS), dated is not None)

    return texts


def _done_reader(path: Path, header: list[str], mapping: Mapping) -> Callable[[list[str]], bool]:
    if mapping.done is None:
        return lambda cells: True
    read = readers(path, header, {"done": mapping.done.column}, mapping.missing_cells)["done"]
    values = mapping.done.values
    return lambda cells: (text := read(cells)) is not None and (not values or text in values)
