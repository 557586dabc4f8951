"""The canonical frame that a suite looks at: a column for each field, and what could not be read."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from functools import cache
from typing import Any

import pandas as pd

from forecastle.sources.cells import read_moment, read_number
from forecastle.sources.mapping import DATE_FIELDS, FIELDS, NUMBER_FIELDS, TEXT_FIELDS, UNITS_AN_HOUR, Mapping
from forecastle.sources.rows import Texts


def frame_of_texts(
    layouts: Sequence[str], texts: Sequence[Texts], mapping: Mapping, project: str | None
) -> pd.DataFrame:
    """The canonical frame of a file's rows, all of one `project` where it is given.

    It has the columns `layout` ("whole", or what is wrong with the row's shape), every canonical field (text;
    float64, hours where it is one of hours; datetime64, meant as UTC), for each number and date
    `<field>_readable`, false where a cell holds something else, `dates_found`, false where the file of dates
    lacks the row, and `created_at_given`, false where it is missing and must not be. Missing is missing, never "".
    """
    by_field: dict[str, tuple[Any, ...]] = dict(zip((*FIELDS, "dates_found"), zip(*texts, strict=True), strict=True))
    columns: dict[str, Sequence[Any]] = {"layout": layouts, "dates_found": by_field["dates_found"]}
    columns |= {name: by_field[name] for name in TEXT_FIELDS}
    columns["project_key"] = [
        project or named or (key or "").rpartition("-")[0] or None
        for named, key in zip(by_field["project_key"], by_field["key"], strict=True)
    ]
    for name in NUMBER_FIELDS:
        columns |= _typed(name, by_field[name], _number_reader(name, mapping))
    for name in DATE_FIELDS:
        columns |= _typed(name, by_field[name], _moment_reader(name, mapping))
    columns["created_at_given"] = [
        not mapping.every_row_dated or layout != "whole" or text is not None
        for layout, text in zip(layouts, by_field["created_at"], strict=True)
    ]
    return pd.DataFrame({name: pd.Series(columns[name], dtype=kind) for name, kind in dtypes().items()})


def _number_reader(name: str, mapping: Mapping) -> Callable[[str], float | None]:
    an_hour = UNITS_AN_HOUR[mapping.units.get(name, "hours")]
    if name not in mapping.zero_is_missing:
        return lambda cell: read_number(cell) / an_hour
    return lambda cell: number / an_hour if (number := read_number(cell)) > 0 else None


def _moment_reader(name: str, mapping: Mapping) -> Callable[[str], datetime]:
    # pandas drops zones where Great Expectations compares columns, so the frame does without from the start.
    # A file holds the same days and minutes again and again.
    @cache
    def read(cell: str) -> datetime:
        return read_moment(cell, mapping.date_formats, day_ends=name != "created_at").replace(tzinfo=None)

    return read


def _typed(name: str, cells: Sequence[str | None], read: Callable[[str], Any]) -> dict[str, list[Any]]:
    values, readable = [], []
    for cell in cells:
        value, fits = None, True
        if cell is not None:
            try:
                value = read(cell)
            except ValueError:
                fits = False
        values.append(value)
        readable.append(fits)
    return {name: values, f"{name}_readable": readable}


def dtypes() -> dict[str, str]:
    """The columns of the canonical frame and their kinds."""
    return {
        "layout": "str",
        **dict.fromkeys(TEXT_FIELDS, "str"),
        **dict.fromkeys(NUMBER_FIELDS, "float64"),
        **dict.fromkeys(DATE_FIELDS, "datetime64[us]"),
        **{f"{name}_readable": "bool" for name in (*NUMBER_FIELDS, *DATE_FIELDS)},
        **dict.fromkeys(("dates_found", "created_at_given"), "bool"),
    }
