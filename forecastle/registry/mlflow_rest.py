"""Registered models, versions and aliases, over MLflow's REST API and without its package.

MLflow takes seconds and hundreds of megabytes to import: the façade, and every command that only looks or promotes,
does without. Written for, and tested against, the version that pyproject.toml pins.
"""

from __future__ import annotations

import base64
import json
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from http.client import HTTPException
from typing import Any
from urllib.parse import quote, unquote, urlencode, urlsplit, urlunsplit

from forecastle.errors import ConfigurationError, ForecastleError, NotFoundError, ServerError
from forecastle.registry.aliases import VersionFiles
from forecastle.registry.bundle import FOLDER
from forecastle.settings import Settings
from forecastle.store.promotions import in_names_of_today

API, PAGES = "api/2.0/mlflow", "ajax-api/2.0/mlflow"
TIMEOUT_SECONDS = 20.0
PROVENANCE_TAGS = ("data.digest", "git.commit", "feature.digest", "bundle.digest", "trained_by", "mae")
GATE_TAGS = ("gate.verdict", "gate.margin")
NOT_FOUND = {"RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"}


@dataclass(frozen=True)
class Version:
    """A version of a registered model, as MLflow lists it; `source` is where its model for people lies."""

    name: str
    version: int
    run_id: str
    aliases: tuple[str, ...]
    tags: Mapping[str, str]
    created_at_ms: int
    source: str = ""


@dataclass(frozen=True)
class RunRecord:
    """What a training logged."""

    metrics: Mapping[str, float]
    params: Mapping[str, str]


