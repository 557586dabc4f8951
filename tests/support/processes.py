"""Processes of embedded servers, as the tests of several rooms look at them."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import fields
from pathlib import Path

import forecastle
from forecastle.settings import Settings

ROOT = Path(forecastle.__file__).parents[1]

# A starter in a process of its own: says the setting that it is asked for, then waits to be told to stop or killed.
STARTER = """
import sys
from pathlib import Path
from forecastle.embedded.servers import running, terminating_raises
from forecastle.settings import Settings
with terminating_raises(), running(Settings(home=Path(sys.argv[1])), sys.argv[2].split(",")) as given:
    print(getattr(given, sys.argv[3]), flush=True)
    sys.stdin.read()
"""


def environment_of(home: Path) -> dict[str, str]:
    """What the command is run with: this home, any free port, and no setting of whoever runs the tests."""
    known = {item.metadata["variable"] for item in fields(Settings)}
    kept = {name: value for name, value in os.environ.items() if name not in known}
    return {**kept, "FORECASTLE_HOME": str(home), "FORECASTLE_HTTP_PORT": "0", "PYTHONPATH": str(ROOT)}


def processes_of(home: Path) -> list[str]:
    """Command lines of all other processes that name the home, work in it or were told of it; zombies have none."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            command = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            if command and (str(home) in command or _knows(process, str(home))):
                found.append(f"{process.name} {command}")
    return [line for line in found if int(line.split()[0]) != os.getpid()]


def _knows(process: Path, home: str) -> bool:
    """Whether the process works in the home or has it in its environment; not those whom one may not look at."""
    with suppress(PermissionError):
        return home in os.readlink(process / "cwd") or home.encode() in (process / "environ").read_bytes()
    return False


def await_that(holds: Callable[[], bool], seconds: float = 15, pause_seconds: float = 0.02) -> None:
    """Wait until something holds that nobody announces; fail after some seconds."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "did not happen in time"
        threading.Event().wait(pause_seconds)
