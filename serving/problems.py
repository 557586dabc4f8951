"""Errors as `application/problem+json` (RFC 9457); the one table of HTTP statuses."""

from __future__ import annotations

import json
import logging
from typing import Any

from flask import Flask, Response
from pydantic import BaseModel, Field, ValidationError
from werkzeug.exceptions import HTTPException, MethodNotAllowed

from forecastle import errors

logger = logging.getLogger(__name__)

STATUS: dict[type[errors.ForecastleError], int] = {
    errors.NotAuthenticatedError: 401,
    errors.NotAllowedError: 403,
    errors.NotFoundError: 404,
    errors.InputError: 400,
    errors.PreconditionRequiredError: 428,
    errors.ConflictError: 409,
    errors.PreconditionFailedError: 412,
    errors.IntegrityError: 409,
    errors.ConfigurationError: 503,
    errors.NothingServesError: 503,
    errors.ServerError: 503,
}
RETRY_AFTER_SECONDS = 2


class FieldProblem(BaseModel):
    pointer: str = Field(description="JSON pointer to the field")
    detail: str = Field(description="What is wrong with it")


class Problem(BaseModel):
    type: str = "about:blank"
    title: str
    status: int
    code: str = Field(description="Stable code of the error")
    detail: str
    errors: list[FieldProblem] | None = None


def response_of(problem: Problem) -> Response:
    body = problem.model_dump(exclude_none=True)
    return Response(json.dumps(body), problem.status, content_type="application/problem+json")


def validation_problem(error: ValidationError) -> Response:
    return response_of(problem_of_fields(error, _DETAILS[400]))


def problem_of_fields(error: ValidationError, whole: str) -> Problem:
    """400 with a pointer to every field; values are never repeated. `whole` says what is wrong where no field is."""
    found = [
        FieldProblem(
            pointer="".join(f"/{_escaped(part)}" for part in item["loc"]), detail=item["msg"] if item["loc"] else whole
        )
        for item in error.errors(include_url=False, include_input=False, include_context=False)
    ]
    detail = f"{len(found)} field{'s' if len(found) != 1 else ''} of the request cannot be used"
    return Problem(title=_title(400), status=400, code=errors.InputError.code, detail=detail, errors=found)


def _escaped(part: Any) -> str:
    return str(part).replace("~", "~0").replace("/", "~1")  # RFC 6901


def handle_forecastle_error(error: errors.ForecastleError) -> Response:
    found = problem_of(error)
    response = response_of(found)
    if error.retryable:
        response.headers["Retry-After"] = str(RETRY_AFTER_SECONDS)
    if found.status == 401:
        response.headers["WWW-Authenticate"] = "Bearer"
    return response


def problem_of(error: errors.ForecastleError) -> Problem:
    status = next((STATUS[kind] for kind in type(error).__mro__ if kind in STATUS), 500)
    if status == 500:
        logger.error("%s", error)
    detail = str(error)
    if isinstance(error, errors.ServerError):  # its sentence is for operators: it names addresses
        logger.warning("%s", error)
        detail = "a server that this answer needs is away; try again in a moment"
    return Problem(title=_title(status), status=status, code=error.code, detail=detail)


def handle_http_exception(error: HTTPException) -> Response:
    if error.response is not None:
        return error.response  # type: ignore[return-value]  # a validation problem, made above
    response = response_of(problem_of_http(error))
    if isinstance(error, MethodNotAllowed):
        response.headers["Allow"] = ", ".join(error.valid_methods or ())
    return response


def problem_of_http(error: HTTPException) -> Problem:
    status = error.code or 500
    code = {400: "invalid_input", 404: "not_found", 405: "method_not_allowed", 408: "timed_out", 413: "too_large"}
    detail = _DETAILS.get(status, _title(status))
    return Problem(title=_title(status), status=status, code=code.get(status, "http"), detail=detail)


def handle_unexpected(error: Exception) -> Response:
    return response_of(problem_of_unexpected(error))


def problem_of_unexpected(error: Exception) -> Problem:
    # The type and the place, never the message: it may hold what somebody wrote.
    frame = error.__traceback__
    while frame is not None and frame.tb_next is not None:
        frame = frame.tb_next
    where = f"{frame.tb_frame.f_code.co_filename}:{frame.tb_lineno}" if frame else "an unknown place"
    logger.error("%s at %s", type(error).__name__, where)
    detail = "something went wrong that nobody foresaw; the log says where"
    return Problem(title=_title(500), status=500, code="internal", detail=detail)


def register(app: Flask) -> None:
    app.register_error_handler(errors.ForecastleError, handle_forecastle_error)
    app.register_error_handler(HTTPException, handle_http_exception)
    app.register_error_handler(Exception, handle_unexpected)


_DETAILS = {
    400: "the body is not a JSON object sent with Content-Type: application/json",
    404: "there is nothing at this address; /docs lists what there is",
    405: "this address does not take this method; /docs lists what it takes",
    408: "no more of the body came for a minute; a body is sent without such a pause",
    413: "the body is too large",
}


def _title(status: int) -> str:
    return {
        400: "Invalid request",
        401: "Not authenticated",
        403: "Not allowed",
        404: "Not found",
        405: "Method not allowed",
        408: "Timed out",
        409: "Conflict",
        412: "Precondition failed",
        413: "Too large",
        428: "Precondition required",
        503: "Unavailable",
    }.get(status, "Internal error" if status >= 500 else "Refused")
