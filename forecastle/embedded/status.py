"""How the servers of a home are doing, as anybody can see who looks from outside."""

from __future__ import annotations

import time
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from forecastle.embedded.home import Home
from forecastle.embedded.process import LIBC
from forecastle.embedded.servers import EVERYTHING, answers, given
from forecastle.embedded.supervision import RUNNING, STOPPED, Condition, read
from forecastle.settings import Settings

GIVEN = "given by URL"
SILENT = "not answering"


@dataclass(frozen=True)
class Status:
    """One server; `address` is without user and password, `seconds` how long it has been so."""

    name: str
    state: str
    is_wanted: bool
    pid: int | None = None
    address: str | None = None
    seconds: float | None = None
    restarts: int = 0
    memory_bytes: int | None = None

    @property
    def is_well(self) -> bool:
        """Whether it does what is wanted of it."""
        return not self.is_wanted or self.state in (RUNNING, GIVEN)


def status(settings: Settings) -> list[Status]:
    """Every server, in the order in which they start; where nobody supervises, all are wanted.

    Raises ConfigurationError where the list of servers cannot be read.
    """
    home = Home(settings.home.expanduser().resolve())
    supervision = read(home)
    conditions = supervision.servers if supervision else {}
    found = []
    for name in EVERYTHING:
        address = given(name, settings)
        if address is not None:
            found.append(Status(name, GIVEN, True, address=without_password(address)))
        else:
            found.append(_embedded(home, name, supervision is None or name in conditions, conditions.get(name)))
    return found


def _embedded(home: Home, name: str, is_wanted: bool, condition: Condition | None) -> Status:
    state = condition.state if condition else STOPPED
    seconds = max(0.0, time.time() - condition.since) if condition else None
    restarts = condition.restarts if condition else 0
    record = home.records().get(name)
    if record is None or not record.is_live:
        state = STOPPED if state == RUNNING else state
        return Status(name, state, is_wanted, seconds=seconds, restarts=restarts)
    if state in (RUNNING, STOPPED):
        state = RUNNING if answers(name, record.address) else SILENT
    address = without_password(record.address)
    return Status(name, state, is_wanted, record.pid, address, seconds, restarts, memory_of(record.pid))


def without_password(address: str) -> str:
    """The address as one may show it: neither user nor password nor what stands behind a question mark."""
    parts = urlsplit(address)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment="").geturl()


def memory_of(pid: int) -> int | None:
    """What a process and its descendants hold in memory, shared parts divided; None where the system does not say."""
    if LIBC is None:
        return None
    children = defaultdict(list)
    for file in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(file.read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue
        children[parent].append(int(file.parent.name))
    family, total = [pid], 0
    while family:
        one = family.pop()
        family += children[one]
        total += _proportional(one)
    return total or None


def _proportional(pid: int) -> int:
    try:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    except OSError:  # gone, or another user's
        pass
    return 0
