"""Data come in."""

from __future__ import annotations

import csv
import json
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import wraps
from pathlib import Path
from typing import Any

import click

from cli.rooms import opened, say
from forecastle.access.principals import Permission
from forecastle.errors import BrokenRow
from forecastle.generator.dated import DatedPortfolio, generate_dated_issues
from forecastle.generator.issues import Portfolio, generate_issues
from forecastle.records.issues import IssueRecord
from forecastle.sources.importing import ImportResult, IssueImport, OnError, run_import
from forecastle.sources.mapping import Mapping
from forecastle.sources.mapping_files import mapping_from_json, mapping_from_pairs
from forecastle.sources.presets import PRESETS
from forecastle.store.database import Database
from forecastle.store.tenants import list_projects
from projects import EXPECTATIONS

GENERATED_COLUMNS = ("key", "title", "description", "issue_type", "story_points")
DATED_COLUMNS = (
    "key", "title", "description", "issue_type", "component", "priority", "reporter", "assignee", "estimate_hours",
    "effort_hours", "created_at", "completed_at",
)  # fmt: skip


@dataclass(frozen=True)
class Reading:
    """How files of issues are to be read: what the options of `reading_options` say."""

    mapping: Mapping
    dates: Path | None
    project_from_file: bool


def reading_options(command: Callable[..., None]) -> Callable[..., None]:
    """The options that say how to read files of issues; the command gets them as one argument `reading`."""

    @wraps(command)
    def with_reading(
        preset: str | None,
        pairs: tuple[str, ...],
        mapping_file: Path | None,
        date_formats: tuple[str, ...],
        dates: Path | None,
        project_from_file: bool,
        **others: Any,
    ) -> None:
        mapping = mapping_of(preset, pairs, mapping_file)
        mapping = replace(mapping, date_formats=(*date_formats, *mapping.date_formats))
        command(reading=Reading(mapping, dates, project_from_file), **others)

    for option in (
        click.option("--project-from-file", is_flag=True, help="The file's name is the project's key."),
        click.option(
            "--dates", type=click.Path(path_type=Path), help="The file of the dates, where a mapping has one."
        ),
        click.option(
            "--date-format",
            "date_formats",
            multiple=True,
            metavar="FORMAT",
            help="How dates are written, for instance %d/%m/%Y; tried before those of the preset or mapping.",
        ),
        click.option("--mapping", "mapping_file", type=click.Path(path_type=Path), help="The same as JSON."),
        click.option("--map", "pairs", multiple=True, metavar="FIELD=COLUMN", help="Which column holds a field."),
        click.option("--preset", type=click.Choice(sorted(PRESETS)), help="A format that is known by name."),
    ):
        with_reading = option(with_reading)
    return with_reading


def mapping_of(preset: str | None, pairs: tuple[str, ...], mapping_file: Path | None) -> Mapping:
    """The one way of reading that was asked for. Raises UsageError for none or several."""
    if sum((preset is not None, bool(pairs), mapping_file is not None)) != 1:
        raise click.UsageError("say how to read the file: one of --preset NAME, --map FIELD=COLUMN …, --mapping FILE")
    if preset is not None:
        return PRESETS[preset]
    return mapping_from_json(mapping_file) if mapping_file is not None else mapping_from_pairs(pairs)


@click.group("import")
def import_data() -> None:
    """Import files."""


@import_data.command("issues")
@click.argument("paths", nargs=-1, required=True, type=click.Path(path_type=Path))
@reading_options
@click.option("--project", help="Key of the project that all rows belong to.")
@click.option("--on-error", type=click.Choice(["reject", "skip"]), default="reject", show_default=True)
@click.option("--json", "as_json", is_flag=True, help="Print what was done as JSON.")
def import_issues(
    paths: tuple[Path, ...], reading: Reading, project: str | None, on_error: OnError, as_json: bool
) -> None:
    """Import issues from CSV files, plain or .gz; the same file again changes nothing."""
    asked = IssueImport(
        paths,
        reading.mapping,
        EXPECTATIONS / "issues.json",
        project,
        reading.project_from_file,
        on_error,
        reading.dates,
    )
    with opened() as room:
        room.principal(Permission.IMPORT)
        result = import_with_progress(room.database, asked)
    counts = result.counts
    if as_json:
        click.echo(json.dumps({**counts.__dict__, "skipped": result.skipped, "broken": _broken(result)}))
        return
    say_left_out(result.broken)
    click.echo(
        f"{counts.new:,} new, {counts.changed:,} changed, {counts.unchanged:,} unchanged, {result.skipped} skipped"
    )


def say_left_out(broken: Sequence[BrokenRow]) -> None:
    """Name the rows that were left out; of many, the first ones and how many broke each rule."""
    for row in broken[:MOST_NAMED]:
        say(f"left out: {row}")
    if len(broken) > MOST_NAMED:
        say("and more; in all, by rule:")
        for rule, count in Counter(row.rule for row in broken).most_common():
            say(f"  {count:,}: {rule}")


MOST_NAMED = 10


def _broken(result: ImportResult) -> list[dict[str, Any]]:
    return [row.__dict__ for row in result.broken]


def import_with_progress(database: Database, asked: IssueImport) -> ImportResult:
    """Import with a bar over the bytes read, where somebody is looking."""
    total = sum(path.stat().st_size for path in asked.paths if path.is_file())
    with ExitStack() as showing:
        bar = showing.enter_context(click.progressbar(length=max(1, total), label="reading", file=sys.stderr))
        seen: dict[Path, int] = {}

        def on_read(path: Path, done: int, size: int) -> None:
            bar.update(done - seen.get(path, 0))
            seen[path] = done

        def on_stage(stage: str) -> None:
            showing.close()  # the bar ends before anything else is written
            say(stage)

        return run_import(database, asked, on_read, on_stage)


@click.command("projects")
@click.option("--json", "as_json", is_flag=True)
def projects_list(as_json: bool) -> None:
    """List projects with their ids and how many issues they have."""
    with opened() as room, room.database.transaction() as connection:
        found = list_projects(connection)
    if as_json:
        click.echo(json.dumps([{"id": str(p.id), "key": p.key, "issues": p.issues} for p in found]))
        return
    if not found:
        say("no project yet: `forecastle import issues` brings some")
    for project in found:
        click.echo(f"{project.id}  {project.issues:>8,}  {project.key}")


@click.group()
def generate() -> None:
    """Write synthetic data."""


@generate.command("issues")
@click.argument("path", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--projects", default=3, type=click.IntRange(min=1), show_default=True)
@click.option("--issues", default=200, type=click.IntRange(min=1), show_default=True, help="Issues of each project.")
@click.option("--seed", default=Portfolio().seed, show_default=True)
@click.option("--dated", is_flag=True, help="With dates and hours instead of story points.")
def generate_issue_file(path: Path, projects: int, issues: int, seed: int, dated: bool) -> None:
    """Write synthetic issues to a CSV file, which `import issues --preset forecastle` reads."""
    if dated:
        rows = write_issues(path, generate_dated_issues(DatedPortfolio(projects, issues, seed=seed)), DATED_COLUMNS)
    else:
        rows = write_issues(path, generate_issues(Portfolio(projects, issues, seed=seed)))
    click.echo(f"{rows:,} synthetic issues in {path}")


def write_issues(path: Path, issues: Iterable[IssueRecord], columns: Sequence[str] = GENERATED_COLUMNS) -> int:
    """Write these fields of issues as CSV, one at a time; returns the number of rows."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = 0
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        for issue in issues:
            writer.writerow([getattr(issue, name) for name in columns])
            rows += 1
    return rows
