"""The embedded MLflow tracking server, with its tables in PostgreSQL and its files under the home."""

from __future__ import annotations

import os
import signal
import sys
import urllib.request
from http.client import HTTPException
from pathlib import Path
from urllib.parse import unquote, urlsplit

from forecastle.embedded.process import Server

NAME = "mlflow"


def server(folder: Path, database_url: str, port: int) -> Server:
    """The server on this port; `database_url` is MLflow's own database."""
    address = f"http://127.0.0.1:{port}"
    parts = urlsplit(database_url)
    return Server(
        name=NAME,
        command=[
            *(sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port)),
            *("--workers", "1", "--artifacts-destination", (folder / "artifacts").as_uri()),
            "--uvicorn-opts=--timeout-graceful-shutdown 5",
        ],
        environment=_environment(folder, parts._replace(scheme="postgresql+psycopg").geturl()),
        folder=folder,
        address=address,
        is_ready=lambda: answers(address),
        setting="MLFLOW_TRACKING_URI",
        stop_signals=(signal.SIGTERM,),
        secrets=[secret for secret in (parts.password, unquote(parts.password or "")) if secret],
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
