"""Results in S3, wherever somebody wants them: a file becomes an object whole, or not at all."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit

from forecastle.errors import InputError
from forecastle.settings import Settings
from forecastle.store.objects import client_of
from forecastle.store.s3_errors import s3_errors


def is_s3(address: str) -> bool:
    return address.startswith("s3://")


def upload(settings: Settings, path: Path, address: str) -> None:
    """Put a file at `s3://bucket/key`, a large one in parts; what was there is replaced when all of them are there.

    Parts of an upload that fails are removed. Raises InputError for an address that names no object, ServerError and
    ConfigurationError as `Objects` does.
    """
    parts = urlsplit(address)
    key = parts.path.lstrip("/")
    if not parts.netloc or not key or key.endswith("/"):
        raise InputError(f"{address} names no object: give s3://bucket/key")
    with s3_errors(settings, parts.netloc, "write"), path.open("rb") as file:
        client_of(settings).upload_fileobj(file, parts.netloc, key)