class MlflowRest:
    """MLflow at one address. Every method raises ServerError where it does not answer.

    A request is made anew `retries` times, at once and then with pauses of 2, 4, 8 … s: all that are made here may be.
    """

    def __init__(self, uri: str, retries: int = 2, authorization: str | None = None) -> None:
        parts = urlsplit(uri)
        if parts.scheme not in ("http", "https"):
            raise ConfigurationError("MLFLOW_TRACKING_URI has to be the http:// or https:// address of a server")
        self._base = urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2])).rstrip("/")
        self._retries = retries
        self._authorization = authorization
        if authorization is None and parts.username is not None:
            self._authorization = basic(unquote(parts.username), unquote(parts.password or ""))

    @classmethod
    def of(cls, settings: Settings, retries: int = 2) -> MlflowRest:
        """The server that the settings name, with their credentials. Raises ConfigurationError where they name none."""
        uri, authorization = settings.require_tracking_uri(), None
        if settings.mlflow_tracking_token is not None:
            authorization = f"Bearer {settings.mlflow_tracking_token}"
        elif settings.mlflow_tracking_username is not None:
            authorization = basic(settings.mlflow_tracking_username, settings.mlflow_tracking_password or "")
        return cls(uri, retries, authorization)

    def list_versions(self, name: str | None = None) -> list[Version]:
        """Versions of one registered model, or of all, newest first. Raises NotFoundError."""
        aliases: dict[tuple[str, int], list[str]] = {}
        for model in (
            [self._registered(name)] if name else self.list_all("registered-models/search", "registered_models")
        ):
            for found in model.get("aliases", []):
                aliases.setdefault((model["name"], int(found["version"])), []).append(found["alias"])
        wanted = {"filter": f"name='{name}'"} if name else {}
        versions = [
            _version(item, aliases.get((item["name"], int(item["version"])), []))
            for item in self.list_all("model-versions/search", "model_versions", **wanted)
        ]
        return sorted(versions, key=lambda version: (version.created_at_ms, version.version), reverse=True)

    def list_aliases(self) -> dict[str, dict[str, int]]:
        """What each alias of each registered model names: one request for every thousand models."""
        return {
            model["name"]: {found["alias"]: int(found["version"]) for found in model.get("aliases", [])}
            for model in self.list_all("registered-models/search", "registered_models", max_results="1000")
        }

    def get_version(self, name: str, version: int) -> Version:
        """One version. Raises NotFoundError."""
        found = self.ask("GET", "model-versions/get", {"name": name, "version": version})["model_version"]
        return _version(found, found.get("aliases", []))

    def version_at_alias(self, name: str, alias: str) -> Version:
        """The version an alias names. Raises NotFoundError."""
        found = self.ask("GET", "registered-models/alias", {"name": name, "alias": alias})["model_version"]
        return _version(found, found.get("aliases", []))

    def model_tags(self, name: str) -> Mapping[str, str]:
        """The tags of a registered model. Raises NotFoundError."""
        return {item["key"]: item["value"] for item in self._registered(name).get("tags", [])}

    def find_alias(self, name: str, alias: str) -> int | None:
        """The number of the version that an alias names, if any."""
        try:
            return self.version_at_alias(name, alias).version
        except NotFoundError:
            return None

    def set_alias(self, name: str, alias: str, version: int) -> None:
        self.ask("POST", "registered-models/alias", {}, {"name": name, "alias": alias, "version": str(version)})

    def remove_alias(self, name: str, alias: str) -> None:
        """Nothing happens where there is none. Raises NotFoundError for an unknown registered model."""
        self.ask("DELETE", "registered-models/alias", {}, {"name": name, "alias": alias})

    def set_tag(self, name: str, version: int, key: str, value: str) -> None:
        body = {"name": name, "version": str(version), "key": key, "value": value}
        self.ask("POST", "model-versions/set-tag", {}, body)

    def get_run(self, run_id: str) -> RunRecord:
        """What a run logged. Raises NotFoundError."""
        data = self.ask("GET", "runs/get", {"run_id": run_id})["run"]["data"]
        metrics = {item["key"]: float(item["value"]) for item in data.get("metrics", [])}
        return RunRecord(metrics, {item["key"]: item["value"] for item in data.get("params", [])})

    def version_files(self, name: str, version: int) -> VersionFiles:
        """The content of every file of a version: its bundle and the model for people. Raises NotFoundError."""
        found = self.get_version(name, version)
        files = {path: self._run_file(found.run_id, path) for path in self._run_paths(found.run_id, FOLDER)}
        model = found.source.removeprefix("models:/")
        if not model.startswith("m-"):
            raise NotFoundError(f"{name} version {version} was not logged by a training here; train a new version")
        files |= {f"model/{path}": self._model_file(model, path) for path in self._model_paths(model)}
        created = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(found.created_at_ms / 1000))
        provenance = {
            "run_id": found.run_id,
            "created_at": created,
            **{tag: found.tags.get(tag, "unknown") for tag in PROVENANCE_TAGS},
            **{tag: found.tags[tag] for tag in GATE_TAGS if tag in found.tags},
        }
        return VersionFiles(version, files, provenance)

    def _run_paths(self, run_id: str, folder: str) -> Iterator[str]:
        found = self.list_all("artifacts/list", "files", run_id=run_id, path=folder)
        for item in list(found):
            if item.get("is_dir"):
                yield from self._run_paths(run_id, item["path"])
            else:
                yield item["path"]

    def _run_file(self, run_id: str, path: str) -> bytes:
        return self._request("GET", "get-artifact", {"run_uuid": run_id, "path": path})

    def _model_paths(self, model: str, folder: str | None = None) -> Iterator[str]:
        within = {} if folder is None else {"artifact_directory_path": folder}
        for item in list(self.list_all(f"logged-models/{quote(model)}/artifacts/directories", "files", **within)):
            if item.get("is_dir"):
                yield from self._model_paths(model, item["path"])
            else:
                yield item["path"]

    def _model_file(self, model: str, path: str) -> bytes:
        address = f"{PAGES}/logged-models/{quote(model)}/artifacts/files"
        return self._request("GET", address, {"artifact_file_path": path})

    def _registered(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] = self.ask("GET", "registered-models/get", {"name": name})["registered_model"]
        return found

    def list_all(self, address: str, field: str, /, **query: str) -> Iterator[dict[str, Any]]:
        """Every item of every page."""
        token: str | None = None
        while True:
            page = self.ask("GET", address, {**query, **({"page_token": token} if token else {})})
            yield from page.get(field, [])
            token = page.get("next_page_token")
            if not token:
                return

    def ask(self, method: str, path: str, query: Mapping[str, Any], body: Any = None) -> dict[str, Any]:
        """What one of its documented addresses answers. Raises NotFoundError, ConfigurationError where it refuses."""
        content = self._request(method, f"{API}/{path}", query, body)
        try:
            found: dict[str, Any] = json.loads(content)
        except ValueError as error:
            raise ServerError("what answers at MLFLOW_TRACKING_URI is no MLflow") from error
        return found

    def _request(self, method: str, path: str, query: Mapping[str, Any], body: Any = None) -> bytes:
        headers = {"Content-Type": "application/json"}
        if self._authorization is not None:
            headers["Authorization"] = self._authorization
        address = f"{self._base}/{path}?{urlencode(query)}"
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(address, data, headers, method=method)  # noqa: S310 - checked to be http
        for attempt in range(self._retries + 1):
            time.sleep(2.0 ** (attempt - 1) if attempt > 1 else 0)
            try:
                with urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS) as answer:  # noqa: S310
                    content: bytes = answer.read()
                    return content
            except urllib.error.HTTPError as error:
                failure = _refusal(error)
                if not failure.retryable:
                    raise failure from None
            except (OSError, HTTPException):
                failure = ServerError("MLflow did not answer; is it running? `forecastle up` starts it")
        raise failure


def basic(username: str, password: str) -> str:
    """The value of the header `Authorization`."""
    return f"Basic {base64.b64encode(f'{username}:{password}'.encode()).decode()}"


def _refusal(error: urllib.error.HTTPError) -> ForecastleError:
    if error.code in (401, 403):
        return ConfigurationError("MLflow does not let us in: check MLFLOW_TRACKING_USERNAME and its password")
    try:
        code = str(json.loads(error.read())["error_code"])
    except (OSError, HTTPException, ValueError, TypeError, KeyError):
        code = f"HTTP {error.code}"
    if code in NOT_FOUND:
        return not_found()
    return ServerError(f"MLflow refused or did not answer ({code}); is it running?")


def not_found() -> NotFoundError:
    return NotFoundError("MLflow knows no such registered model or version; `forecastle models list` shows them")


def _version(item: Mapping[str, Any], aliases: list[str]) -> Version:
    return Version(
        name=item["name"],
        version=int(item["version"]),
        run_id=item.get("run_id", ""),
        aliases=tuple(sorted(aliases)),
        tags=in_names_of_today({tag["key"]: tag["value"] for tag in item.get("tags", [])}),
        created_at_ms=int(item["creation_timestamp"]),
        source=item.get("source", ""),
    )
