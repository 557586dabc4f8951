"""Issue files of any tracker: parse all, validate all, then records of the sound rows.

    files = [read_issues(path, mapping) for path in paths]
    broken = check(files, suite_path)
    records = to_records(files, broken)  # or raise InvalidRowsError(broken)

Only the suite judges; reading a file refuses no more than what cannot be read as rows.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd

from forecastle.errors import BrokenRow, InputError
from forecastle.records.issues import IssueRecord
from forecastle.sources.cells import read_moment, read_number, read_text
from forecastle.sources.csv_files import Progress, RawRow, no_progress, read_csv
from forecastle.sources.presets import DATE_FIELDS, FIELDS, NUMBER_FIELDS, TEXT_FIELDS, Mapping
from forecastle.validation.run import validate
from forecastle.validation.suite import load_suite


@dataclass(frozen=True, eq=False)
class IssueFile:
    """One parsed file: row i of `frame` starts on line `lines[i]` of the unpacked file.

    `frame` has the columns `layout` ("whole", or what is wrong with the row's shape), `project_key`, every
    canonical field (text; float64; datetime64, meant as UTC) and for each number and date
    `<field>_readable`, false where a cell holds something else. Missing is missing, never "".
    """

    path: Path
    mapping: Mapping
    frame: pd.DataFrame
    lines: tuple[int, ...]


def read_issues(
    path: Path,
    mapping: Mapping,
    project: str | None = None,
    project_from_file: bool = False,
    on_progress: Progress = no_progress,
) -> IssueFile:
    """Parse one CSV file of issues; nothing is judged yet.

    The project is `project`, else the file's name without .csv and .gz where `project_from_file`, else what
    stands in the key before its last dash. `on_progress` hears bytes done and bytes in all. Raises InputError
    where the file cannot be read (see read_csv), lacks a mapped column or has it twice, or has no rows.
    """
    header, rows = read_csv(path, mapping.encoding, mapping.delimiter, on_progress)
    places = _places(path, header, mapping)
    columns: dict[str, list[Any]] = {name: [] for name in _dtypes()}
    lines: list[int] = []
    fixed = project or (_stem(path) if project_from_file else None)
    for row in rows:
        lines.append(row.line)
        for name, value in _canonical(row, places, mapping, fixed).items():
            columns[name].append(value)
    if not lines:
        raise InputError(f"{path}: the file has a header and no rows")
    frame = pd.DataFrame({name: pd.Series(columns[name], dtype=kind) for name, kind in _dtypes().items()})
    return IssueFile(path, mapping, frame, tuple(lines))


def check(files: Sequence[IssueFile], suite_path: Path) -> list[BrokenRow]:
    """Every rule that a row of `files` breaks, in the order of files and lines.

    All files are held against the suite at once, since a key may stand only once over all of them; every row
    that shares a key is broken, because nothing says which is right. `column` is the file's own name of the
    column. Raises SuiteError where the suite did not load whole.
    """
    report = validate(_joined(files), load_suite(suite_path))
    origins = [
        (file, line, layout) for file in files for line, layout in zip(file.lines, file.frame["layout"], strict=True)
    ]
    broken = []
    for violation in report.violations:
        file, line, layout = origins[violation.row]
        # Cells of a misshapen row stand in the wrong columns: what else is wrong with them is noise.
        if violation.column == "layout" or layout == "whole":
            column = file.mapping.column(violation.column)
            broken.append(BrokenRow(str(file.path), line, column, violation.rule))
    return broken


def to_records(files: Sequence[IssueFile], broken: Collection[BrokenRow] = ()) -> list[IssueRecord]:
    """The records of all rows but the broken ones, in the order of files and lines.

    Ordinals count from 0 within each project, without gaps. Rows without `created_at` are undated. Story
    points of dated rows without a moment of their own count as known at the completion.
    """
    left_out = {(row.file, row.line) for row in broken}
    ordinals: Counter[str] = Counter()
    records = []
    for file in files:
        for line, row in zip(file.lines, _rows(file.frame), strict=True):
            if (str(file.path), line) not in left_out:
                records.append(_record(file, line, row, ordinals[row["project_key"]]))
                ordinals[row["project_key"]] += 1
    return records


def frame_of_records(records: Iterable[IssueRecord]) -> pd.DataFrame:
    """Records as the frame that the suite looks at, to hold what is stored against the same rules."""
    columns: dict[str, list[Any]] = {name: [] for name in _dtypes()}
    for record in records:
        for name in columns:
            if name == "layout":
                columns[name].append("whole")
            elif name.endswith("_readable"):
                columns[name].append(True)
            else:
                value = getattr(record, name) if getattr(record, name) != "" else None
                columns[name].append(value.replace(tzinfo=None) if isinstance(value, datetime) else value)
    return pd.DataFrame({name: pd.Series(columns[name], dtype=kind) for name, kind in _dtypes().items()})


def _dtypes() -> dict[str, str]:
    """The columns of the canonical frame and their kinds."""
    return {
        "layout": "str",
        "project_key": "str",
        **dict.fromkeys(TEXT_FIELDS, "str"),
        **dict.fromkeys(NUMBER_FIELDS, "float64"),
        **dict.fromkeys(DATE_FIELDS, "datetime64[us]"),
        **{f"{name}_readable": "bool" for name in (*NUMBER_FIELDS, *DATE_FIELDS)},
    }


def _places(path: Path, header: list[str], mapping: Mapping) -> dict[str, int]:
    """Where in a row each mapped field stands."""
    wanted = mapping.columns.values()
    if missing := sorted({column for column in wanted if column not in header}):
        # A file without a header shows its first row here: keep what is said of it short.
        has = ", ".join(name[:40] for name in header[:40])
        raise InputError(f"{path}: the file has no column {', '.join(missing)}; it has: {has}")
    if twice := sorted({column for column in wanted if header.count(column) > 1}):
        raise InputError(f"{path}: columns that stand more than once: {', '.join(twice)}; rename all but one")
    return {name: header.index(column) for name, column in mapping.columns.items()}


def _stem(path: Path) -> str:
    return path.name.removesuffix(".gz").removesuffix(".csv")


def _canonical(row: RawRow, places: dict[str, int], mapping: Mapping, project: str | None) -> dict[str, Any]:
    """One row of the canonical frame; a misshapen row holds nothing but its layout."""
    cells: dict[str, str | None] = dict.fromkeys(FIELDS)
    if row.layout == "whole":
        cells |= {name: read_text(row.cells[place]) for name, place in places.items()}
    prefix = (cells["key"] or "").rpartition("-")[0] or None
    canonical: dict[str, Any] = {name: cells[name] for name in TEXT_FIELDS}
    canonical |= {"layout": row.layout, "project_key": project or prefix}
    for name in NUMBER_FIELDS:
        canonical |= _typed(name, cells[name], read_number)
    for name in DATE_FIELDS:
        canonical |= _typed(name, cells[name], lambda cell: _frame_moment(cell, mapping))
    return canonical


def _frame_moment(cell: str, mapping: Mapping) -> datetime:
    # pandas drops zones where Great Expectations compares columns, so the frame does without from the start.
    return read_moment(cell, mapping.date_formats).replace(tzinfo=None)


def _typed(name: str, cell: str | None, read: Callable[[str], float | datetime]) -> dict[str, Any]:
    try:
        value, readable = None if cell is None else read(cell), True
    except ValueError:
        value, readable = None, False
    return {name: value, f"{name}_readable": readable}


def _joined(files: Sequence[IssueFile]) -> pd.DataFrame:
    if not files:
        raise InputError("there is no file to import")
    return pd.concat([file.frame for file in files], ignore_index=True)


def _rows(frame: pd.DataFrame) -> Iterator[dict[str, Any]]:
    """The rows as Python values, missing ones as None."""
    values: list[list[Any]] = [
        [None if missing else value for value, missing in zip(frame[name], frame[name].isna(), strict=True)]
        for name in ("project_key", *FIELDS)
    ]
    for row in zip(*values, strict=True):
        yield dict(zip(("project_key", *FIELDS), row, strict=True))


def _record(file: IssueFile, line: int, row: dict[str, Any], ordinal: int) -> IssueRecord:
    for name in DATE_FIELDS:
        row[name] = None if row[name] is None else row[name].to_pydatetime().replace(tzinfo=UTC)
    dated = file.mapping.time_basis == "date" and row["created_at"] is not None
    if dated and row["story_points"] is not None:
        row["story_points_known_at"] = row["story_points_known_at"] or row["completed_at"]
    return IssueRecord(
        **row,
        ordinal=ordinal,
        time_basis="date" if dated else "ordinal",
    )
