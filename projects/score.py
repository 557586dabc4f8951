"""Entry point `score`: answer every row of a file, or every open issue, with what is in production.

The answers stand beside what was asked; a row that cannot be answered says why in the column `error`. Batch answers get
no passport: only what the façade answers is logged as a prediction. The run records which versions answered.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import mlflow
from mlflow.environment_variables import MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT

from forecastle.access.principals import Permission
from forecastle.errors import InputError
from forecastle.registry.declaration import ModelType
from forecastle.registry.scoring import FileSource, OpenIssues, Progress, Scored, Scoring, Source
from forecastle.registry.tracking import mlflow_errors
from forecastle.store.database import Database
from projects import get_model_type
from projects.entry import find_project, opened, run, say

NONE = "none"
SAID_EVERY_SECONDS = 5.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model-type", required=True)
    parser.add_argument("--input", default=NONE)
    parser.add_argument("--project", default=NONE)
    parser.add_argument("--output", required=True)
    asked = parser.parse_args()
    model_type = get_model_type(asked.model_type)
    with opened() as room:
        room.principal.require(Permission.PREDICT)
        given = (None if name == NONE else name for name in (asked.input, asked.project))
        source = source_of(room.database, model_type, *given)
        done = score(Scoring(room.settings, room.database, model_type), source, asked.output, _said())
    say(f"{sentence(done)}: {done.output}")


def source_of(database: Database, model_type: ModelType, file: str | None, project: str | None) -> Source:
    """The file or the project's open issues. Raises InputError for neither and both, NotFoundError."""
    if file is not None and project is None:
        return FileSource.of(model_type, Path(file))
    if project is None or file is not None:
        raise InputError("say what to answer: a file of requests, or a project (or `all`), and not both")
    return OpenIssues(database, model_type, find_project(database, project))


def score(
    scoring: Scoring,
    source: Source,
    output: str,
    on_progress: Progress,
    restart: bool = False,
    experiment: str | None = None,
) -> Scored:
    """Answer everything in an MLflow run, which says what was answered, by which versions, and how long it took.

    In the run that `mlflow run` has made, else in a new one, of `experiment` where one is named. Raises what
    `Scoring.score` does, and ServerError for MLflow; the run is then a failed one.
    """
    MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT.set(True)
    with mlflow_errors():
        if experiment is not None:
            mlflow.set_experiment(experiment)
        with mlflow.start_run():
            mlflow.set_tags({"model_type": scoring.model_type.name, "score.output": output})
            done = scoring.score(source, output, on_progress, restart)
            figures = {"rows": done.rows, "failed": done.failed, "resumed": done.resumed, "seconds": done.seconds}
            mlflow.log_metrics({f"score.{name}": value for name, value in figures.items()})
            mlflow.set_tag("score.versions", ", ".join(sorted(done.versions)))
            mlflow.log_dict(done.as_json(), "scored.json")
    return done


def sentence(done: Scored) -> str:
    before = f", {done.resumed:,} of them before it was cut off" if done.resumed else ""
    return f"{done.rows:,} rows answered{before}, {done.failed:,} of them with an error"


def _said() -> Progress:
    started = last = time.monotonic()

    def on_progress(rows: int, share: float) -> None:
        nonlocal last
        if time.monotonic() - last > SAID_EVERY_SECONDS:
            last = time.monotonic()
            say(f"{rows:,} rows, {share:.0%}, after {last - started:.0f} s")

    return on_progress


if __name__ == "__main__":
    run(main)
