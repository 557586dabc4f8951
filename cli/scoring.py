"""Batch scoring at the command line."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import click

from cli.rooms import MLFLOW, POSTGRESQL, S3, opened
from forecastle.access.principals import Permission
from forecastle.registry.scoring import Progress, Scoring
from projects import get_model_type

SOME_FAILED = 3


@click.command()
@click.argument("model_type")
@click.argument("file", required=False)
@click.option("--project", metavar="KEY", help="Answer the open issues of this project (or `all`) instead of a file.")
@click.option(
    "--output", "-o", required=True, help="Where the answers go: .csv or .parquet, a file or s3://bucket/key."
)
@click.option("--restart", is_flag=True, help="Begin anew where an earlier run was cut off.")
@click.option("--json", "as_json", is_flag=True, help="Print what was done as JSON.")
def score(model_type: str, file: str | None, project: str | None, output: str, restart: bool, as_json: bool) -> None:
    """Answer every row of FILE (.csv, .ndjson or .parquet), or the open issues of a project, with MODEL_TYPE.

    Killed half-way, the same command goes on where it stopped. A row that cannot be answered says why in the column
    `error`. Exit code 0: every row has an answer; 3: some have an error; 1: it did not come to its end.
    """
    declared = get_model_type(model_type)
    with opened((POSTGRESQL, S3, MLFLOW)) as room:
        room.principal(Permission.PREDICT)
        from forecastle.registry.tracking import Tracking  # MLflow takes seconds to import
        from projects.score import score as score_in_a_run
        from projects.score import sentence, source_of

        Tracking(room.settings.require_tracking_uri())
        scoring = Scoring(room.settings, room.database, declared)
        source = source_of(room.database, declared, file, project)
        with _bar() as on_progress:
            done = score_in_a_run(scoring, source, output, on_progress, restart, declared.name)
    if as_json:
        click.echo(json.dumps(done.as_json()))
    else:
        click.echo(f"{sentence(done)}: {done.output}")
    sys.exit(SOME_FAILED if done.failed else 0)


@contextmanager
def _bar() -> Iterator[Progress]:
    """A bar on a terminal: the share of the source that is read, rows, rows a second."""
    first: tuple[float, int] | None = None

    def shown(rows: int | None) -> str | None:
        if rows is None or first is None:
            return None
        seconds = time.monotonic() - first[0]
        return f"{rows:,} rows" + (f", {(rows - first[1]) / seconds:,.0f} rows/s" if seconds > 0 else "")

    with click.progressbar(length=1_000, label="answering", item_show_func=shown, file=sys.stderr) as bar:

        def on_progress(rows: int, share: float) -> None:
            nonlocal first
            first = first or (time.monotonic(), rows)
            bar.update(round(share * 1_000) - bar.pos, rows)

        yield on_progress
