"""Who may move `production` and `previous` in MLflow, and onto which versions.

Runs behind basic-auth, on every request, and reads a request with the same function as the handler after it. Stands on
internals of MLflow 3.17.2: `get_endpoints`, `_get_request_message`, `_get_model_registry_store` and the name that
basic-auth leaves in `flask.g`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

from flask import Response, g, request
from mlflow.entities.model_registry import ModelVersionTag
from mlflow.exceptions import MlflowException
from mlflow.protos import model_registry_pb2 as messages
from mlflow.protos.databricks_pb2 import PERMISSION_DENIED
from mlflow.server.handlers import (
    _get_model_registry_store,
    _get_request_message,
    catch_mlflow_exception,
    get_endpoints,
)

from forecastle.registry.aliases import PREVIOUS, PRODUCTION
from forecastle.registry.review import MOVED_BY_TAG, refusal_in_mlflow

PROTECTED = (PRODUCTION, PREVIOUS)


class Guard:
    """`service` is the user as whom Forecastle asks MLflow: it may always, as its ledger decides. Nobody else may
    do what takes an alias away from the ledger without being a reviewer."""

    def __init__(self, service: str | None, reviewers: Collection[str]) -> None:
        self._service, self._reviewers = service, frozenset(reviewers)
        checks: dict[Any, Callable[[Any], None]] = {
            messages.SetRegisteredModelAlias: self._set_alias,
            messages.DeleteRegisteredModelAlias: self._delete_alias,
            messages.DeleteModelVersion: self._delete_version,
            messages.DeleteRegisteredModel: self._delete_model,
            messages.RenameRegisteredModel: self._delete_model,
            messages.SetModelVersionTag: self._change_tag,
            messages.DeleteModelVersionTag: self._change_tag,
        }
        self._checks = {
            (path, method): (kind, checks[kind])
            for path, kind, methods in get_endpoints(lambda kind: kind)
            for method in methods
            if kind in checks
        }

    @catch_mlflow_exception  # type: ignore[untyped-decorator]
    def check(self) -> Response | None:
        """Answer 403 with a sentence, or let the request pass."""
        kind, check = self._checks.get((request.path, request.method), (None, None))
        if kind is not None and check is not None and self._user != self._service:
            check(_get_request_message(kind()))
        return None

    @property
    def _user(self) -> str | None:
        name: str | None = g.get("mlflow_authenticated_user")
        return name

    def _set_alias(self, message: Any) -> None:
        if message.alias not in PROTECTED:
            return
        self._require_reviewer(f"set the alias {message.alias}")
        store = _get_model_registry_store()
        found = store.get_model_version(message.name, message.version)
        refusal = refusal_in_mlflow(message.name, int(found.version), found.tags)
        if refusal is not None:
            raise _denied(refusal)
        if message.alias == PRODUCTION:  # before it is moved: whoever sees the move sees by whom
            store.set_model_version_tag(message.name, message.version, ModelVersionTag(MOVED_BY_TAG, self._user))

    def _delete_alias(self, message: Any) -> None:
        if message.alias in PROTECTED:
            self._require_reviewer(f"delete the alias {message.alias}")

    def _delete_version(self, message: Any) -> None:
        found = _get_model_registry_store().get_model_version(message.name, message.version)
        if set(found.aliases) & set(PROTECTED):
            raise _denied(f"{message.name} version {message.version} is production or previous: it cannot be deleted")

    def _delete_model(self, message: Any) -> None:
        found = _get_model_registry_store().get_registered_model(message.name)
        if set(found.aliases) & set(PROTECTED):
            raise _denied(f"a version of {message.name} is in production: it cannot be deleted or renamed")

    def _change_tag(self, message: Any) -> None:
        if message.key == MOVED_BY_TAG:
            raise _denied(f"the tag {MOVED_BY_TAG} says who moved production, and is written when that is done")

    def _require_reviewer(self, what: str) -> None:
        if self._user not in self._reviewers:
            raise _denied(
                f"only reviewers {what}: ask one to run forecastle models promote, or to move it here; "
                "FORECASTLE_REVIEWERS of the MLflow server names them"
            )


def _denied(sentence: str) -> MlflowException:
    return MlflowException(sentence, error_code=PERMISSION_DENIED)
