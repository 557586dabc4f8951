"""The logs of the servers: their last lines, and what comes after."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator
from pathlib import Path

from forecastle.embedded.home import Home

_BLOCK_BYTES = 65_536


def last_lines(log: Path, count: int) -> list[str]:
    """The last lines of a log, of however large a file; none where there is no log."""
    if count < 1 or not log.exists():
        return []
    found = b""
    with log.open("rb") as file:
        begin = file.seek(0, os.SEEK_END)
        while begin > 0 and found.count(b"\n") <= count:
            length = min(_BLOCK_BYTES, begin)
            begin = file.seek(begin - length)
            found = file.read(length) + found
            file.seek(begin)
    return found.decode("utf-8", "replace").splitlines()[-count:]


class Follower:
    """Lines that are added to logs from now on, each with the name of its server."""

    def __init__(self, home: Home, names: Collection[str]) -> None:
        self._logs = {name: _Tail(home.path / "logs" / f"{name}.log") for name in names}

    def read(self) -> Iterator[tuple[str, str]]:
        """Name and line of what was added since the last call."""
        for name, tail in self._logs.items():
            for line in tail.read():
                yield name, line


class _Tail:
    def __init__(self, path: Path) -> None:
        self._path, self._rest = path, b""
        self._at = self._identity()

    def read(self) -> list[str]:
        """Whole lines only; a file that was put aside is read from the beginning of the new one."""
        inode, size = self._identity()
        if inode != self._at[0] or size < self._at[1]:
            self._at, self._rest = (inode, 0), b""
        if size == self._at[1]:
            return []
        with self._path.open("rb") as file:
            file.seek(self._at[1])
            content = file.read(size - self._at[1])
        self._at = inode, size
        *lines, self._rest = (self._rest + content).split(b"\n")
        return [line.decode("utf-8", "replace").rstrip("\r") for line in lines]

    def _identity(self) -> tuple[int, int]:
        try:
            found = self._path.stat()
        except FileNotFoundError:
            return 0, 0
        return found.st_ino, found.st_size
