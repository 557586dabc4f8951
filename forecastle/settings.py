"""Every setting, read from the environment once by a composition root.

Nothing else in Forecastle reads the environment. `docs/configuration.md` lists the same
settings; a test compares the two.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal, get_args
from urllib.parse import parse_qsl, urlencode, urlsplit

from forecastle.errors import ConfigurationError

FourEyes = Literal["always", "unless-alone", "never"]

_BUCKET = re.compile(r"s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9](/[\w.-]*[\w-][\w.-]*)*/?", re.ASCII)
_MAIL = re.compile(r"[\w.!#$%&'*+/=?^`{|}~-]+@[\w.-]+", re.ASCII)
_TLS_WORDS = {"ssl_ca_certs", "ssl_certfile", "ssl_keyfile", "ssl_cert_reqs", "ssl_check_hostname"}
_UNSET = '{} is not set; start the servers and type: eval "$(forecastle env)"'


# An address may hold a password: `secret` keeps a field out of repr().
def _setting(variable: str, default: Any, meaning: str, parse: Callable[[str], Any] = str, secret: bool = False) -> Any:
    metadata = {"variable": variable, "meaning": meaning, "parse": parse}
    return field(default=default, metadata=metadata, repr=not secret)


def _port(text: str) -> int:
    port = int(text)
    if not 0 <= port <= 65535:
        raise ValueError("not a port")
    return port


def _bucket(text: str) -> str:
    if not _BUCKET.fullmatch(text):
        raise ValueError("not a bucket")
    return text.rstrip("/")


def _postgresql_url(text: str) -> str:
    parts = urlsplit(text)
    if parts.scheme not in ("postgresql", "postgres"):
        raise ValueError("not an address of PostgreSQL")
    _ = parts.port  # raises where a password holds / or ? that is not percent-encoded
    return text


def _redis_url(text: str) -> str:
    parts = urlsplit(text)
    if parts.scheme not in ("redis", "rediss"):
        raise ValueError("not an address of Redis")
    _ = parts.port
    query = dict(parse_qsl(parts.query))
    if {name for name in query if name.startswith("ssl_")} - (_TLS_WORDS if parts.scheme == "rediss" else set()):
        raise ValueError("not a word about TLS")
    if parts.scheme == "redis":
        return text
    # Said in every address: where it is left out, Celery's client takes any certificate and Redis' own takes none.
    asked = query.get("ssl_cert_reqs", "required").lower().removeprefix("cert_")
    if asked not in ("required", "optional", "none"):
        raise ValueError("not a demand on certificates")
    return parts._replace(query=urlencode({**query, "ssl_cert_reqs": asked}, safe="/")).geturl()


def _smtp_url(text: str) -> str:
    parts = urlsplit(text)
    query = dict(parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query)))
    if parts.scheme not in ("smtp", "smtps") or not parts.hostname or set(query) - {"starttls", "ssl_ca_certs"}:
        raise ValueError("not an address of a mail server")
    _ = parts.port
    if "starttls" in query and (parts.scheme, query["starttls"]) != ("smtp", "off"):
        raise ValueError("STARTTLS can only be switched off, and not with smtps")
    if "starttls" in query and parts.username:
        raise ValueError("a password must not travel in plain")
    return text


def _webhook_url(text: str) -> str:
    parts = urlsplit(text)
    if parts.scheme not in ("https", "http") or not parts.hostname:
        raise ValueError("not an address of HTTP")
    _ = parts.port
    return text


def _webhook_secret(text: str) -> str:
    if len(text) < 32 or not text.isascii():
        raise ValueError("not a secret")
    return text


def _names(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())


def _mail_addresses(text: str) -> tuple[str, ...]:
    found = tuple(_mail_address(part) for part in text.split(",") if part.strip())
    if not found:
        raise ValueError("no mail address")
    return found


def _mail_address(text: str) -> str:
    if not _MAIL.fullmatch(text.strip()):
        raise ValueError("not a mail address")
    return text.strip()


def _level(text: str) -> str:
    if text.upper() not in logging.getLevelNamesMapping():
        raise ValueError("no level")
    return text.upper()


def _four_eyes(text: str) -> str:
    if text not in get_args(FourEyes):
        raise ValueError("not a rule")
    return text


def _home(text: str) -> Path:
    return Path(text).expanduser()


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise ValueError("not a positive whole number")
    return number


def _as_text(value: Any) -> str:
    return ",".join(value) if isinstance(value, tuple) else str(value)


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
    mlflow_tracking_username: str | None = _setting(
        "MLFLOW_TRACKING_USERNAME", None, "user as whom MLflow is asked, where it wants to know"
    )
    mlflow_tracking_password: str | None = _setting(
        "MLFLOW_TRACKING_PASSWORD", None, "password of the user as whom MLflow is asked", secret=True
    )
    mlflow_tracking_token: str | None = _setting(
        "MLFLOW_TRACKING_TOKEN", None, "bearer token with which MLflow is asked, instead of a user", secret=True
    )
    redis_url: str | None = _setting(
        "REDIS_URL",
        None,
        "broker of the jobs (redis://… or rediss://…?ssl_ca_certs=FILE); without it an embedded Valkey starts",
        _redis_url,
        secret=True,
    )
    artifacts: str | None = _setting(
        "FORECASTLE_ARTIFACTS",
        None,
        "S3 bucket of all files (s3://bucket or s3://bucket/prefix, no folder); without it an embedded one starts",
        _bucket,
    )
    s3_endpoint_url: str | None = _setting(
        "MLFLOW_S3_ENDPOINT_URL", None, "address of the S3 server; without it that of AWS"
    )
    aws_access_key_id: str | None = _setting(
        "AWS_ACCESS_KEY_ID", None, "access key for S3; without it whatever boto3 finds", secret=True
    )
    aws_secret_access_key: str | None = _setting("AWS_SECRET_ACCESS_KEY", None, "secret of the access key", secret=True)
    aws_session_token: str | None = _setting(
        "AWS_SESSION_TOKEN", None, "token of an access key that expires", secret=True
    )
    aws_region: str | None = _setting("AWS_DEFAULT_REGION", None, "region of the bucket")
    facade_url: str | None = _setting(
        "FORECASTLE_URL",
        None,
        "façade that the command line asks; without it an embedded one starts",
        secret=True,
    )
    http_host: str = _setting("FORECASTLE_HTTP_HOST", "127.0.0.1", "address on which the façade listens")
    http_port: int = _setting("FORECASTLE_HTTP_PORT", 8700, "port of the façade; 0 takes a free one", _port)
    http_workers: int = _setting("FORECASTLE_HTTP_WORKERS", 1, "worker processes of the façade", _positive)
    http_threads: int = _setting(
        "FORECASTLE_HTTP_THREADS", 8, "threads of a façade worker, for all that is not answered at once", _positive
    )
    pool_size: int = _setting("FORECASTLE_POOL_SIZE", 8, "most PostgreSQL connections in a process's pool", _positive)
    model_cache_mb: int = _setting(
        "FORECASTLE_MODEL_CACHE_MB", 256, "most memory of the versions that a façade worker holds, in MB", _positive
    )
    api_key: str | None = _setting(
        "FORECASTLE_API_KEY",
        None,
        "API key of the person at the command line; one person alone needs none",
        secret=True,
    )
    four_eyes: FourEyes = _setting(
        "FORECASTLE_FOUR_EYES",
        "unless-alone",
        "who trained a version does not promote it: always, unless-alone, never",
        _four_eyes,
    )
    webhook_secret: str | None = _setting(
        "FORECASTLE_WEBHOOK_SECRET",
        None,
        "secret with which MLflow signs its webhook, 32 characters or more; without it none is heard",
        _webhook_secret,
        secret=True,
    )
    reviewers: tuple[str, ...] | None = _setting(
        "FORECASTLE_REVIEWERS",
        None,
        "users of MLflow who may move production there, with commas between them; read by MLflow's plugin",
        _names,
    )
    job_run: str | None = _setting(
        "FORECASTLE_JOB_RUN", None, "run of a job on whose behalf an entry point works; set by the worker"
    )
    job_run_days: int = _setting(
        "FORECASTLE_JOB_RUN_DAYS", 365, "days for which runs of jobs that ended, and closed alerts, are kept", _positive
    )
    smtp_url: str | None = _setting(
        "FORECASTLE_SMTP_URL",
        None,
        "mail server of the alerts (smtps://user:password@host:465, or smtp:// with STARTTLS); without it no e-mail",
        _smtp_url,
        secret=True,
    )
    mail_from: str | None = _setting("FORECASTLE_MAIL_FROM", None, "mail address that alerts come from", _mail_address)
    mail_to: tuple[str, ...] | None = _setting(
        "FORECASTLE_MAIL_TO", None, "mail addresses that alerts go to, with commas between them", _mail_addresses
    )
    notify_webhook_url: str | None = _setting(
        "FORECASTLE_NOTIFY_WEBHOOK_URL",
        None,
        "webhook of the alerts, as Slack makes them; without it none is called",
        _webhook_url,
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
        if "smtp_url" in values and not {"mail_from", "mail_to"} <= set(values):
            raise ConfigurationError("FORECASTLE_SMTP_URL needs FORECASTLE_MAIL_FROM and FORECASTLE_MAIL_TO as well")
        return cls(**values)

    def as_environment(self) -> dict[str, str]:
        """The variables from which these settings would be read again; the home as an absolute path."""
        values = {item.metadata["variable"]: getattr(self, item.name) for item in fields(self)}
        values["FORECASTLE_HOME"] = self.home.resolve()
        return {name: _as_text(value) for name, value in values.items() if value is not None}

    def require_database_url(self) -> str:
        """Raises ConfigurationError where there is none."""
        if self.database_url is None:
            raise ConfigurationError(_UNSET.format("DATABASE_URL"))
        return self.database_url

    def require_tracking_uri(self) -> str:
        """Raises ConfigurationError where there is none."""
        if self.mlflow_tracking_uri is None:
            raise ConfigurationError(_UNSET.format("MLFLOW_TRACKING_URI"))
        return self.mlflow_tracking_uri

    def require_artifacts(self) -> str:
        """Raises ConfigurationError where there is none."""
        if self.artifacts is None:
            raise ConfigurationError(_UNSET.format("FORECASTLE_ARTIFACTS"))
        return self.artifacts

    def require_redis_url(self) -> str:
        """Raises ConfigurationError where there is none."""
        if self.redis_url is None:
            raise ConfigurationError(_UNSET.format("REDIS_URL"))
        return self.redis_url


def aws_variables(settings: Settings, environ: Mapping[str, str] | None = None) -> dict[str, str]:
    """What boto3 reads beside the settings: whom to trust and, without a key, where to look for credentials.

    For child processes that have an environment and a home of their own and have to find what this one would.
    """
    source = os.environ if environ is None else environ
    if settings.aws_access_key_id is not None:
        return {name: source[name] for name in ("AWS_CA_BUNDLE",) if name in source}
    folder = Path(source.get("HOME") or Path.home(), ".aws")
    files = {"AWS_SHARED_CREDENTIALS_FILE": str(folder / "credentials"), "AWS_CONFIG_FILE": str(folder / "config")}
    return {**files, **{name: value for name, value in source.items() if name.startswith("AWS_")}}
