"""The embedded MLflow tracking server, with its tables in PostgreSQL and its files in S3."""

from __future__ import annotations

import base64
import os
import signal
import sys
import urllib.request
from http.client import HTTPException
from pathlib import Path
from urllib.parse import unquote, urlsplit

from forecastle.embedded.home import write_private
from forecastle.embedded.process import Server
from forecastle.settings import Settings, aws_variables

NAME = "mlflow"
_WEBHOOK_KEY = "webhook.key"


def server(folder: Path, database_url: str, settings: Settings, port: int) -> Server:
    """The server on this port; `database_url` is MLflow's own database, the bucket is that of the settings.

    Clients hand files to the server and get them from it: only the server needs credentials.
    """
    address = f"http://127.0.0.1:{port}"
    parts = urlsplit(database_url)
    return Server(
        name=NAME,
        command=[
            *(sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port)),
            *("--workers", "1", "--artifacts-destination", f"{settings.require_artifacts()}/{NAME}"),
            "--uvicorn-opts=--timeout-graceful-shutdown 5",
        ],
        environment={
            **_environment(folder, parts._replace(scheme="postgresql+psycopg").geturl()),
            **_webhooks(folder),
            **_storage(settings),
        },
        folder=folder,
        address=address,
        is_ready=lambda: answers(address),
        setting="MLFLOW_TRACKING_URI",
        stop_signals=(signal.SIGTERM,),
        secrets=[
            secret
            for secret in (parts.password, unquote(parts.password or ""), settings.aws_secret_access_key)
            if secret
        ],
        start_seconds=300,  # the first start makes all the tables
    )


def answers(address: str) -> bool:
    """Whether an MLflow server is up at `address`."""
    try:
        with urllib.request.urlopen(f"{address}/health", timeout=5) as answer:  # noqa: S310 - our own http address
            return bool(answer.status == 200)
    except (OSError, HTTPException):  # the latter when it is no web server
        return False


def _environment(folder: Path, store: str) -> dict[str, str]:
    """All that the server gets to see; with the password, as anybody may read a command line."""
    return {
        "PATH": os.defpath,
        "HOME": str(folder),
        "LANG": "C.UTF-8",
        "TZ": "UTC",
        "PYTHONSAFEPATH": "1",  # a folder that is called mlflow must not shadow the package
        "MLFLOW_BACKEND_STORE_URI": store,
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "DO_NOT_TRACK": "true",
    }


def _webhooks(folder: Path) -> dict[str, str]:
    """What lets a façade on this machine be told of aliases that were moved.

    The key encrypts the secrets of webhooks in MLflow's database: with another one, nothing is delivered any more.
    """
    file = folder / _WEBHOOK_KEY
    if not file.exists():
        write_private(file, base64.urlsafe_b64encode(os.urandom(32)).decode())
    return {
        "MLFLOW_WEBHOOK_ALLOWED_SCHEMES": "http,https",
        "MLFLOW_WEBHOOK_ALLOW_PRIVATE_IPS": "true",
        "MLFLOW_WEBHOOK_SECRET_ENCRYPTION_KEY": file.read_text("utf-8").strip(),
    }


def _storage(settings: Settings) -> dict[str, str]:
    """What MLflow's own client of S3 reads."""
    named = ("AWS_", "MLFLOW_S3_")
    # A server of one's own seldom has a host name a bucket, and seldom takes the checksums that boto3 sends behind a
    # body of unknown length over https.
    own = {"MLFLOW_BOTO_CLIENT_ADDRESSING_STYLE": "path", "AWS_REQUEST_CHECKSUM_CALCULATION": "when_required"}
    return {
        **aws_variables(settings),
        **{name: value for name, value in settings.as_environment().items() if name.startswith(named)},
        **(own if settings.s3_endpoint_url else {"MLFLOW_BOTO_CLIENT_ADDRESSING_STYLE": "auto"}),
    }
