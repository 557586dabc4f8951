"""A file's way into the store: parse, validate, and only then write, all of it or nothing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from forecastle.errors import BrokenRow, InvalidRowsError
from forecastle.sources.issues import check, read_issues, to_records
from forecastle.sources.mapping import Mapping
from forecastle.store.database import Database
from forecastle.store.issues import ImportCounts, import_issues

OnError = Literal["reject", "skip"]
ByteProgress = Callable[[Path, int, int], None]


@dataclass(frozen=True)
class ImportResult:
    """What was written, and which rows were left out because they broke a rule."""

    counts: ImportCounts
    broken: tuple[BrokenRow, ...]

    @property
    def skipped(self) -> int:
        """Rows left out."""
        return len({(row.file, row.line) for row in self.broken})


@dataclass(frozen=True)
class IssueImport:
    """Which files, how to read them, and what to do with rows that break a rule of the suite.

    `dates` is the file that holds the dates of all of them, where the mapping has one.
    """

    paths: Sequence[Path]
    mapping: Mapping
    suite: Path
    project: str | None = None
    project_from_file: bool = False
    on_error: OnError = "reject"
    dates: Path | None = None


def run_import(
    database: Database,
    asked: IssueImport,
    on_read: ByteProgress = lambda path, done, total: None,
    on_stage: Callable[[str], None] = lambda stage: None,
) -> ImportResult:
    """Import issues; importing the same files again changes nothing.

    Raises InvalidRowsError naming file, line and rule of every broken row, InputError where a file cannot be read.
    """
    files = [
        read_issues(
            path,
            asked.mapping,
            asked.project,
            asked.project_from_file,
            lambda done, total, path=path: on_read(path, done, total),  # type: ignore[misc]
            asked.dates,
        )
        for path in asked.paths
    ]
    on_stage("validating")
    broken = check(files, asked.suite)
    if broken and asked.on_error == "reject":
        raise InvalidRowsError(broken)
    records = to_records(files, broken)
    on_stage(f"writing {len(records):,} issues")
    with database.transaction() as connection:
        counts = import_issues(connection, records)
    return ImportResult(counts, tuple(broken))
