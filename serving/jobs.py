"""Runs of jobs: what ran, what runs, and asking for more."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from flask import jsonify
from flask_openapi3 import APIBlueprint, Tag
from pydantic import BaseModel, ConfigDict, Field

from forecastle.access.principals import Permission
from forecastle.registry.answering import Text
from forecastle.store import job_runs
from forecastle.store.database import Connection, Database
from forecastle.store.job_runs import JobRun
from forecastle.store.known_jobs import require_known
from serving.authentication import current_principal
from serving.predictions import SECURITY

State = Literal["planned", "sent", "running", "cancelling", "succeeded", "failed", "skipped", "cancelled"]


class JobRunAnswer(BaseModel):
    """One run of a job; moments are UTC."""

    model_config = ConfigDict(from_attributes=True)

    id: UUID
    name: str
    state: State
    arguments: dict[Text, Text]
    planned_at: datetime
    planned_by: str
    started_at: datetime | None
    worker: str | None
    attempts: int = Field(description="How many workers have begun it")
    ended_at: datetime | None
    items: int | None = Field(description="How many things it did")
    error_code: str | None
    detail: str | None = Field(description="How it ended, in a sentence")
    in_place_of: UUID | None = Field(description="The run that did not succeed, where this one is tried in its place")


class JobRunsAnswer(BaseModel):
    """Runs, the newest first."""

    runs: list[JobRunAnswer]
    next: UUID | None = Field(description="Where there are older ones: ask with before= this")


class RunsQuery(BaseModel):
    name: Text | None = Field(None, description="Only runs of this job")
    outcome: Literal["succeeded", "failed", "skipped", "cancelled", "open"] | None = Field(
        None, description="Only runs that ended so; open: that have not ended"
    )
    limit: int = Field(30, ge=1, le=1000)
    before: UUID | None = Field(None, description="Only runs older than this one")


class RunPath(BaseModel):
    run_id: UUID = Field(description="Id of a run")


class JobPath(BaseModel):
    name: Text = Field(description="Name of a job")


class RunRequest(BaseModel):
    model_config = ConfigDict(extra="forbid")

    arguments: dict[Text, Text] = Field(default={}, description="Arguments of the job")


def jobs_blueprint(database: Database, problems: dict[Any, Any]) -> APIBlueprint:
    tag = Tag(name="jobs", description="What the product does by itself")
    blueprint = APIBlueprint(
        "jobs", __name__, url_prefix="/api/v1/jobs", abp_tags=[tag], abp_security=SECURITY, abp_responses=problems
    )

    @blueprint.get("", summary="Runs of jobs, the newest first", responses={200: JobRunsAnswer})
    def list_runs(query: RunsQuery) -> Any:
        current_principal().require(Permission.READ)

        def read(connection: Connection) -> list[JobRun]:
            return job_runs.list_runs(connection, query.limit + 1, query.name, query.outcome, query.before)

        found = database.retrying(read)
        shown = found[: query.limit]
        more = shown[-1].id if len(found) > query.limit else None
        return _json(JobRunsAnswer(runs=[_answer(run) for run in shown], next=more))

    @blueprint.get("/<uuid:run_id>", summary="One run of a job", responses={200: JobRunAnswer})
    def get_run(path: RunPath) -> Any:
        current_principal().require(Permission.READ)
        return _json(_answer(database.retrying(lambda connection: job_runs.get_run(connection, path.run_id))))

    @blueprint.post("/<string:name>/run", summary="Plan a run of a job", responses={202: JobRunAnswer})
    def run_job(path: JobPath, body: RunRequest) -> Any:
        principal = current_principal()
        principal.require(Permission.TRAIN)
        with database.transaction() as connection:
            require_known(connection, path.name, body.arguments)
            run = job_runs.plan(connection, path.name, body.arguments, principal.name)
        assert run is not None  # it has no due key
        return _json(_answer(run)), 202

    return blueprint


def _answer(run: JobRun) -> JobRunAnswer:
    return JobRunAnswer.model_validate(run)


def _json(answer: BaseModel) -> Any:
    return jsonify(answer.model_dump(mode="json"))
