"""Training time and peak memory of `delivery.effort` at growing numbers of synthetic issues.

Each size is generated and stored first; then a process of its own reads the rows, saves the dataset version, extracts,
searches, chooses and fits both views. MLflow's part does not grow with the rows and is left out.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import click

import projects
from cli.tables import table
from forecastle.embedded.servers import running
from forecastle.generator.dated import DatedPortfolio, generate_dated_issues
from forecastle.registry.dataset import TrainingRows, load_version, read_rows, save_version
from forecastle.registry.examples import extract_all
from forecastle.registry.training import fit
from forecastle.settings import Settings
from forecastle.store.database import Database, temporary_database
from forecastle.store.issues import import_issues
from forecastle.store.migrate import migrate
from forecastle.store.objects import Objects

SIZES = (1_000, 10_000, 100_000, 1_000_000)
PROJECTS = 5
BATCH = 50_000
MODEL_TYPE = "delivery.effort"


@click.command()
@click.argument("sizes", nargs=-1, type=click.IntRange(min=500))
@click.option("--json", "as_json", is_flag=True)
@click.option("--child", is_flag=True, hidden=True)
def main(sizes: tuple[int, ...], as_json: bool, child: bool) -> None:
    """Measure a training at each of SIZES issues."""
    if child:
        click.echo(json.dumps(train()))
        return
    with (
        tempfile.TemporaryDirectory() as folder,
        running(Settings(home=Path(folder)), ("postgresql", "s3")) as settings,
        click.progressbar(sizes or SIZES, label="training", file=sys.stderr) as bar,
    ):
        found = [_measured(settings, size) for size in bar]
    click.echo(json.dumps(found) if as_json else "\n".join(as_table(found)))


def _measured(settings: Settings, size: int) -> dict[str, Any]:
    with temporary_database(settings.require_database_url(), f"issues_{size}") as url:
        _store(url, size)
        environment = {**os.environ, **settings.as_environment(), "DATABASE_URL": url}
        command = [sys.executable, "-m", "benchmarks.training", "--child"]
        ran = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
        return {"issues": size, **json.loads(ran.stdout)}


def _store(url: str, size: int) -> None:
    with Database(url) as database:
        migrate(database)
        issues = generate_dated_issues(DatedPortfolio(projects=PROJECTS, issues=size // PROJECTS))
        while batch := list(islice(issues, BATCH)):
            with database.transaction() as connection:
                import_issues(connection, batch)


def train() -> dict[str, Any]:
    """Seconds by part, and the peak of resident memory."""
    settings, model_type = Settings.from_env(), projects.get_model_type(MODEL_TYPE)
    seconds: dict[str, float] = {}

    def timed(name: str, work: Callable[[], Any]) -> Any:
        started = time.perf_counter()
        found = work()
        seconds[name] = round(time.perf_counter() - started, 1)
        return found

    with Database(settings.require_database_url()) as database:
        objects = Objects.of(settings)

        def read() -> TrainingRows:
            return read_rows(database, model_type)

        version = timed("save", partial(save_version, database, objects, MODEL_TYPE, timed("read", read)))
        rows = timed("load", lambda: load_version(objects, version).rows)
        extracted = timed("extract", lambda: extract_all(model_type, rows))
        fitted = timed("fit", lambda: fit(model_type, extracted))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"rows": len(extracted), "served_mae": fitted.overall.served, **seconds, "peak_mb": round(peak)}


def as_table(found: list[dict[str, Any]]) -> list[str]:
    parts = ("read", "save", "load", "extract", "fit")
    lines = [
        [
            f"{one['issues']:,}",
            f"{one['rows']:,}",
            *(f"{one[part]:.1f}" for part in parts),
            f"{sum(one[part] for part in parts):.1f}",
            f"{one['peak_mb']:,}",
        ]
        for one in found
    ]
    return table(["issues", "rows learned", *(f"{part} s" for part in parts), "in all s", "peak MB"], lines)


if __name__ == "__main__":
    main()
