"""Results of batch scoring as files: CSV or Parquet, on this machine or in S3, whole or not at all."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import Any

from pydantic import BaseModel

from forecastle.errors import InputError
from forecastle.registry.declaration import ModelType
from forecastle.settings import Settings
from forecastle.store.uploads import is_s3, upload

PARQUET_ROWS = 10_000
ERROR = "error"

Kinds = Mapping[str, str]
"""The JSON type of each column: number, integer, boolean, or string for everything else."""


def columns_of(model_type: ModelType, key: str, key_kind: str) -> Kinds:
    """The key of a row, what was asked, what was answered (without the id of a prediction), and the error."""
    answer = {name: kind for name, kind in _kinds(model_type.answer_type()).items() if name != "prediction_id"}
    return {key: key_kind, **_kinds(model_type.request_type()), **answer, ERROR: "string"}


def _kinds(model: type[BaseModel]) -> dict[str, str]:
    found = {}
    for name, schema in model.model_json_schema()["properties"].items():
        kinds = {part.get("type") for part in schema.get("anyOf", [schema])} - {"null"}
        kind = kinds.pop() if len(kinds) == 1 else None
        found[name] = kind if kind in ("number", "integer", "boolean") else "string"
    return found


def require_writable(output: str) -> None:
    """Raises InputError where a result could not be written there, before anything is answered."""
    if _suffix(output) not in _WRITERS:
        raise InputError(f"{output}: the name of the result ends in {' or '.join(_WRITERS)}")
    if not is_s3(output) and not Path(output).parent.is_dir():
        raise InputError(f"{Path(output).parent}: there is no such folder")


def write_result(
    settings: Settings, output: str, scratch: Path, columns: Kinds, rows: Iterable[Mapping[str, Any]]
) -> None:
    """Write the rows to a file, or by way of a file in the folder `scratch` to S3; it appears whole or not at all.

    Raises InputError, ServerError, ConfigurationError.
    """
    target = Path(output)
    unfinished = (scratch if is_s3(output) else target.parent) / f".{target.name}.{os.getpid()}.unfinished"
    try:
        _WRITERS[_suffix(output)](unfinished, columns, rows)
        if is_s3(output):
            upload(settings, unfinished, output)
        else:
            unfinished.replace(target)
    finally:
        unfinished.unlink(missing_ok=True)


def _suffix(output: str) -> str:
    return PurePosixPath(output).suffix


@contextmanager
def _durable(path: Path, mode: str, newline: str | None = None) -> Iterator[Any]:
    with path.open(mode, newline=newline) as file:
        yield file
        file.flush()
        os.fsync(file.fileno())


def _write_csv(path: Path, columns: Kinds, rows: Iterable[Mapping[str, Any]]) -> None:
    with _durable(path, "w", newline="") as file:
        writer = csv.DictWriter(file, list(columns), restval="", extrasaction="ignore")
        writer.writeheader()
        writer.writerows({name: _as_text(cell) for name, cell in row.items()} for row in rows)


def _as_text(cell: Any) -> Any:
    return json.dumps(cell) if isinstance(cell, dict | list) else cell


def _write_parquet(path: Path, columns: Kinds, rows: Iterable[Mapping[str, Any]]) -> None:
    import pyarrow as arrow  # which only results of this kind need
    from pyarrow import parquet

    types = {"number": arrow.float64(), "integer": arrow.int64(), "boolean": arrow.bool_(), "string": arrow.string()}
    schema = arrow.schema([(name, types[kind]) for name, kind in columns.items()])
    with _durable(path, "wb") as file, parquet.ParquetWriter(file, schema, compression="zstd") as writer:
        rows = iter(rows)
        while chunk := list(islice(rows, PARQUET_ROWS)):
            cells = {name: [_as(kind, row.get(name)) for row in chunk] for name, kind in columns.items()}
            writer.write_table(arrow.table(cells, schema=schema))


def _as(kind: str, cell: Any) -> Any:
    """The cell as the column's kind; None where it is none of it, which the row's error then says."""
    if cell is None:
        return None
    if kind == "string":
        return cell if isinstance(cell, str) else json.dumps(cell)
    try:
        return {"number": float, "integer": int, "boolean": bool}[kind](cell)
    except (TypeError, ValueError):
        return None


_WRITERS: Mapping[str, Callable[[Path, Kinds, Iterable[Mapping[str, Any]]], None]] = {
    ".csv": _write_csv,
    ".parquet": _write_parquet,
}
