"""Entry point `score`: answer every row of a CSV file with what is in production.

The answers stand in a CSV file beside the columns that were asked; a row that cannot be answered says why in the
column `error`. Batch answers get no passport: only what the façade answers is logged as a prediction.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import IO, Any

import mlflow
from pydantic import ValidationError

from forecastle.access.principals import Permission
from forecastle.errors import ForecastleError, InputError
from forecastle.registry.answering import Context
from forecastle.registry.declaration import ModelType, resolve
from forecastle.registry.history import StoredHistory
from forecastle.registry.serving import ServingModels
from forecastle.sources.csv_files import no_progress, read_csv
from projects import get_model_type
from projects.entry import Room, opened, run, say

CHUNK_ROWS = 500


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model-type", required=True)
    parser.add_argument("--input", required=True, type=Path)
    parser.add_argument("--output", required=True, type=Path)
    asked = parser.parse_args()
    model_type = get_model_type(asked.model_type)
    with opened() as room, mlflow.start_run():
        room.principal.require(Permission.PREDICT)
        models = ServingModels(room.database, room.objects, {model_type.name: model_type})
        models.refresh()
        rows, failed = score_file(room, model_type, models, asked.input, asked.output)
        mlflow.log_metrics({"score.rows": rows, "score.failed": failed})
    say(f"{rows:,} rows answered, {failed:,} of them with an error: {asked.output}")


def score_file(room: Room, model_type: ModelType, models: ServingModels, source: Path, target: Path) -> tuple[int, int]:
    """Answer `source` into `target`, which appears whole or not at all; returns rows and failed rows."""
    rows = failed = 0
    history = StoredHistory(room.database, model_type)
    fields = [*model_type.request_type().model_fields]
    answer_fields = [name for name in model_type.answer_type().model_fields if name != "prediction_id"]
    required = {name for name, field in model_type.request_type().model_fields.items() if field.is_required()}
    with _reading(source, fields, required) as asked, _writing(target) as file:
        writer = csv.DictWriter(file, [*fields, *answer_fields, "error"], restval="")
        writer.writeheader()
        while chunk := list(islice(asked, CHUNK_ROWS)):
            answers = score_rows(model_type, models, history, chunk)
            writer.writerows({**row, **answer} for row, answer in zip(chunk, answers, strict=True))
            rows += len(chunk)
            failed += sum("error" in answer for answer in answers)
            say(f"{rows:,} rows")
    return rows, failed


def score_rows(
    model_type: ModelType, models: ServingModels, history: StoredHistory, rows: list[dict[str, str]]
) -> list[dict[str, Any]]:
    """The columns that answer each row, in order: the answer's fields and the version, or `error`."""
    labels: dict[str, str] = {}

    def predictor_for(cluster: str) -> Any:
        version = models.for_cluster(model_type, cluster)
        labels[cluster] = version.label
        return version.predictor

    requests = [_request_of(model_type, row) for row in rows]
    sound = [request for request in requests if not isinstance(request, str)]
    context = Context(predictor_for, history, datetime.now(UTC))
    answers = iter(resolve(model_type.answer_many)(sound, context))
    scored = []
    for request in requests:
        answer = request if isinstance(request, str) else next(answers)
        if isinstance(answer, str | ForecastleError):
            scored.append({"error": str(answer)})
        else:
            scored.append({**_cells(answer.fields), "model_version": labels[answer.cluster]})
    return scored


def _request_of(model_type: ModelType, row: Mapping[str, str]) -> Any:
    """The row as a request, or a sentence that says which fields cannot be used."""
    try:
        return model_type.request_type().model_validate({name: value for name, value in row.items() if value})
    except ValidationError as error:
        wrong = [f"{'.'.join(map(str, item['loc']))}: {item['msg']}" for item in error.errors(include_input=False)]
        return "; ".join(wrong)


def _cells(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {name: json.dumps(value) if isinstance(value, dict | list) else value for name, value in fields.items()}


@contextmanager
def _reading(source: Path, fields: list[str], required: set[str]) -> Iterator[Iterator[dict[str, str]]]:
    header, rows = read_csv(source, "utf-8", ",", no_progress)
    if missing := required - set(header):
        raise InputError(f"{source}: no column {', '.join(sorted(missing))}; there may be: {', '.join(fields)}")
    cells = (dict(zip(header, row.cells, strict=False)) for row in rows)
    yield ({name: found.get(name, "") for name in fields} for found in cells)


@contextmanager
def _writing(target: Path) -> Iterator[IO[str]]:
    """The file appears whole at the end, or not at all."""
    unfinished = target.with_name(f".{target.name}.unfinished")
    try:
        with unfinished.open("w", newline="") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(target)
    except FileNotFoundError:
        raise InputError(f"{target.parent}: there is no such folder") from None
    finally:
        unfinished.unlink(missing_ok=True)


if __name__ == "__main__":
    run(main)
