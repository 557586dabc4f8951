"""Every setting, read from the environment once by a composition root.

Nothing else in Forecastle reads the environment. `docs/configuration.md` lists the same
settings; a test compares the two.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from forecastle.errors import ConfigurationError


# An address may hold a password: `secret` keeps a field out of repr().
def _setting(variable: str, default: Any, meaning: str, parse: Callable[[str], Any] = str, secret: bool = False) -> Any:
    metadata = {"variable": variable, "meaning": meaning, "parse": parse}
    return field(default=default, metadata=metadata, repr=not secret)


def _port(text: str) -> int:
    port = int(text)
    if not 0 <= port <= 65535:
        raise ValueError("not a port")
    return port


def _folder(text: str) -> str:
    if "://" in text:
        raise ValueError("not a folder")
    return text


def _postgresql_url(text: str) -> str:
    parts = urlsplit(text)
    if parts.scheme not in ("postgresql", "postgres"):
        raise ValueError("not an address of PostgreSQL")
    _ = parts.port  # raises where a password holds / or ? that is not percent-encoded
    return text


def _level(text: str) -> str:
    if text.upper() not in logging.getLevelNamesMapping():
        raise ValueError("no level")
    return text.upper()


def _home(text: str) -> Path:
    return Path(text).expanduser()


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise ValueError("not a positive whole number")
    return number


@dataclass(frozen=True)
class Settings:
    """One field a setting; `None` means that Forecastle starts or chooses its own."""

    home: Path = _setting(
        "FORECASTLE_HOME", Path(".forecastle"), "folder of the embedded servers and their data", _home
    )
    database_url: str | None = _setting(
        "DATABASE_URL",
        None,
        "PostgreSQL to use (postgresql://…); without it an embedded one starts",
        _postgresql_url,
        secret=True,
    )
    mlflow_tracking_uri: str | None = _setting(
        "MLFLOW_TRACKING_URI",
        None,
        "MLflow server to use; without it an embedded one starts",
        secret=True,
    )
    artifacts: str | None = _setting(
        "FORECASTLE_ARTIFACTS", None, "folder of dataset and bundle files; by default `objects` under the home", _folder
    )
    facade_url: str | None = _setting(
        "FORECASTLE_URL",
        None,
        "façade that the command line asks; without it an embedded one starts",
        secret=True,
    )
    http_host: str = _setting("FORECASTLE_HTTP_HOST", "127.0.0.1", "address on which the façade listens")
    http_port: int = _setting("FORECASTLE_HTTP_PORT", 8700, "port of the façade; 0 takes a free one", _port)
    http_workers: int = _setting("FORECASTLE_HTTP_WORKERS", 1, "worker processes of the façade", _positive)
    http_threads: int = _setting("FORECASTLE_HTTP_THREADS", 8, "threads a façade worker answers with", _positive)
    pool_size: int = _setting("FORECASTLE_POOL_SIZE", 8, "most PostgreSQL connections in a process's pool", _positive)
    api_key: str | None = _setting(
        "FORECASTLE_API_KEY",
        None,
        "API key of the person at the command line; one person alone needs none",
        secret=True,
    )
    log_level: str = _setting(
        "FORECASTLE_LOG_LEVEL", "INFO", "least level that is logged: DEBUG, INFO, WARNING, ERROR", _level
    )

    @classmethod
    def from_env(cls, environ: Mapping[str, str] | None = None) -> Settings:
        """Read every setting from `environ` (the process environment by default).

        An empty variable counts as absent. Raises ConfigurationError naming the variable, never its value.
        """
        source = os.environ if environ is None else environ
        values: dict[str, Any] = {}
        for item in fields(cls):
            text = source.get(item.metadata["variable"], "").strip()
            if not text:
                continue
            try:
                values[item.name] = item.metadata["parse"](text)
            except ValueError:
                wanted = item.metadata["meaning"]
                raise ConfigurationError(f"{item.metadata['variable']} has no usable value; it is: {wanted}") from None
        return cls(**values)

    @property
    def objects_folder(self) -> Path:
        """Where dataset and bundle files lie."""
        return Path(self.artifacts).expanduser().resolve() if self.artifacts else self.home.resolve() / "objects"

    def as_environment(self) -> dict[str, str]:
        """The variables from which these settings would be read again; folders as absolute paths."""
        values = {item.metadata["variable"]: getattr(self, item.name) for item in fields(self)}
        values["FORECASTLE_HOME"] = self.home.resolve()
        values["FORECASTLE_ARTIFACTS"] = self.objects_folder
        return {name: str(value) for name, value in values.items() if value is not None}

    def require_database_url(self) -> str:
        """Raises ConfigurationError where there is none."""
        if self.database_url is None:
            raise ConfigurationError('DATABASE_URL is not set; start the servers and type: eval "$(forecastle env)"')
        return self.database_url

    def require_tracking_uri(self) -> str:
        """Raises ConfigurationError where there is none."""
        if self.mlflow_tracking_uri is None:
            raise ConfigurationError(
                'MLFLOW_TRACKING_URI is not set; start the servers and type: eval "$(forecastle env)"'
            )
        return self.mlflow_tracking_uri
