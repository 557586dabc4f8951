"""Batch scoring: every row of a file, or every open issue, is answered with what is in production.

A run that was cut off is gone on with by asking for the same again. What is answered here is no prediction: it gets no
passport. The run says which versions answered, and how many rows.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import Any, Protocol
from uuid import UUID

from pydantic import ValidationError

from forecastle.errors import ForecastleError, InputError, ServerError
from forecastle.registry.answering import Context
from forecastle.registry.declaration import ModelType
from forecastle.registry.history import StoredHistory
from forecastle.registry.journal import Entry, Journal, Tally
from forecastle.registry.predictor import Predictor
from forecastle.registry.scored_files import ERROR, columns_of, require_writable, write_result
from forecastle.registry.serving import ServingModels, ServingVersion
from forecastle.settings import Settings
from forecastle.sources.requests import RequestFile
from forecastle.store.database import Database
from forecastle.store.objects import Objects
from forecastle.store.open_issues import OpenIssue, count_open, read_open
from forecastle.store.uploads import is_s3

CHUNK_ROWS = 500
LOADING_SECONDS = 60.0
STATE = "state"

Progress = Callable[[int, float], None]
"""Hears how many rows are answered, and what share of the source is read."""
Reading = Callable[[int, int], None]
"""Hears how much of a source is read and how much there is: rows, or bytes of a file that does not tell its rows."""


@dataclass(frozen=True)
class Question:
    """One row that is to be answered: its place in the source, the key that people know it by, and what it says."""

    position: Any
    key: Any
    cells: Mapping[str, Any]
    error: str = ""


class Source(Protocol):
    """Where rows come from. `key` names the column by which people find a row again, `key_kind` is its JSON type."""

    key: str
    key_kind: str

    def identity(self) -> Mapping[str, Any]:
        """What tells this source from any other; STATE, where it has one, from itself before it was changed.

        Raises InputError where it is not there.
        """
        ...

    def questions(self, after: Any, on_read: Reading) -> Iterator[Question]:
        """The rows behind the position `after`, or all of them for None."""
        ...


@dataclass(frozen=True)
class FileSource:
    """The rows of a file; each is known by its number."""

    file: RequestFile
    key = "row"
    key_kind = "integer"

    @classmethod
    def of(cls, model_type: ModelType, path: Path) -> FileSource:
        fields = model_type.request_type().model_fields
        return cls(RequestFile(path, list(fields), [name for name, field in fields.items() if field.is_required()]))

    def identity(self) -> Mapping[str, Any]:
        try:
            found = self.file.path.stat()
        except OSError as error:
            raise InputError(f"{self.file.path}: {error.strerror}") from None
        return {"file": str(self.file.path.resolve()), STATE: [found.st_size, found.st_mtime_ns]}

    def questions(self, after: Any, on_read: Reading) -> Iterator[Question]:
        for row in self.file.rows(on_read):
            if after is None or row.number > after:
                yield Question(row.number, row.number, row.cells, row.error)


@dataclass(frozen=True)
class OpenIssues:
    """The open issues of one project, or of all; each is known by its key."""

    database: Database
    model_type: ModelType
    project: UUID | None
    key = "key"
    key_kind = "string"

    def identity(self) -> Mapping[str, Any]:
        return {"project": str(self.project)}

    def questions(self, after: Any, on_read: Reading) -> Iterator[Question]:
        target, fields = self.model_type.target, self.model_type.request_type().model_fields
        last, done = (None if after is None else UUID(after)), 0
        total = self.database.retrying(lambda connection: count_open(connection, target, self.project))
        while found := self._next(last):
            for issue in found:
                cells = {name: value for name, value in issue.asked.items() if name in fields and value is not None}
                yield Question(str(issue.id), issue.key, cells)
            last, done = found[-1].id, done + len(found)
            on_read(min(done, total), total)

    def _next(self, last: UUID | None) -> Sequence[OpenIssue]:
        return self.database.retrying(
            lambda connection: read_open(connection, self.model_type.target, self.project, last, CHUNK_ROWS)
        )


@dataclass(frozen=True)
class Scored:
    """What a run of batch scoring did; `resumed` rows were answered before it, by one that was cut off."""

    output: str
    rows: int
    failed: int
    resumed: int
    seconds: float
    moment: datetime
    versions: Mapping[str, int]
    bundles: Mapping[str, str]
    """The digest of the bundle of each version that answered in this run."""

    def as_json(self) -> dict[str, Any]:
        return {**asdict(self), "moment": self.moment.isoformat(), "seconds": round(self.seconds, 3)}


@dataclass(frozen=True)
class Scoring:
    """Answers sources of one model type; what it needs to go on after it was cut off lies in the home."""

    settings: Settings
    database: Database
    model_type: ModelType

    def score(self, source: Source, output: str, on_progress: Progress, restart: bool = False) -> Scored:
        """Answer every row into `output` (.csv or .parquet, a file or s3://bucket/key), or go on with it.

        `restart` forgets what a run that was cut off had answered. Raises InputError, ConflictError, ServerError,
        ConfigurationError; what was answered until then is kept for the next run.
        """
        started = time.monotonic()
        require_writable(output)
        columns = columns_of(self.model_type, source.key, source.key_kind)
        identity, place = dict(source.identity()), output if is_s3(output) else str(Path(output).resolve())
        asked = {"model_type": self.model_type.name, "source": identity, "output": place}
        path = self.settings.home / "scoring" / f"{_digest(asked)}.ndjson"
        answering = _Answering(self.model_type, self.database, Objects.of(self.settings))
        with Journal.opened(path, asked, restart) as journal:
            resumed = journal.tally.rows
            share = 0.0

            def on_read(done: int, total: int) -> None:
                nonlocal share
                share = done / total if total else 1.0

            questions = source.questions(journal.position, on_read)
            while chunk := list(islice(questions, CHUNK_ROWS)):
                journal.add(answering.entries(source.key, chunk, journal.moment))
                on_progress(journal.tally.rows, share)
            write_result(self.settings, output, path.parent, columns, journal.rows())
            journal.remove()
        return _scored(output, journal, resumed, time.monotonic() - started, answering.bundles)


def _digest(asked: Mapping[str, Any]) -> str:
    source = {name: value for name, value in asked["source"].items() if name != STATE}
    return hashlib.sha256(json.dumps({**asked, "source": source}, sort_keys=True).encode()).hexdigest()[:32]


def _scored(output: str, journal: Journal, resumed: int, seconds: float, bundles: Mapping[str, str]) -> Scored:
    tally: Tally = journal.tally
    return Scored(output, tally.rows, tally.failed, resumed, seconds, journal.moment, dict(tally.versions), bundles)


class _Answering:
    """Answers chunks of rows with the versions that were in production at the start."""

    def __init__(self, model_type: ModelType, database: Database, objects: Objects) -> None:
        self._model_type = model_type
        self._history = StoredHistory(database, model_type)
        self._models = ServingModels(database, objects, {model_type.name: model_type})
        self._models.refresh()
        self._versions: dict[str, ServingVersion] = {}
        self.bundles: dict[str, str] = {}

    def entries(self, key: str, questions: Sequence[Question], moment: datetime) -> list[Entry]:
        """An entry for each question, in order: its answer, or its error. Raises ServerError."""
        requests = [each.error or _request_of(self._model_type, each.cells) for each in questions]
        sound = [request for request in requests if not isinstance(request, str)]
        context = Context(self._predictor_for, self._history, moment)
        answers = iter(self._model_type.answering(sound, context) if sound else [])
        return [
            Entry(
                question.position,
                {
                    key: question.key,
                    **question.cells,
                    **self._cells(request if isinstance(request, str) else next(answers)),
                },
            )
            for question, request in zip(questions, requests, strict=True)
        ]

    def _predictor_for(self, cluster: str) -> Predictor:
        if cluster not in self._versions:
            version = self._versions[cluster] = self._loaded(cluster)
            self.bundles[version.label] = version.bundle_digest
        return self._versions[cluster].predictor

    def _loaded(self, cluster: str) -> ServingVersion:
        """What serves the cluster; waits for a project's version that is still being loaded. Raises ServerError."""
        deadline = time.monotonic() + LOADING_SECONDS
        while True:
            try:
                return self._models.for_cluster(self._model_type, cluster)
            except ServerError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.5)

    def _cells(self, answer: Any) -> Mapping[str, Any]:
        if isinstance(answer, ServerError):  # no property of the row: the next run asks again
            raise answer
        if isinstance(answer, str | ForecastleError):
            return {ERROR: str(answer)}
        return {**answer.fields, "model_version": self._versions[answer.cluster].label}


def _request_of(model_type: ModelType, cells: Mapping[str, Any]) -> Any:
    """The row as a request, or a sentence that says which fields cannot be used."""
    try:
        return model_type.request_type().model_validate(cells)
    except ValidationError as error:
        wrong = [f"{'.'.join(map(str, item['loc']))}: {item['msg']}" for item in error.errors(include_input=False)]
        return "; ".join(wrong)
