"""What is in production, how it came there, and moving it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Annotated, Any

from flask import Response, jsonify, request
from flask_openapi3 import APIBlueprint, Tag
from pydantic import BaseModel, Field, StringConstraints

from forecastle.access.principals import Permission, Principal
from forecastle.errors import NotFoundError, PreconditionRequiredError
from forecastle.registry.answering import Text
from forecastle.registry.declaration import ModelType
from forecastle.registry.loading import type_of
from forecastle.registry.moves import as_document
from forecastle.registry.promotions import Promoter
from forecastle.registry.served import head_of, versions_served
from forecastle.store import promotions as ledger
from forecastle.store.database import Connection, Database
from forecastle.store.promotions import LedgerStep
from serving.authentication import current_principal

SECURITY = [{"api_key": []}]
ROUTE = "/api/v1/registry"

Reason = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=2_000, pattern=r"^[^\x00]*$")]


class NamePath(BaseModel):
    name: Text = Field(description="Name of a registered model", max_length=300)


class PromotionRequest(BaseModel):
    version: int = Field(description="The version that is to serve", ge=1, le=2**31 - 1)
    reason: Reason = Field(description="Why; it stands in the ledger")
    override: bool = Field(default=False, description="Promote against the gate's verdict; takes an admin")


class RollbackRequest(BaseModel):
    reason: Reason = Field(description="Why; it stands in the ledger")


class HistoryQuery(BaseModel):
    at: datetime | None = Field(default=None, description="Until this moment; UTC where it names no zone")
    limit: int = Field(default=100, ge=1, le=1_000, description="At most as many steps, the newest")


class Move(BaseModel):
    """A step of the ledger."""

    step: int
    outcome: str = Field(description="confirmed, undone, or intent where it is under way or was cut off")
    recorded_at: datetime
    action: str
    model_name: str
    from_version: int | None
    to_version: int
    actor: str
    reason: str
    verdict: str = Field(description="The gate's, or UNGATED")
    overridden: bool = Field(description="Whether an admin moved it against the verdict")
    trained_by_actor: bool = Field(description="Whether who moved it had trained it")
    single_user_mode: bool = Field(description="Whether there was nobody else")
    files: dict[str, str] = Field(description="SHA-256 of every approved file")
    provenance: dict[str, str]
    hash: str = Field(description="SHA-256 of this step and the one before it in the ledger")


class RegisteredModel(BaseModel):
    name: str
    head: str = Field(description="Names the present state; the ETag, for If-Match")
    production: Move | None = Field(description="The move by which it came to serve")
    previous_version: int | None = Field(description="Where a rollback leads")


class RegisteredModels(BaseModel):
    models: list[RegisteredModel]


class History(BaseModel):
    name: str
    at: datetime | None
    production: Move | None = Field(description="What served at that moment, or serves")
    steps: list[Move] = Field(description="Newest first")


def registry_blueprint(
    model_types: Mapping[str, ModelType], database: Database, promoter: Callable[[], Promoter], problems: dict[Any, Any]
) -> APIBlueprint:
    tag = Tag(name="registry", description="What is in production, and moving it")
    blueprint = APIBlueprint("registry", __name__, url_prefix=ROUTE, abp_tags=[tag], abp_security=SECURITY)
    _add_views(blueprint, model_types, database, problems)
    _add_moves(blueprint, promoter, problems)
    return blueprint


def _add_views(
    blueprint: APIBlueprint, model_types: Mapping[str, ModelType], database: Database, problems: dict[Any, Any]
) -> None:
    @blueprint.get("", summary="Every registered model", responses={200: RegisteredModels, **problems})
    def list_registered() -> Any:
        current_principal().require(Permission.READ)
        steps = database.retrying(ledger.all_confirmed)
        models = [_registered(name, steps.get(name, [])) for name in sorted({*model_types, *steps})]
        return jsonify({"models": models})

    @blueprint.get("/<string:name>", summary="What is in production", responses={200: RegisteredModel, **problems})
    def show_registered(path: NamePath) -> Any:
        current_principal().require(Permission.READ)
        steps = database.retrying(lambda connection: ledger.confirmed_steps(connection, path.name))
        _require_known(model_types, path.name, steps)
        return _tagged(jsonify(_registered(path.name, steps)), head_of(steps))

    @blueprint.get("/<string:name>/history", summary="Who moved it when, and why", responses={200: History, **problems})
    def history(path: NamePath, query: HistoryQuery) -> Any:
        current_principal().require(Permission.READ)
        at = query.at if query.at is None or query.at.tzinfo else query.at.replace(tzinfo=UTC)

        def read(connection: Connection) -> tuple[LedgerStep | None, list[LedgerStep]]:
            serving = ledger.serving(connection, path.name, at).get(path.name)
            return serving, ledger.history(connection, path.name, at, query.limit)

        serving, steps = database.retrying(read)
        _require_known(model_types, path.name, steps)
        return jsonify(
            name=path.name,
            at=None if at is None else at.isoformat(),
            production=serving and as_document(serving),
            steps=[as_document(step) for step in steps],
        )


def _add_moves(blueprint: APIBlueprint, promoter: Callable[[], Promoter], problems: dict[Any, Any]) -> None:
    @blueprint.post("/<string:name>/promotions", summary="Let a version serve", responses={201: Move, **problems})
    def promote(path: NamePath, body: PromotionRequest) -> Any:
        principal, head = _moving(path.name)
        return _moved(
            promoter().promote(path.name, body.version, principal, body.reason, override=body.override, head=head)
        )

    @blueprint.post(
        "/<string:name>/rollback", summary="Let serve what served before", responses={201: Move, **problems}
    )
    def rollback(path: NamePath, body: RollbackRequest) -> Any:
        principal, head = _moving(path.name)
        return _moved(promoter().rollback(path.name, principal, body.reason, head=head))


def _moving(name: str) -> tuple[Principal, str]:
    """Who moves production, and the state that they have seen. Raises NotAllowedError, PreconditionRequiredError."""
    principal = current_principal()
    principal.require(Permission.PROMOTE)
    seen = request.if_match.as_set()
    if len(seen) != 1:
        raise PreconditionRequiredError(f"send If-Match with the ETag of GET {ROUTE}/{name}, so that nobody is overrun")
    return principal, str(seen.pop())


def _moved(step: LedgerStep) -> Response:
    response = _tagged(jsonify(as_document(step)), step.hash)
    response.status_code = 201
    return response


def _tagged(response: Response, head: str) -> Response:
    response.set_etag(head)
    return response


def _registered(name: str, confirmed: list[LedgerStep]) -> dict[str, Any]:
    served = versions_served(step.promotion for step in confirmed)
    return {
        "name": name,
        "head": head_of(confirmed),
        "production": as_document(confirmed[-1]) if confirmed else None,
        "previous_version": served[-2].to_version if len(served) > 1 else None,
    }


def _require_known(model_types: Mapping[str, ModelType], name: str, steps: list[LedgerStep]) -> None:
    if not steps and type_of(model_types, name) is None:
        raise NotFoundError(f"no registered model of this name; GET {ROUTE} lists them")
