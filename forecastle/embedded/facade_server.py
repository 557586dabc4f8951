"""The façade, as one more server that starts by itself."""

from __future__ import annotations

import os
import signal
import sys
import urllib.request
from dataclasses import replace
from http.client import HTTPException
from pathlib import Path
from urllib.parse import unquote, urlsplit

from forecastle.embedded.process import Server
from forecastle.settings import Settings, aws_variables

NAME = "facade"
EVERYWHERE = ("0.0.0.0", "::", "")  # noqa: S104 - compared with, not bound to


def server(folder: Path, settings: Settings, port: int) -> Server:
    """The façade on this port, handed its settings by environment."""
    host = "127.0.0.1" if settings.http_host in EVERYWHERE else settings.http_host
    address = f"http://{host}:{port}"
    return Server(
        name=NAME,
        command=command(settings.http_host, port, settings.http_workers),
        environment=environment(folder, settings),
        folder=folder,
        address=address,
        is_ready=lambda: answers(address),
        setting="FORECASTLE_URL",
        stop_signals=(signal.SIGTERM,),
        secrets=secrets_of(settings),
    )


def command(host: str, port: int, workers: int) -> list[str]:
    """The command that serves the façade; it reads everything else from the environment."""
    return [
        *(sys.executable, "-m", "granian", "--interface", "rsgi", "--factory"),
        *("--host", host, "--port", str(port), "--workers", str(workers)),
        *("--respawn-failed-workers", "--workers-kill-timeout", "5s"),
        "serving.door:create_door",
    ]


def answers(address: str) -> bool:
    """Whether a façade is up at `address`."""
    try:
        with urllib.request.urlopen(f"{address}/health/live", timeout=5) as answer:  # noqa: S310 - our own http address
            return bool(answer.status == 200)
    except (OSError, HTTPException):
        return False


def environment(folder: Path, settings: Settings) -> dict[str, str]:
    """What a process of ours is handed: its settings and how to find S3's credentials, no key of a person."""
    return {
        "PATH": os.defpath,
        "HOME": str(folder),
        "LANG": "C.UTF-8",
        "TZ": "UTC",
        "PYTHONSAFEPATH": "1",
        **aws_variables(settings),
        **replace(settings, api_key=None).as_environment(),
    }


def secrets_of(settings: Settings) -> list[str]:
    """What must not stand in an error."""
    addresses = (settings.database_url, settings.redis_url, settings.mlflow_tracking_uri, settings.smtp_url)
    passwords = [urlsplit(address).password or "" for address in addresses if address]
    found = (
        *(*passwords, *map(unquote, passwords), settings.aws_secret_access_key, settings.aws_session_token),
        *(settings.mlflow_tracking_password, settings.mlflow_tracking_token, settings.notify_webhook_url),
        settings.webhook_secret,
    )
    return [secret for secret in found if secret]
