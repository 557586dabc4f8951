"""A small load on servers that come and go: each thread does one thing again and again, and keeps what it was told."""

from __future__ import annotations

import csv
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from http.client import HTTPException
from itertools import count
from pathlib import Path
from typing import Any

import projects
from cli.data import GENERATED_COLUMNS
from forecastle.errors import ForecastleError
from forecastle.generator.issues import Portfolio, generate_issues
from forecastle.records.issues import IssueRecord
from forecastle.sources.importing import IssueImport, run_import
from forecastle.sources.presets import Mapping
from forecastle.store import job_runs
from forecastle.store.database import Database

ROWS_A_FILE = 10


@dataclass
class Repeated:
    """One thing that is done again and again: what was acknowledged of it, and how often it was refused."""

    do: Callable[[], Any]
    pause_seconds: float
    acknowledged: list[Any] = field(default_factory=list)
    refused: int = 0

    def until(self, is_over: threading.Event) -> None:
        """Errors of servers that are away count as refused; any other error ends it."""
        while not is_over.wait(self.pause_seconds):
            try:
                self.acknowledged.append(self.do())
            except (ForecastleError, OSError, HTTPException):
                self.refused += 1


@contextmanager
def running(parts: Sequence[Repeated]) -> Iterator[None]:
    """All of them at once, a thread each; raises what ended one of them."""
    is_over = threading.Event()
    with ThreadPoolExecutor(len(parts)) as pool:
        started = [pool.submit(part.until, is_over) for part in parts]
        try:
            yield
        finally:
            is_over.set()
    for thread in started:
        thread.result()


@dataclass
class Imports:
    """Imports one small file after another; one that was refused comes again until it is acknowledged."""

    database: Database
    folder: Path
    numbers: Iterator[int] = field(default_factory=count)
    waiting: list[IssueRecord] = field(default_factory=list)

    def __call__(self) -> list[IssueRecord]:
        """The rows of the file that was imported."""
        if not self.waiting:
            self.waiting = file_of(next(self.numbers))
        path = self.folder / "load.csv"
        write(path, self.waiting)
        mapping = Mapping({name: name for name in GENERATED_COLUMNS}, time_basis="ordinal")
        run_import(self.database, IssueImport([path], mapping, projects.EXPECTATIONS / "issues.json"))
        done, self.waiting = self.waiting, []
        return done


def file_of(number: int) -> list[IssueRecord]:
    """Rows that stand in no other file."""
    made = generate_issues(Portfolio(projects=1, issues=ROWS_A_FILE, seed=number))
    return [replace(row, project_key="LOAD", key=f"LOAD-{number * ROWS_A_FILE + row.ordinal + 1}") for row in made]


def write(path: Path, rows: Sequence[IssueRecord]) -> None:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, GENERATED_COLUMNS)
        writer.writeheader()
        writer.writerows({name: getattr(row, name) for name in GENERATED_COLUMNS} for row in rows)


def plan(database: Database, name: str, **arguments: str) -> job_runs.JobRun:
    """A planned run of a job, in the name of ada."""
    with database.transaction() as connection:
        run = job_runs.plan(connection, name, arguments, "ada")
    assert run is not None  # it has no due key
    return run


@dataclass
class Watch:
    """Looks at the processes of jobs; keeps the runs that it saw, and those that had two at once."""

    seen: set[str] = field(default_factory=set)
    doubled: set[str] = field(default_factory=set)

    def __call__(self) -> None:
        """A job's process leads a group; one that it has just forked bears the same command for a moment."""
        found: Counter[str] = Counter()
        for process in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                words = (process / "cmdline").read_bytes().decode().split("\0")
                if "jobs.child" not in words:
                    continue
                group = (process / "stat").read_text().rpartition(")")[2].split()[2]
                found[words[words.index("jobs.child") + 2]] += group == process.name
        self.seen |= found.keys()
        self.doubled |= {run for run, number in found.items() if number > 1}
