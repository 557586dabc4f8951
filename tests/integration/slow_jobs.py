"""Jobs of the tests, run by real workers: each says in a file when it begins and when it is done."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path

from forecastle.errors import InputError
from jobs.registry import Done, Work


def note(work: Work) -> Done:
    """Write a line, take `seconds`, write another; beside it a process that would go on."""
    file = Path(work.run.arguments["file"])
    with file.open("a") as lines:
        lines.write(f"begin {os.getpid()} {time.time()}\n")
    beside = subprocess.Popen(["sleep", "300"])
    deadline = time.monotonic() + float(work.run.arguments.get("seconds", "0"))
    while time.monotonic() < deadline:
        with file.open("a") as lines:
            lines.write(f"alive {os.getpid()} {time.time()}\n")
        time.sleep(0.1)
    with file.open("a") as lines:
        lines.write(f"end {os.getpid()} {time.time()} {beside.pid}\n")
    return Done(1, "noted")


def hold(work: Work) -> Done:
    """Run until somebody opens the named pipe of the argument `gate` to write into it."""
    Path(work.run.arguments["gate"]).read_bytes()
    return Done(1, "let go")


def fail(work: Work) -> Done:
    raise InputError("what was handed in is wrong")


def break_down(work: Work) -> Done:
    raise ValueError("a customer's text")


def eat(work: Work) -> Done:
    return Done(len(bytearray(1 << 30)), "eaten")


def tick(work: Work) -> Done:
    return Done(0, "ticked")
