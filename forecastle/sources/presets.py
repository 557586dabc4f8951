"""Which column of a foreign file holds which field, and how its cells are written."""

from __future__ import annotations

import codecs
import json
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from forecastle.errors import InputError
from forecastle.records.issues import TimeBasis

TEXT_FIELDS = (
    "key", "title", "description", "issue_type", "component", "priority", "reporter", "assignee",
)  # fmt: skip
NUMBER_FIELDS = ("story_points", "effort_hours", "estimate_hours")
DATE_FIELDS = ("created_at", "completed_at", "story_points_known_at")
FIELDS = (*TEXT_FIELDS, *NUMBER_FIELDS, *DATE_FIELDS)

# Jira's own export, and a day alone; ISO 8601 is always read. Both spell the month, so no day is guessed.
DATE_FORMATS = ("%d/%b/%y %I:%M %p", "%d-%b-%y")


@dataclass(frozen=True)
class Mapping:
    """How to read one kind of CSV file.

    `columns` maps canonical fields (FIELDS; `key` and `title` are required) to column names of the file.
    `date_formats` are tried in order, before ISO 8601; a date without a zone is UTC. With the time basis
    "ordinal" the order of rows is the order of time; with "date", only for rows without `created_at`.
    Raises InputError naming what makes no sense.
    """

    columns: dict[str, str]
    encoding: str = "utf-8"
    delimiter: str = ","
    date_formats: tuple[str, ...] = DATE_FORMATS
    time_basis: TimeBasis = "date"

    def __post_init__(self) -> None:
        if unknown := sorted(set(self.columns) - set(FIELDS)):
            raise InputError(f"unknown fields: {', '.join(unknown)}; there are: {', '.join(FIELDS)}")
        if missing := [name for name in ("key", "title") if not self.columns.get(name)]:
            raise InputError(f"the mapping names no column for: {', '.join(missing)}")
        if self.time_basis not in ("date", "ordinal"):
            raise InputError("time_basis is date or ordinal")
        if self.time_basis == "date" and "created_at" not in self.columns:
            raise InputError("the time basis date needs a column for created_at; without one it is ordinal")
        if len(self.delimiter) != 1 or self.delimiter in '"\r\n':
            raise InputError("the delimiter is one character, neither a quote nor a line end")
        _require_line_by_line(self.encoding)

    def column(self, name: str) -> str:
        """The file's column of a field, for messages; the name itself where the file has none."""
        return self.columns.get(name, name)


def mapping_from_pairs(pairs: Sequence[str]) -> Mapping:
    """A mapping from pairs such as "key=Issue key"; undated unless one names `created_at`.

    Raises InputError for a pair without "=", a field named twice, or a mapping that makes no sense.
    """
    columns: dict[str, str] = {}
    for pair in pairs:
        name, equals, column = (part.strip() for part in pair.partition("="))
        if not (name and equals and column):
            raise InputError(f"write FIELD=COLUMN, for instance key=Issue key, not {pair!r}")
        if name in columns:
            raise InputError(f"the field {name} is mapped twice")
        columns[name] = column
    return Mapping(columns, time_basis=_default_basis(columns))


def mapping_from_json(path: Path) -> Mapping:
    """A mapping from a JSON object with `columns` and, where they differ, the other fields of Mapping.

    Raises InputError where the file cannot be read, holds an unknown entry or one of a wrong kind.
    """
    try:
        document = json.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from None
    except ValueError:
        raise InputError(f"{path}: not JSON in UTF-8") from None
    if not isinstance(document, dict) or not _is_text_object(document.get("columns")):
        raise InputError(f"{path}: an object with `columns` (field: column) is needed")
    known = [item.name for item in fields(Mapping)]
    if unknown := sorted(set(document) - set(known)):
        raise InputError(f"{path}: unknown entries: {', '.join(unknown)}; there are: {', '.join(known)}")
    try:
        return _from_document(document)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None


def _from_document(document: dict[str, Any]) -> Mapping:
    formats = document.pop("date_formats", list(DATE_FORMATS))
    if not isinstance(formats, list) or not all(isinstance(text, str) for text in formats):
        raise InputError("date_formats is a list of formats such as %d-%b-%y")
    columns = document.pop("columns")
    if not all(isinstance(value, str) for value in document.values()):
        raise InputError("encoding, delimiter and time_basis are text")
    document.setdefault("time_basis", _default_basis(columns))
    return Mapping(columns, date_formats=tuple(formats), **document)


def _is_text_object(value: object) -> bool:
    return isinstance(value, dict) and all(isinstance(column, str) for column in value.values())


def _default_basis(columns: dict[str, str]) -> TimeBasis:
    return "date" if "created_at" in columns else "ordinal"


def _require_line_by_line(encoding: str) -> None:
    """Files are decoded line by line, so that an error can name its line: UTF-16 does not allow that."""
    try:
        plain = codecs.lookup(encoding).name.startswith("utf-8") or ',"\n'.encode(encoding) == b',"\n'
    except (LookupError, TypeError, ValueError):
        raise InputError(f"there is no text encoding {encoding!r}") from None
    if not plain:
        raise InputError(f"the encoding {encoding} is not read; convert the file to UTF-8 first")


PRESETS = {
    "deepse": Mapping(
        columns={
            "key": "issuekey",
            "title": "title",
            "description": "description",
            "story_points": "storypoint",
        },
        time_basis="ordinal",
    ),
}
