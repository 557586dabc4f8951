"""Mappings that people write: pairs on the command line, or a JSON file."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from forecastle.errors import InputError
from forecastle.records.issues import TimeBasis
from forecastle.sources.mapping import Cells, Mapping

_MAPPING = TypeAdapter(Mapping)


def mapping_from_pairs(pairs: Sequence[str]) -> Mapping:
    """A mapping from pairs such as "key=Issue key"; undated unless one names `created_at`.

    Raises InputError for a pair without "=", a field named twice, or a mapping that makes no sense.
    """
    columns: dict[str, str | Cells] = {}
    for pair in pairs:
        name, equals, column = (part.strip() for part in pair.partition("="))
        if not (name and equals and column):
            raise InputError(f"write FIELD=COLUMN, for instance key=Issue key, not {pair!r}")
        if name in columns:
            raise InputError(f"the field {name} is mapped twice")
        columns[name] = column
    basis: TimeBasis = "date" if "created_at" in columns else "ordinal"
    return Mapping(columns, time_basis=basis)


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
    if isinstance(document, dict) and not _names_creation(document):
        document.setdefault("time_basis", "ordinal")
    try:
        return _MAPPING.validate_python(document)
    except ValidationError as error:
        problems = [f"{'.'.join(map(str, part['loc'])) or 'the file'}: {part['msg']}" for part in error.errors()]
        raise InputError("\n".join([f"{path}: not a mapping; mend these entries", *problems])) from None
    except InputError as error:
        raise InputError(f"{path}: {error}") from None


def _names_creation(document: dict[str, object]) -> bool:
    dates = document.get("dates")
    places = (document.get("columns"), dates.get("columns") if isinstance(dates, dict) else None)
    return any(isinstance(columns, dict) and "created_at" in columns for columns in places)
