"""What batch scoring has answered so far, kept so that a run that was cut off goes on where it stopped."""

from __future__ import annotations

import fcntl
import json
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

from forecastle.errors import ConflictError


@dataclass(frozen=True)
class Entry:
    """One answered row: its place in the source, and its cells by column of the result."""

    position: Any
    cells: Mapping[str, Any]


@dataclass
class Tally:
    """How many rows were answered, how many of them say an error instead, and how many each version answered."""

    rows: int = 0
    failed: int = 0
    versions: Counter[str] = field(default_factory=Counter)

    def count(self, cells: Mapping[str, Any]) -> None:
        self.rows += 1
        self.failed += bool(cells.get("error"))
        if version := cells.get("model_version"):
            self.versions[version] += 1


class Journal:
    """A file with a line a row, after one that says what was asked and as of which moment.

    A line counts when it is whole: what a killed process had half written is cut off.
    """

    def __init__(self, path: Path, file: IO[bytes], asked: Mapping[str, Any]) -> None:
        self.path, self._file = path, file
        self.tally, self.position = Tally(), None
        head = _whole(file.readline())
        if head is None or head["asked"] != asked:
            file.truncate(0)
            head = {"asked": asked, "moment": datetime.now(UTC).isoformat()}
            self._append([head])
        self.moment = datetime.fromisoformat(head["moment"])
        self._recover()

    @classmethod
    @contextmanager
    def opened(cls, path: Path, asked: Mapping[str, Any], restart: bool = False) -> Iterator[Journal]:
        """The journal of what is asked, gone on with; begun anew where something else was asked, or to `restart`.

        Raises ConflictError while another process has it.
        """
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)  # it holds what people wrote
        with os.fdopen(descriptor, "r+b") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise ConflictError("another process is answering the same: wait for it, or end it") from None
            if restart:
                file.truncate(0)
            yield cls(path, file, asked)

    def add(self, entries: Sequence[Entry]) -> None:
        """Keep some rows; they are durable afterwards."""
        self._append([{"position": entry.position, "cells": entry.cells} for entry in entries])
        for entry in entries:
            self._count(entry.position, entry.cells)

    def rows(self) -> Iterator[Mapping[str, Any]]:
        """The cells of every row, in order."""
        with self.path.open("rb") as file:
            next(file)
            for line in file:
                yield json.loads(line)["cells"]

    def remove(self) -> None:
        self.path.unlink()

    def _append(self, items: Sequence[Mapping[str, Any]]) -> None:
        self._file.seek(0, os.SEEK_END)
        self._file.write("".join(f"{json.dumps(item)}\n" for item in items).encode())
        self._file.flush()
        os.fsync(self._file.fileno())

    def _recover(self) -> None:
        self._file.seek(0)
        end = len(self._file.readline())
        for line in self._file:
            if (found := _whole(line)) is None:
                break
            self._count(found["position"], found["cells"])
            end += len(line)
        self._file.truncate(end)

    def _count(self, position: Any, cells: Mapping[str, Any]) -> None:
        self.position = position
        self.tally.count(cells)


def _whole(line: bytes) -> dict[str, Any] | None:
    if line.endswith(b"\n"):
        with suppress(ValueError):
            found: dict[str, Any] = json.loads(line)
            return found
    return None
