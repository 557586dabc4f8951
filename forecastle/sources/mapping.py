"""How to read a foreign file: which cells hold which field, and how they are written."""

from __future__ import annotations

import codecs
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

from forecastle.errors import InputError
from forecastle.records.issues import TimeBasis

TEXT_FIELDS = (
    "key", "title", "description", "issue_type", "component", "priority", "reporter", "assignee", "project_key",
)  # fmt: skip
NUMBER_FIELDS = ("story_points", "effort_hours", "estimate_hours")
DATE_FIELDS = ("created_at", "completed_at", "story_points_known_at")
FIELDS = (*TEXT_FIELDS, *NUMBER_FIELDS, *DATE_FIELDS)

# Jira's own export, and a day alone; ISO 8601 is always read. Both spell the month, so no day is guessed.
DATE_FORMATS = ("%d/%b/%y %I:%M %p", "%d-%b-%y")

Unit = Literal["hours", "minutes", "seconds"]
UNITS_AN_HOUR: dict[Unit, int] = {"hours": 1, "minutes": 60, "seconds": 3600}
HOUR_FIELDS = ("effort_hours", "estimate_hours")

AssigneeKnown = Literal["completion", "creation"]

# Mappings are read from JSON too: an entry that nobody knows is a mistake, not a wish.
_STRICT = {"extra": "forbid"}


@dataclass(frozen=True)
class Cells:
    """Which cells of a row make up a field, where it is not one cell of one column.

    With `joined_by`, the text of all `columns`, each of which stands once in the file; empty cells are left
    out, but a key of which a part is missing is no key. Without, the first cell that is not empty, in whichever
    of `columns` the file has and as often as it has them; `optional` where it may have none.
    Raises InputError naming what makes no sense.
    """

    __pydantic_config__ = _STRICT

    columns: tuple[str, ...]
    joined_by: str | None = None
    optional: bool = False

    def __post_init__(self) -> None:
        if not self.columns or not all(self.columns):
            raise InputError("cells need at least one named column")
        if self.optional and self.joined_by is not None:
            raise InputError("cells that are joined are not optional")

    def __str__(self) -> str:
        return (" or " if self.joined_by is None else " + ").join(self.columns)


@dataclass(frozen=True)
class Done:
    """A row is done where `column` holds one of `values`, or anything at all where there are none.

    Of a row that is not done, effort and completion are left empty: what was worked so far is no outcome.
    """

    __pydantic_config__ = _STRICT

    column: str
    values: tuple[str, ...] = ()


@dataclass(frozen=True)
class DatesFile:
    """Dates in a file of their own: `columns` maps DATE_FIELDS to its columns.

    Both files have the column `by`, and each of its values stands once there, or always with the same dates.
    """

    __pydantic_config__ = _STRICT

    by: str
    columns: dict[str, str]

    def __post_init__(self) -> None:
        if not self.by or not self.columns or set(self.columns) - set(DATE_FIELDS):
            raise InputError(f"dates need `by`, the column that both files share, and columns of {_list(DATE_FIELDS)}")


@dataclass(frozen=True)
class Mapping:
    """How to read one kind of CSV file.

    `columns` maps canonical fields (FIELDS; `key` and `title` are required) to a column of the file, which
    stands there once, or to Cells. Without `project_key` the project is what stands in the key before its last
    dash.

    - `date_formats` are tried in order, before ISO 8601; a date without a zone is UTC. A creation of which only
      the day is known is its start; a completion, and the moment of story points, the end of its day.
    - With the time basis "ordinal" the order of rows is the order of time; with "date", only for rows without
      `created_at`, which `every_row_dated` refuses.
    - `missing_cells` are texts that say that a cell is empty; a number of 0 or less says it in the fields of
      `zero_is_missing`. `units` says in what a field of hours is written.
    - `repeated_rows`: rows that agree in every field are one, where a file repeats an issue.
    - `assignee_known_at`: trackers export the final assignee, which is known at the "completion"; "creation"
      says that it was known from the start.

    Raises InputError naming what makes no sense.
    """

    __pydantic_config__ = _STRICT

    columns: dict[str, str | Cells]
    encoding: str = "utf-8"
    delimiter: str = ","
    date_formats: tuple[str, ...] = DATE_FORMATS
    time_basis: TimeBasis = "date"
    every_row_dated: bool = False
    missing_cells: tuple[str, ...] = ()
    zero_is_missing: tuple[str, ...] = ()
    units: dict[str, Unit] = field(default_factory=dict)
    repeated_rows: bool = False
    assignee_known_at: AssigneeKnown = "completion"
    done: Done | None = None
    dates: DatesFile | None = None

    def __post_init__(self) -> None:
        _require_fields(self)
        _require_time(self)
        if self.assignee_known_at not in ("completion", "creation"):
            raise InputError("assignee_known_at is completion or creation")
        if len(self.delimiter) != 1 or self.delimiter in '"\r\n':
            raise InputError("the delimiter is one character, neither a quote nor a line end")
        _require_line_by_line(self.encoding)

    def column(self, name: str) -> str:
        """The file's column of a field, for messages; the name itself where the file has none."""
        dates = self.dates.columns if self.dates else {}
        return str(self.columns.get(name) or dates.get(name) or name)


def _require_fields(mapping: Mapping) -> None:
    if unknown := sorted(set(mapping.columns) - set(FIELDS)):
        raise InputError(f"unknown fields: {_list(unknown)}; there are: {_list(FIELDS)}")
    if missing := [name for name in ("key", "title") if not mapping.columns.get(name)]:
        raise InputError(f"the mapping names no column for: {_list(missing)}")
    if set(mapping.zero_is_missing) - set(NUMBER_FIELDS):
        raise InputError(f"zero_is_missing names some of: {_list(NUMBER_FIELDS)}")
    if set(mapping.units) - set(HOUR_FIELDS) or set(mapping.units.values()) - set(UNITS_AN_HOUR):
        raise InputError(f"units says of {_list(HOUR_FIELDS)} one of: {_list(UNITS_AN_HOUR)}")
    if mapping.dates and (twice := sorted(set(mapping.dates.columns) & set(mapping.columns))):
        raise InputError(f"fields that are mapped twice, in the file and in that of the dates: {_list(twice)}")


def _require_time(mapping: Mapping) -> None:
    if mapping.time_basis not in ("date", "ordinal"):
        raise InputError("time_basis is date or ordinal")
    dated = "created_at" in mapping.columns or (mapping.dates and "created_at" in mapping.dates.columns)
    if mapping.time_basis == "date" and not dated:
        raise InputError("the time basis date needs a column for created_at; without one it is ordinal")
    if mapping.time_basis == "ordinal" and (mapping.every_row_dated or mapping.assignee_known_at == "creation"):
        raise InputError("every_row_dated, and an assignee known at the creation, need the time basis date")


def _require_line_by_line(encoding: str) -> None:
    """Files are decoded line by line, so that an error can name its line: UTF-16 does not allow that."""
    try:
        plain = codecs.lookup(encoding).name.startswith("utf-8") or ',"\n'.encode(encoding) == b',"\n'
    except (LookupError, TypeError, ValueError):
        raise InputError(f"there is no text encoding {encoding!r}") from None
    if not plain:
        raise InputError(f"the encoding {encoding} is not read; convert the file to UTF-8 first")


def _list(names: Iterable[str]) -> str:
    return ", ".join(names)
