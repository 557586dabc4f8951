"""The folder that holds the embedded servers' data, and what is known of those now running in it."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import shutil
import signal
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from forecastle.embedded.process import signal_group, started_at
from forecastle.errors import ConfigurationError, ServerError

_ORPHAN_SECONDS = 20
_LOOPBACK = "127.0.0.1"
LEAST_FREE_BYTES = 64_000_000
"""A server is started with this much room or more: PostgreSQL's journal takes it in files of 16 MB, several at once."""


@dataclass(frozen=True)
class Record:
    """One running server and the process that started it; a number and a start name a process."""

    address: str
    pid: int
    started: str | None
    owner: int
    owner_started: str | None

    @classmethod
    def of(cls, address: str, pid: int) -> Record:
        """The record of a server that this process has just started."""
        owner = os.getpid()
        return cls(address, pid, started_at(pid), owner, started_at(owner))

    @property
    def is_running(self) -> bool:
        return started_at(self.pid) == self.started is not None

    @property
    def is_live(self) -> bool:
        """Whether it runs and will go on: one whose starter has died is on its way out."""
        return self.is_running and started_at(self.owner) == self.owner_started


@dataclass(frozen=True)
class Home:
    """Paths and state under one `FORECASTLE_HOME`; `path` is absolute."""

    path: Path

    def folder(self, name: str) -> Path:
        """A folder of ours, made for us alone where it does not exist yet; others stay as they are."""
        folder = self.path / name
        try:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            folder.mkdir(mode=0o700, exist_ok=True)
        except OSError as error:
            if error.errno == errno.ENOSPC:
                raise
            raise ConfigurationError(
                f"{folder} cannot be made ({error.strerror}): set FORECASTLE_HOME to a folder of your own"
            ) from None
        return folder

    def shortage(self) -> str | None:
        """A sentence where the disk has too little room for a server to start."""
        nearest = next(folder for folder in (self.path, *self.path.parents) if folder.exists())
        free = shutil.disk_usage(nearest).free
        if free >= LEAST_FREE_BYTES:
            return None
        needed = f"{free / 1e6:.0f} MB free, {LEAST_FREE_BYTES / 1e6:.0f} needed"
        return f"the disk of {self.path} is full ({needed}): make room"

    def require_room(self) -> None:
        """Raises ServerError where the disk has too little room for a server to start."""
        shortage = self.shortage()
        if shortage is not None:
            raise ServerError(f"{shortage}, or set FORECASTLE_HOME to a folder on another disk")

    def log(self, name: str) -> Path:
        """Where the server called `name` writes its log."""
        return self.folder("logs") / f"{name}.log"

    @contextmanager
    def locked(self, on_wait: Callable[[], None]) -> Iterator[None]:
        """Only one process at a time starts or stops servers of this home; the lock dies with it."""
        with (self.folder("run") / "lock").open("ab") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                on_wait()
                fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def records(self) -> dict[str, Record]:
        """What was started last, by name; whether it still runs is the record's to say."""
        try:
            stored = json.loads(self._servers.read_text("utf-8"))
            return {name: Record(**values) for name, values in stored.items()}
        except (FileNotFoundError, NotADirectoryError):
            return {}
        except (OSError, ValueError, TypeError, AttributeError):
            raise ConfigurationError(
                f"{self._servers} cannot be read: stop Forecastle, remove the file and start again"
            ) from None

    def remember(self, name: str, record: Record) -> None:
        """Tell other processes of this home about a server; call it under the lock."""
        self._write({**self.records(), name: record})

    def forget(self, name: str, pid: int) -> None:
        """Take the server back, unless another one has taken its place; call it under the lock."""
        records = self.records()
        if name in records and records[name].pid == pid:
            del records[name]
            self._write(records)

    def end_orphan(self, name: str) -> None:
        """Await the end of a server whose starter has died, or bring it about; call it under the lock."""
        record = self.records().get(name)
        if record is None:
            return
        if record.is_running:
            signal_group(record.pid, signal.SIGINT)
            deadline = time.monotonic() + _ORPHAN_SECONDS
            while record.is_running and time.monotonic() < deadline:
                time.sleep(0.05)
        if record.is_running:
            signal_group(record.pid, signal.SIGKILL)
        self.forget(name, record.pid)

    def choose_port(self, name: str, preferred: int = 0) -> int:
        """The preferred port or that of the last time, where it is free, so that addresses stay; else any free one."""
        last = preferred or self._last_port(name)
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((_LOOPBACK, last))
            except OSError:
                probe.bind((_LOOPBACK, 0))
            port: int = probe.getsockname()[1]
            return port

    def remember_port(self, name: str, port: int) -> None:
        """Take this port again at the next start."""
        write_private(self._port(name), str(port))

    @property
    def _servers(self) -> Path:
        return self.path / "run" / "servers.json"

    def _port(self, name: str) -> Path:
        return self.folder("run") / f"{name}.port"

    def _last_port(self, name: str) -> int:
        """0, which is any, where there was none or its file is damaged."""
        try:
            port = int(self._port(name).read_bytes())
        except (FileNotFoundError, ValueError):
            return 0
        return port if 0 < port < 65_536 else 0

    def _write(self, records: dict[str, Record]) -> None:
        if records:
            plain = {name: asdict(record) for name, record in records.items()}
            write_private(self._servers, json.dumps(plain))
        else:
            self._servers.unlink(missing_ok=True)


def write_private(path: Path, text: str) -> None:
    """Write a file whole or not at all, readable by its owner alone."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    with suppress(FileNotFoundError):
        draft.unlink()
    try:
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    except OSError:  # of a full disk, say
        draft.unlink(missing_ok=True)
        raise
