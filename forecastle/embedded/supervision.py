"""Who supervises a home: at most one process, and what it last said of its servers."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO

from forecastle.embedded.home import Home, write_private
from forecastle.embedded.process import started_at
from forecastle.errors import ConflictError, ServerError

NAME = "supervisor"
RUNNING, STARTING, RESTARTING, STOPPED = "running", "starting", "restarting", "stopped"
_PATIENCE_SECONDS = 0.5
_MENDED_SECONDS = 15
_POLL_SECONDS = 0.05


@dataclass(frozen=True)
class Condition:
    """How one server is doing; `since` is a time of the clock."""

    state: str
    since: float
    restarts: int


@dataclass(frozen=True)
class Supervision:
    """A supervisor, named by number and start of its process, and its servers in the order in which they start."""

    pid: int
    started: str | None
    is_ready: bool
    servers: Mapping[str, Condition]

    @classmethod
    def of_this_process(cls, is_ready: bool, servers: Mapping[str, Condition]) -> Supervision:
        return cls(os.getpid(), started_at(os.getpid()), is_ready, servers)

    @property
    def is_live(self) -> bool:
        return started_at(self.pid) == self.started is not None


@contextmanager
def only_supervisor(home: Home) -> Iterator[None]:
    """Raises ConflictError where another process supervises this home; the lock dies with its holder."""
    with _lock_file(home).open("ab") as file:
        deadline = time.monotonic() + _PATIENCE_SECONDS  # somebody may be looking who holds it
        while not _take(file):
            if time.monotonic() > deadline:
                raise ConflictError(_taken(home))
            time.sleep(_POLL_SECONDS)
        try:
            yield
        finally:
            _state_file(home).unlink(missing_ok=True)


def write(home: Home, supervision: Supervision) -> None:
    """Tell others how the servers are doing, where it is not what stands there."""
    file, text = _state_file(home), json.dumps(asdict(supervision))
    with suppress(OSError, ValueError):
        if file.read_text("utf-8") == text:
            return
    write_private(file, text)


def read(home: Home) -> Supervision | None:
    """The supervisor that runs now; None where there is none, or where its file cannot be read."""
    try:
        values = json.loads(_state_file(home).read_text("utf-8"))
        servers = {name: Condition(**condition) for name, condition in values.pop("servers").items()}
        found = Supervision(**values, servers=servers)
        return found if found.is_live else None
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return None


def end(home: Home, seconds: float = 120) -> Supervision | None:
    """Ask the supervisor to stop everything and wait until it has; None where there is none.

    Raises ServerError where it does not stop.
    """
    found = _find(home)
    if found is None:
        return None
    with suppress(ProcessLookupError):
        os.kill(found.pid, signal.SIGTERM)
    deadline = time.monotonic() + seconds
    while found.is_live:
        if time.monotonic() > deadline:
            raise ServerError(f"process {found.pid} has not stopped after {seconds:.0f} s; see {home.log(NAME)}")
        time.sleep(_POLL_SECONDS)
    return found


def _find(home: Home) -> Supervision | None:
    """The supervisor; one whose file was damaged writes it again soon."""
    deadline = time.monotonic() + _MENDED_SECONDS
    while (found := read(home)) is None and _is_held(home):
        if time.monotonic() > deadline:
            raise ServerError(
                f"a supervisor runs here but {_state_file(home)} does not say which process it is: "
                f"`fuser {_lock_file(home)}` names it, and `kill` stops it"
            )
        time.sleep(_POLL_SECONDS)
    return found


def _is_held(home: Home) -> bool:
    if not home.path.is_dir():
        return False
    with _lock_file(home).open("ab") as file:
        return not _take(file)


def _take(file: IO[bytes]) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _taken(home: Home) -> str:
    found = read(home)
    who = f" (process {found.pid})" if found else ""
    return (
        f"`forecastle up` runs already in {home.path}{who}; `forecastle status` shows its servers, "
        "`forecastle down` stops them"
    )


def _lock_file(home: Home) -> Path:
    return home.folder("run") / f"{NAME}.lock"


def _state_file(home: Home) -> Path:
    return home.path / "run" / f"{NAME}.json"
