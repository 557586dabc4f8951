"""Many requests at once, for every model type: a JSON array of some, or a stream of lines of any number."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from flask import Response, current_app, jsonify, request
from flask.json.provider import JSONProvider
from flask_openapi3 import APIBlueprint, Tag
from pydantic import BaseModel, Field, ValidationError
from werkzeug.exceptions import HTTPException
from werkzeug.wsgi import get_input_stream

from forecastle.access.principals import Permission, Principal
from forecastle.errors import ForecastleError, InputError
from forecastle.registry.declaration import ModelType
from serving.answering import Answerer
from serving.authentication import current_principal
from serving.lines import Line, chunks_of, lines_of
from serving.predictions import SECURITY, SHOWN_BY_INCLUDE, Including
from serving.problems import (
    RETRY_AFTER_SECONDS,
    Problem,
    problem_of,
    problem_of_fields,
    problem_of_http,
    problem_of_unexpected,
    response_of,
)

NDJSON = "application/x-ndjson"
MOST_REQUESTS = 1_000
MOST_BODY_BYTES = 16 * 1024 * 1024
"""Of an array; a stream has no limit, and each of its lines that of a request by itself."""
LONGEST_LINE_BYTES = 4 * 1024 * 1024
CHUNK_LINES = 250
CHUNK_BYTES = 1024 * 1024

DESCRIPTION = f"""Answers many requests, in their order; each has an answer or a problem of its own.

