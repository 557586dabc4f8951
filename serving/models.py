"""What this process serves, and what it takes."""

from __future__ import annotations

import os
from datetime import datetime
from typing import Any

from flask import jsonify
from flask_openapi3 import APIBlueprint, Tag
from pydantic import BaseModel, ConfigDict, Field

from forecastle.access.principals import Permission
from forecastle.registry.serving import ServingModels
from serving.authentication import current_principal
from serving.predictions import SECURITY


class _Shown(BaseModel):
    model_config = ConfigDict(from_attributes=True)


class CachedVersion(_Shown):
    label: str = Field(description="Registered model and version, as in an answer's model_version")
    is_project: bool = Field(description="Whether it is a project's own, which is dropped where memory runs short")
    size_bytes: int
    load_ms: float = Field(description="Reading and checking its files, and making the bundle")
    warm_ms: float = Field(description="Answering the model type's example")
    loaded_at: datetime
    checked_at: datetime = Field(description="When its files were last held against the ledger's digests")
    last_used_at: datetime | None
    hits: int = Field(description="Requests that it was handed to")


class Refusal(_Shown):
    label: str = Field(description="The version that is in production and not loaded, or changed since")
    reason: str
    since: datetime


class CacheStatistics(_Shown):
    """What one worker process holds. Each worker has a cache of its own, and any of them may answer."""

    process_id: int = Field(description="The worker that answered")
    budget_bytes: int
    size_bytes: int
    hits: int = Field(description="How often a version was asked for that was loaded")
    misses: int = Field(description="How often one was asked for that was not")
    evictions: int
    in_production: int = Field(description="Registered models with a version in production, loaded or not")
    versions: list[CachedVersion]
    refused: list[Refusal] = Field(description="What should serve and does not; production stays on the last good one")


def models_blueprint(models: ServingModels, problems: dict[Any, Any]) -> APIBlueprint:
    tag = Tag(name="models", description="What is in production")
    blueprint = APIBlueprint("models", __name__, abp_tags=[tag], abp_security=SECURITY)

    @blueprint.get(
        "/api/v1/models/cache",
        summary="The versions that this worker holds in memory",
        responses={200: CacheStatistics, **problems},
    )
    def cache() -> Any:
        current_principal().require(Permission.READ)
        found = models.statistics()
        held = {name: getattr(found.cache, name) for name in _SAME_NAME}
        shown = CacheStatistics(
            process_id=os.getpid(), in_production=found.in_production, refused=list(found.refused), **held
        )
        return jsonify(shown.model_dump(mode="json"))

    return blueprint


_SAME_NAME = ("budget_bytes", "size_bytes", "hits", "misses", "evictions", "versions")
