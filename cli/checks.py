"""What `forecastle doctor` makes of what it finds: pure functions, one a subject."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from forecastle.embedded.status import GIVEN, Status
from forecastle.embedded.supervision import STOPPED

PYTHONS = ((3, 11), (3, 13))
LEAST_BYTES, FEW_BYTES = 500_000_000, 5_000_000_000
LEAST_POSTGRESQL = 140_000
CLOCK_SECONDS = 2.0


class Verdict(StrEnum):
    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True)
class Finding:
    """One line: what was looked at, how it is, what was found, and what to type next."""

    name: str
    verdict: Verdict
    found: str
    advice: str = ""


def python(version: tuple[int, int]) -> Finding:
    found = ".".join(map(str, version))
    if PYTHONS[0] <= version <= PYTHONS[1]:
        return Finding("python", Verdict.OK, found)
    return Finding("python", Verdict.FAIL, found, "make it with another one: make clean; make PYTHON=python3.11 up")


def disk(folder: str, free_bytes: int) -> Finding:
    found = f"{free_bytes / 1e9:.1f} GB free at {folder}"
    advice = "make room, or set FORECASTLE_HOME to a folder on another disk"
    if free_bytes < LEAST_BYTES:
        return Finding("disk", Verdict.FAIL, found, advice)
    return (
        Finding("disk", Verdict.WARN, found, advice) if free_bytes < FEW_BYTES else Finding("disk", Verdict.OK, found)
    )


def home(folder: str, mode: int | None, is_writable: bool) -> Finding:
    """`mode` is None where the folder does not exist yet; then the nearest folder above was tried."""
    if not is_writable:
        return Finding("home", Verdict.FAIL, f"{folder} cannot be written to", "set FORECASTLE_HOME to one of your own")
    if mode is None:
        return Finding("home", Verdict.OK, f"{folder} will be made")
    if mode & 0o022:
        return Finding("home", Verdict.WARN, f"others may write to {folder}", f"chmod go-w '{folder}'")
    return Finding("home", Verdict.OK, folder)


def port(number: int, is_free: bool, is_ours: bool) -> Finding:
    """Of the façade, whose port people know; the others take any."""
    if number == 0:
        return Finding("port", Verdict.OK, "any free one")
    if is_ours:
        return Finding("port", Verdict.OK, f"{number} is the façade's")
    if is_free:
        return Finding("port", Verdict.OK, f"{number} is free")
    return Finding(
        "port",
        Verdict.WARN,
        f"{number} is taken, so the façade takes another one",
        "set FORECASTLE_HTTP_PORT, or end what `ss -ltnp` shows there",
    )


def server(status: Status, is_reachable: bool, setting: str) -> Finding:
    """Whether a server is there; `setting` names the variable that gives one by URL."""
    found = f"{status.state} at {status.address}" if status.address else status.state
    if is_reachable:
        return Finding(status.name, Verdict.OK, found)
    if status.state == GIVEN:
        return Finding(status.name, Verdict.FAIL, f"{found} does not answer", f"start it, or mend or unset {setting}")
    if status.state == STOPPED and not status.is_wanted:
        return Finding(status.name, Verdict.OK, "does not run, and `forecastle up` was told not to start it")
    if status.state == STOPPED:
        return Finding(status.name, Verdict.WARN, "does not run", "forecastle up --detach")
    return Finding(status.name, Verdict.FAIL, found, f"forecastle logs {status.name}")


def postgresql_version(number: int) -> Finding:
    found = f"{number // 10_000}.{number % 10_000}"
    if number >= LEAST_POSTGRESQL:
        return Finding("postgresql version", Verdict.OK, found)
    return Finding("postgresql version", Verdict.FAIL, found, "give DATABASE_URL of a PostgreSQL 14 or newer")


def mlflow_version(of_server: str | None, of_client: str) -> Finding:
    if of_server is None:
        return Finding("mlflow version", Verdict.WARN, "the server does not tell", "look at its /version as its user")
    if of_server == of_client:
        return Finding("mlflow version", Verdict.OK, of_client)
    return Finding(
        "mlflow version",
        Verdict.FAIL,
        f"{of_server} at the server, {of_client} here",
        f"install mlflow=={of_client} at the server, after a backup of its database",
    )


def clock(seconds: float) -> Finding:
    """`seconds` is how far the database's clock is ahead of ours."""
    found = f"the database's is {abs(seconds):.1f} s {'ahead' if seconds > 0 else 'behind'}"
    if abs(seconds) <= CLOCK_SECONDS:
        return Finding("clock", Verdict.OK, found)
    return Finding("clock", Verdict.FAIL, found, "set both clocks by NTP: timedatectl set-ntp true")


def users(count: int) -> Finding:
    if count:
        return Finding("users", Verdict.OK, f"{count} known")
    return Finding("users", Verdict.WARN, "nobody is known", "forecastle users add NAME --role admin")


def migrations(problem: str | None) -> Finding:
    if problem is None:
        return Finding("migrations", Verdict.OK, "the database is up to date")
    found, _, advice = problem.partition("; ")  # a database of a newer version takes another advice than an older one
    return Finding("migrations", Verdict.FAIL, found, advice or "forecastle logs postgresql")


def storage(problem: str | None) -> Finding:
    if problem is None:
        return Finding("storage", Verdict.OK, "an object was put, read, listed and deleted")
    return Finding("storage", Verdict.FAIL, problem, "forecastle storage test")


def broker(problem: str | None) -> Finding:
    if problem is None:
        return Finding("broker", Verdict.OK, "answers PING")
    return Finding("broker", Verdict.FAIL, problem, "forecastle logs valkey, or mend REDIS_URL")


def leftovers(files: Sequence[str]) -> Finding:
    """Files that name processes which do not run any more."""
    if not files:
        return Finding("pid files", Verdict.OK, "none is stale")
    return Finding("pid files", Verdict.WARN, f"stale: {', '.join(files)}", "forecastle up --detach")
