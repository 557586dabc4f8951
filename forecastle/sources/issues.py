"""Issue files of any tracker: parse all, validate all, then records of the sound rows.

    files = [read_issues(path, mapping) for path in paths]
    broken = check(files, suite_path)
    records = to_records(files, broken)  # or raise InvalidRowsError(broken)

Only the suite judges; reading a file refuses no more than what cannot be read as rows.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd

from forecastle.errors import BrokenRow, InputError
from forecastle.records.issues import IssueChange, IssueRecord
from forecastle.sources.csv_files import Progress, no_progress, read_csv
from forecastle.sources.frames import dtypes, frame_of_texts
from forecastle.sources.mapping import DATE_FIELDS, FIELDS, Mapping
from forecastle.sources.rows import NO_TEXTS, Texts, row_reader
from forecastle.validation.run import validate
from forecastle.validation.suite import load_suite


@dataclass(frozen=True, eq=False)
class IssueFile:
    """One parsed file: row i of `frame` starts on line `lines[i]` of the unpacked file.

    `frame` is the canonical one (see frame_of_texts).
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
    dates: Path | None = None,
) -> IssueFile:
    """Parse one CSV file of issues; nothing is judged yet.

    The project is `project`, else the file's name without .csv and .gz where `project_from_file`, else what the
    mapping says, else what stands in the key before its last dash. `dates` is the file of the mapping's dates.
    `on_progress` hears bytes done and bytes in all. Raises InputError where a file cannot be read (see read_csv,
    read_dates), lacks a mapped column or has it twice, or has no rows.
    """
    header, rows = read_csv(path, mapping.encoding, mapping.delimiter, on_progress)
    read = row_reader(path, header, mapping, dates)
    lines: list[int] = []
    layouts: list[str] = []
    texts: list[Texts] = []
    seen: set[Texts] = set()
    for row in rows:
        found = read(row.cells) if row.layout == "whole" else NO_TEXTS
        if mapping.repeated_rows and row.layout == "whole":
            if found in seen:
                continue
            seen.add(found)
        lines.append(row.line)
        layouts.append(row.layout)
        texts.append(found)
    if not lines:
        raise InputError(f"{path}: the file has a header and no rows")
    fixed = project or (_stem(path) if project_from_file else None)
    return IssueFile(path, mapping, frame_of_texts(layouts, texts, mapping, fixed), tuple(lines))


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
                records.append(_record(file, row, ordinals[row["project_key"]]))
                ordinals[row["project_key"]] += 1
    return records


def frame_of_records(records: Iterable[IssueRecord]) -> pd.DataFrame:
    """Records as the frame that the suite looks at, to hold what is stored against the same rules."""
    kinds = dtypes()
    columns: dict[str, list[Any]] = {name: [] for name in kinds}
    for record in records:
        for name in columns:
            if name == "layout":
                columns[name].append("whole")
            elif kinds[name] == "bool":
                columns[name].append(True)
            else:
                value = getattr(record, name) if getattr(record, name) != "" else None
                columns[name].append(value.replace(tzinfo=None) if isinstance(value, datetime) else value)
    return pd.DataFrame({name: pd.Series(columns[name], dtype=kind) for name, kind in kinds.items()})


def _stem(path: Path) -> str:
    return path.name.removesuffix(".gz").removesuffix(".csv")


def _joined(files: Sequence[IssueFile]) -> pd.DataFrame:
    if not files:
        raise InputError("there is no file to import")
    return pd.concat([file.frame for file in files], ignore_index=True)


def _rows(frame: pd.DataFrame) -> Iterator[dict[str, Any]]:
    """The rows as Python values, missing ones as None, datetimes in UTC."""
    values = [_values(frame[name]) for name in FIELDS]
    for row in zip(*values, strict=True):
        yield dict(zip(FIELDS, row, strict=True))


def _values(column: pd.Series[Any]) -> list[Any]:
    if column.name in DATE_FIELDS:
        moments = column.to_numpy().tolist()  # NumPy gives Python's own datetimes, and None
        return [moment and moment.replace(tzinfo=UTC) for moment in moments]
    return column.astype(object).where(column.notna(), None).tolist()


def _record(file: IssueFile, row: dict[str, Any], ordinal: int) -> IssueRecord:
    created_at = row["created_at"]
    dated = file.mapping.time_basis == "date" and created_at is not None
    if dated and row["story_points"] is not None:
        row["story_points_known_at"] = row["story_points_known_at"] or row["completed_at"]
    changes: tuple[IssueChange, ...] = ()
    if dated and file.mapping.assignee_known_at == "creation" and row["assignee"] is not None:
        changes = (IssueChange(field="assignee", before=None, after=row["assignee"], changed_at=created_at),)
    return IssueRecord(**row, ordinal=ordinal, time_basis="date" if dated else "ordinal", changes=changes)
