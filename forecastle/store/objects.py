"""Dataset and bundle files: named bytes that are written once and never changed.

A folder for now; S3 joins behind the same functions.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from pathlib import Path

from forecastle.errors import NotFoundError


def digest_of(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


class Objects:
    """Objects below `folder`; names are relative paths with `/`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder.resolve()

    def put(self, name: str, content: bytes) -> None:
        """Write an object whole or not at all; writing the same name again replaces it."""
        path = self._path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=".writing-")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            Path(temporary).replace(path)
            _sync_folder(path.parent)  # or the name may be lost with the power, and the ledger names it
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise

    def get(self, name: str) -> bytes:
        """The object's bytes. Raises NotFoundError."""
        try:
            return self._path(name).read_bytes()
        except FileNotFoundError:
            raise NotFoundError(f"no object {name}") from None

    def exists(self, name: str) -> bool:
        return self._path(name).is_file()

    def _path(self, name: str) -> Path:
        path = (self._folder / name).resolve()
        if not path.is_relative_to(self._folder) or path == self._folder:
            raise ValueError(f"not the name of an object: {name}")
        return path