As `application/json`: an array of at most {MOST_REQUESTS:,} requests, {MOST_BODY_BYTES // 2**20} MiB together. All
answers are durable when the first one leaves, or none was kept.

As `{NDJSON}`: a request a line, any number of them; blank lines are passed over. Answers come a line each, while
requests are still being read, so read while you send. An answer leaves when it is durable. A problem of a request has
the number of its `line`. If the server fails midway, the last line is a problem with the code `cut_short` that says
from which line on to send again."""


class LineProblem(Problem):
    line: int = Field(description="Number of the line in the body, from 1")


class CutShort(Problem):
    """The last line of a stream that did not come to its end."""

    answered_to_line: int = Field(description="Up to here every line has its answer; 0 for none")


@dataclass(frozen=True)
class Batch:
    """Answers requests of one model type for one person."""

    answerer: Answerer
    model_type: ModelType
    principal: Principal
    include: frozenset[str]
    json: JSONProvider

    def answers(self, items: Sequence[Any]) -> list[dict[str, Any] | Problem]:
        """An answer or a problem for each item, whose rows are durable; a Problem among the items stays as it is.

        Raises ServerError.
        """
        asked = [item if isinstance(item, Problem) else self._request_of(item) for item in items]
        sound = [each for each in asked if isinstance(each, BaseModel) and not isinstance(each, Problem)]
        found = self.answerer.answer_many(self.model_type, sound, self.principal, self.include) if sound else []
        answers = iter(found)
        return [each if isinstance(each, Problem) else _shown(next(answers)) for each in asked]

    def of_lines(self, lines: Sequence[Line]) -> bytes:
        """The answers of some lines, a line each. Raises ServerError."""
        answers = self.answers([self._item_of(line) for line in lines])
        return b"".join(
            self.line_of(LineProblem(**dict(answer), line=line.number) if isinstance(answer, Problem) else answer)
            for line, answer in zip(lines, answers, strict=True)
        )

    def line_of(self, found: dict[str, Any] | Problem) -> bytes:
        content = found.model_dump(exclude_none=True) if isinstance(found, Problem) else found
        return self.json.dumps(content).encode() + b"\n"

    def _item_of(self, line: Line) -> Any:
        if len(line.content) > LONGEST_LINE_BYTES:
            detail = f"the line is longer than {LONGEST_LINE_BYTES:,} bytes"
            return Problem(title="Too large", status=413, code="too_large", detail=detail)
        try:
            return self.json.loads(line.content)
        except ValueError:
            return problem_of(InputError("the line is not JSON in UTF-8"))

    def _request_of(self, item: Any) -> BaseModel | Problem:
        try:
            return self.model_type.request_type().model_validate(item)
        except ValidationError as error:
            return problem_of_fields(error, "this is not a JSON object")


def _shown(answer: dict[str, Any] | ForecastleError) -> dict[str, Any] | Problem:
    return problem_of(answer) if isinstance(answer, ForecastleError) else answer


def batches_blueprint(
    model_types: Mapping[str, ModelType], answerer: Answerer, most_streams: int, problems: dict[Any, Any]
) -> APIBlueprint:
    """One route a model type. A stream holds a thread as long as it lasts: at most `most_streams` run at once."""
    tag = Tag(name="batches", description="Many answers at once")
    blueprint = APIBlueprint("batches", __name__, abp_tags=[tag], abp_security=SECURITY)
    streams = threading.BoundedSemaphore(most_streams)
    for model_type in model_types.values():
        _add_route(blueprint, model_type, answerer, streams, problems)
    return blueprint


def _add_route(
    blueprint: APIBlueprint,
    model_type: ModelType,
    answerer: Answerer,
    streams: threading.BoundedSemaphore,
    problems: dict[Any, Any],
) -> None:
    def answer(include: frozenset[str] = frozenset()) -> Response:
        principal = current_principal()
        principal.require(Permission.PREDICT)
        batch = Batch(answerer, model_type, principal, include, current_app.json)
        return _streamed(batch, streams) if request.mimetype == NDJSON else _answered(batch)

    def answer_including(query: Including) -> Response:
        return answer(frozenset(query.include))

    route = answer_including if SHOWN_BY_INCLUDE in model_type.answer_type().model_fields else lambda: answer()
    route.__name__ = f"{model_type.name.replace('.', '_')}_batch"
    blueprint.post(
        f"{model_type.route}batch/",
        summary=f"{model_type.summary} For many requests at once.",
        description=DESCRIPTION,
        responses={200: _answers_schema(model_type), **problems},
        openapi_extensions={"requestBody": _requests_schema(model_type)},
    )(route)


def _answered(batch: Batch) -> Response:
    request.max_content_length = MOST_BODY_BYTES
    items = request.get_json(silent=True)
    if not isinstance(items, list):
        raise InputError(
            f"the body is not a JSON array of requests sent with Content-Type: application/json, nor lines of {NDJSON}"
        )
    if len(items) > MOST_REQUESTS:
        raise InputError(f"an array holds at most {MOST_REQUESTS:,} requests; send more of them as lines: {NDJSON}")
    answers = batch.answers(items)
    failed = sum(isinstance(answer, Problem) for answer in answers)
    shown = [answer.model_dump(exclude_none=True) if isinstance(answer, Problem) else answer for answer in answers]
    return jsonify({"asked": len(items), "answered": len(items) - failed, "failed": failed, "answers": shown})


def _streamed(batch: Batch, streams: threading.BoundedSemaphore) -> Response:
    if not streams.acquire(blocking=False):
        detail = "as many streams as this server takes are running; try again in a moment"
        response = response_of(Problem(title="Unavailable", status=503, code="too_many_streams", detail=detail))
        response.headers["Retry-After"] = str(RETRY_AFTER_SECONDS)
        return response
    try:
        body = get_input_stream(request.environ)  # not request.stream, which holds it to the limit of a single request
        chunks = chunks_of(lines_of(body.read, LONGEST_LINE_BYTES), CHUNK_LINES, CHUNK_BYTES)
        first = next(chunks, [])
        answers = batch.of_lines(first)  # a failure before the first answer is a problem like any other
    except BaseException:
        streams.release()
        raise
    response = Response(_until_cut(batch, first, answers, chunks), mimetype=NDJSON)
    response.call_on_close(streams.release)
    return response


def _until_cut(
    batch: Batch, first: Sequence[Line], answers: bytes, chunks: Iterator[Sequence[Line]]
) -> Iterator[bytes]:
    """The answers of every chunk; whatever fails, the last line says so. Ends where the client goes away."""
    done = first[-1].number if first else 0
    yield answers
    try:
        for chunk in chunks:
            answers = batch.of_lines(chunk)
            yield answers
            done = chunk[-1].number
    except ForecastleError as error:
        yield batch.line_of(_cut_short(problem_of(error), done))
    except HTTPException as error:  # the body ended too early, or no more of it came
        yield batch.line_of(_cut_short(problem_of_http(error), done))
    except Exception as error:  # noqa: BLE001 - the status is sent; a stream that just ended would look whole
        yield batch.line_of(_cut_short(problem_of_unexpected(error), done))


def _cut_short(problem: Problem, done: int) -> CutShort:
    detail = f"{problem.detail}; lines up to {done} are answered: send the later ones again"
    return CutShort(title=problem.title, status=problem.status, code="cut_short", detail=detail, answered_to_line=done)


def _requests_schema(model_type: ModelType) -> dict[str, Any]:
    one = _reference(model_type.request_type())
    many = {"type": "array", "items": one, "maxItems": MOST_REQUESTS}
    return {"required": True, "content": {"application/json": {"schema": many}, NDJSON: {"schema": one}}}


def _answers_schema(model_type: ModelType) -> dict[str, Any]:
    answer, problem = _reference(model_type.answer_type()), _reference(Problem)
    counts = {name: {"type": "integer"} for name in ("asked", "answered", "failed")}
    answers = {"type": "array", "items": {"anyOf": [answer, problem]}}
    many = {"type": "object", "properties": {**counts, "answers": answers}, "required": [*counts, "answers"]}
    line = {"anyOf": [answer, _schema(LineProblem), _schema(CutShort)]}
    content = {"application/json": {"schema": many}, NDJSON: {"schema": line}}
    return {"description": "An answer or a problem for each request, in order", "content": content}


def _reference(model: type[BaseModel]) -> dict[str, str]:
    return {"$ref": COMPONENTS.format(model=model.__name__)}


def _schema(model: type[BaseModel]) -> dict[str, Any]:
    schema = model.model_json_schema(ref_template=COMPONENTS)
    return {name: part for name, part in schema.items() if name != "$defs"}


COMPONENTS = "#/components/schemas/{model}"
"""Where the parts of the document stand; those named here are put there by the routes of single requests."""
