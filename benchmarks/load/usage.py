"""What a server costs: CPU seconds and memory of its process and of all below it (Linux)."""

from __future__ import annotations

import os
import re
from contextlib import suppress
from pathlib import Path

PROC = Path("/proc")
_TICKS = os.sysconf("SC_CLK_TCK")
_PSS = re.compile(r"^Pss:\s+(\d+) kB", re.MULTILINE)


def cpu_seconds(root: int) -> float:
    """What the processes of the tree have used so far, those that have ended and were waited for included."""
    return sum(sum(map(int, _status(pid)[11:15])) for pid in tree(root)) / _TICKS


def pss_mib(root: int) -> float:
    """The proportional set size of the tree: pages that processes share are divided among them."""
    kilobytes = 0
    for pid in tree(root):
        with suppress(OSError):  # it has ended meanwhile
            found = _PSS.search((PROC / str(pid) / "smaps_rollup").read_text())
            kilobytes += int(found[1]) if found else 0
    return kilobytes / 1024


def tree(root: int) -> list[int]:
    """The process and all that it, or one of those, started."""
    children: dict[int, list[int]] = {}
    for entry in PROC.iterdir():
        if entry.name.isdigit():
            status = _status(int(entry.name))
            if status:
                children.setdefault(int(status[1]), []).append(int(entry.name))
    found, waiting = [], [root]
    while waiting:
        found.append(waiting.pop())
        waiting += children.get(found[-1], [])
    return found


def _status(pid: int) -> list[str]:
    """The fields of /proc/PID/stat from the state on; none where the process has ended."""
    try:
        return (PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []
