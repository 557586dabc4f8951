"""One shape for every embedded server, and how its process is started, awaited and stopped."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from forecastle.errors import ServerError

LIBC = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None
_PR_SET_PDEATHSIG = 1
_POLL_SECONDS = 0.05
_KEPT_LOG_BYTES = 10_000_000
_SHOWN_LINES = 15


def stay() -> None:
    """Do nothing more, as most servers need."""


@dataclass(frozen=True)
class Server:
    """What it takes to run one server on one port.

    `stop_signals` are tried in turn, `stop_seconds` each; the first one also reaches the server when
    its starter is killed. `secrets` never appear in an error. `setting` is the variable that names a
    server to use instead. `enter` runs in the child between fork and exec, `on_ready` here at the first
    answer.
    """

    name: str
    command: Sequence[str]
    environment: Mapping[str, str]
    folder: Path
    address: str
    is_ready: Callable[[], bool]
    setting: str
    stop_signals: Sequence[signal.Signals]
    secrets: Sequence[str] = ()
    start_seconds: float = 120
    stop_seconds: float = 20
    enter: Callable[[], None] = stay
    on_ready: Callable[[], None] = stay
    pass_fds: Sequence[int] = ()


class EarlyExitError(ServerError):
    """The process ended before it was ready; `lines` is what it had to say."""

    def __init__(self, sentence: str, lines: str) -> None:
        super().__init__(sentence)
        self.lines = lines


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Within the block Ctrl-C and SIGTERM wait for its end: Python loses what a handler raises while it forks."""
    if threading.current_thread() is not threading.main_thread():  # handlers run in the main thread only
        yield
        return
    waiting: list[int] = []
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.signal(number, lambda came, frame: waiting.append(came)) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        for came in waiting:
            signal.raise_signal(came)


def die_with_parent(number: int, parent: int) -> None:
    """Between fork and exec: have Linux send `number` as soon as the starting thread is gone.

    Nothing survives a starter that was killed with SIGKILL. Other systems have no such call: there the
    next start ends what was left. Must come last, for a change of user forgets it.
    """
    if LIBC is None:
        return
    LIBC.prctl(_PR_SET_PDEATHSIG, int(number), 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)


def start(server: Server, log: Path) -> subprocess.Popen[bytes]:
    """Start the process in a session of its own, so that Ctrl-C reaches only the starter."""
    parent = os.getpid()

    def before_exec() -> None:
        server.enter()
        die_with_parent(server.stop_signals[0], parent)

    try:
        with _open_log(log) as output:
            return subprocess.Popen(
                server.command,
                cwd=server.folder,
                env=server.environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                umask=0o077,
                pass_fds=server.pass_fds,
                preexec_fn=before_exec,  # nothing in it takes a lock
            )
    except (OSError, subprocess.SubprocessError) as error:
        raise ServerError(f"{server.name} cannot be started ({error}); or set {server.setting}") from error


@dataclass(frozen=True)
class Launch:
    """One start of a server, from its process to its first answer; its part of the log begins at `log_from`."""

    server: Server
    process: subprocess.Popen[bytes]
    log: Path
    log_from: int
    deadline: float

    def is_ready(self) -> bool:
        """Whether it answers; raises ServerError with the end of its log when it never will."""
        if self.server.is_ready():
            return True
        code = self.process.poll()
        if code is not None:
            raise EarlyExitError(*_failure(self.server, f"ended with code {code}", self.log, self.log_from))
        if time.monotonic() > self.deadline:
            late = f"did not answer in {self.server.start_seconds:.0f} s"
            raise ServerError(_failure(self.server, late, self.log, self.log_from)[0])
        return False


def launch(server: Server, log: Path) -> Launch:
    """Start the process and return at once; its log goes on in a new file where it has grown large."""
    keep_log_small(log)
    log_from = log_size(log)
    return Launch(server, start(server, log), log, log_from, time.monotonic() + server.start_seconds)


def await_ready(launched: Launch) -> None:
    """Return when the server answers; raise ServerError with the end of its log when it does not."""
    while not launched.is_ready():
        with suppress(subprocess.TimeoutExpired):
            launched.process.wait(_POLL_SECONDS)


def stop(server: Server, process: subprocess.Popen[bytes]) -> None:
    """Ask with each signal in turn, then kill what is left of the group."""
    try:
        for number in server.stop_signals:
            signal_group(process.pid, number)
            with suppress(subprocess.TimeoutExpired):
                process.wait(server.stop_seconds)
                break
    finally:
        kill(process)


def kill(process: subprocess.Popen[bytes]) -> None:
    """End what is left of the group that this process leads."""
    signal_group(process.pid, signal.SIGKILL)
    process.wait()


def signal_group(leader: int, number: signal.Signals) -> None:
    """Signal every process of the group that `leader` leads, if any is left."""
    with suppress(ProcessLookupError):
        os.killpg(leader, number)


def started_at(pid: int) -> str | None:
    """When the process started, in the system's own words; None when it is not running.

    Together with the number this names one process: numbers are used again.
    """
    if LIBC is None:
        asked = subprocess.run(["ps", "-o", "lstart=", "-p", str(pid)], capture_output=True, text=True, check=False)
        return asked.stdout.strip() or None
    try:
        # The name in parentheses may hold anything, so fields are counted behind the last one.
        status = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if status[0] in "ZX" else status[19]


def log_size(log: Path) -> int:
    """Where the next start's part of the log begins."""
    return log.stat().st_size if log.exists() else 0


def keep_log_small(log: Path) -> None:
    """Put a log that has grown large aside, in place of the one before."""
    if log_size(log) > _KEPT_LOG_BYTES:
        log.replace(log.with_suffix(".log.1"))


def _open_log(log: Path) -> IO[bytes]:
    return os.fdopen(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "ab")


def _failure(server: Server, what: str, log: Path, log_from: int) -> tuple[str, str]:
    with log.open("rb") as file:
        file.seek(log_from)
        text = file.read().decode("utf-8", "replace")
    for secret in server.secrets:
        text = text.replace(secret, "***")
    lines = "\n".join(text.splitlines()[-_SHOWN_LINES:])
    sentence = (
        f"{server.name} {what}. The end of {log}:\n{lines}\n"
        f"Mend what it names and start again, or set {server.setting} to a server of your own."
    )
    return sentence, lines
