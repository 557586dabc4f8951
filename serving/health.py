"""Whether the façade can answer, and what else is not as it should be.

503 is for what makes answering impossible: whoever balances load takes such a façade out. An overdue job, a version
that was refused, or nothing in production is `degraded` with 200: another façade would say the same.
"""

from __future__ import annotations

from typing import Any, Literal

from flask import Response, jsonify
from pydantic import BaseModel, Field

from forecastle.errors import ConfigurationError, ServerError
from forecastle.registry.serving import ServingModels
from forecastle.store.database import Database
from forecastle.store.known_jobs import list_known, overdue_jobs
from forecastle.store.migrate import require_current
from serving.problems import Problem, response_of


class Readiness(BaseModel):
    status: Literal["ready", "degraded"]
    serving: list[str] = Field(description="Versions that are loaded")
    overdue_jobs: list[str] = Field(description="Jobs that did not run by their time")
    reasons: list[str] = Field(description="Why it is not ready, in sentences")


def register(app: Any, database: Database, models: ServingModels, problems: dict[Any, Any]) -> None:
    """Add `/health/live` and `/health/ready`, which ask for no key."""

    @app.get("/health/live", summary="Whether the process answers", responses={200: None, 400: problems[400]})
    def live() -> Any:
        return jsonify({"status": "alive"})

    @app.get(
        "/health/ready",
        summary="Whether it can answer, and what else is wrong",
        responses={200: Readiness, 400: problems[400], 503: problems[503]},
    )
    def ready() -> Any:
        try:
            return jsonify(readiness(database, models).model_dump())
        except ServerError:
            return _not_ready("the database does not answer")
        except ConfigurationError as error:
            return _not_ready(str(error))


def readiness(database: Database, models: ServingModels) -> Readiness:
    """How it stands now. Raises ServerError, and ConfigurationError where migrations are missing."""
    require_current(database)
    with database.transaction() as connection:
        is_any_known, overdue = bool(list_known(connection)), overdue_jobs(connection)
    loaded = models.statistics()
    serving = [version.label for version in loaded.cache.versions]
    reasons = [job.sentence for job in overdue]
    if not serving:
        reasons.append("nothing serves yet: promote a version")
    if not is_any_known:
        reasons.append("no beat has started here yet: no job runs")
    reasons += [refusal.reason for refusal in loaded.refused]
    return Readiness(
        status="degraded" if reasons else "ready",
        serving=serving,
        overdue_jobs=[job.name for job in overdue],
        reasons=reasons,
    )


def _not_ready(reason: str) -> Response:
    return response_of(Problem(title="Unavailable", status=503, code="not_ready", detail=reason))
