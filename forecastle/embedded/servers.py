"""Start what no URL was given for, hand out the addresses, stop what was started.

Processes that share a home share its servers: who comes second uses what runs already, and loses it
when the first one stops.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from subprocess import Popen
from types import FrameType

from forecastle.embedded import (
    beat_server,
    facade_server,
    mlflow_server,
    postgresql,
    s3_server,
    valkey_server,
    worker_server,
)
from forecastle.embedded.home import Home, Record
from forecastle.embedded.process import (
    EarlyExitError,
    Server,
    await_ready,
    keep_log_small,
    log_size,
    start,
    stop,
)
from forecastle.settings import Settings

NEEDS = (postgresql.NAME, s3_server.NAME, mlflow_server.NAME)
EVERYTHING = (
    *(postgresql.NAME, valkey_server.NAME, s3_server.NAME, mlflow_server.NAME),
    *(facade_server.NAME, worker_server.NAME, beat_server.NAME),
)
_ATTEMPTS = 10
_PAUSE_SECONDS = 0.5
# What a start says that may go well the next moment: somebody took the port, or processes of a
# database server that was killed have not all gone yet.
_PASSING = ("address already in use", "pre-existing shared memory block", "postmaster.pid")


def _say_nothing(message: str) -> None:
    """Progress that nobody asked for."""


@dataclass(frozen=True)
class _Session:
    """One use of `running`: the home, where to report, and what is to be undone at the end."""

    home: Home
    report: Callable[[str], None]
    undo: ExitStack

    def say(self, message: str) -> None:
        """Report, if there is still anybody to hear it: a closed terminal must not hinder a stop."""
        with suppress(OSError):
            self.report(message)

    def locked(self) -> AbstractContextManager[None]:
        """Nobody else starts or stops servers of this home meanwhile."""
        return self.home.locked(partial(self.say, "waiting for another process that starts or stops servers here"))

    def start(self, name: str, recipe: Callable[[int], Server], preferred_port: int) -> str:
        """Start a server on a free port, have it stopped at the end, and return its address."""
        self.say(f"starting {name}")
        attempt = 1
        while True:
            port = self.home.choose_port(name, preferred_port if attempt == 1 else 0)
            try:
                address = self._attempt(recipe(port))
                break
            except EarlyExitError as error:
                if attempt == _ATTEMPTS or not any(sign in error.lines.lower() for sign in _PASSING):
                    raise
            attempt += 1
            time.sleep(_PAUSE_SECONDS)
        self.home.remember_port(name, port)
        return address

    def _attempt(self, server: Server) -> str:
        log = self.home.log(server.name)
        keep_log_small(log)
        begin = log_size(log)
        with ExitStack() as on_failure:
            process = start(server, log)
            on_failure.callback(stop, server, process)
            await_ready(server, process, log, begin)
            server.on_ready()
            self.home.remember(server.name, Record.of(server.address, process.pid))
            self.undo.callback(self._stop, server, process)
            on_failure.pop_all()
        return server.address

    def _stop(self, server: Server, process: Popen[bytes]) -> None:
        self.say(f"stopping {server.name}")
        with self.locked():
            try:
                stop(server, process)
            finally:
                self.home.forget(server.name, process.pid)


@contextmanager
def running(
    settings: Settings,
    needs: Collection[str] = NEEDS,
    on_progress: Callable[[str], None] = _say_nothing,
) -> Iterator[Settings]:
    """Yield the settings with the addresses of the servers that are needed.

    Starts those that have no URL and do not run in this home yet, and stops what it started however
    the block ends. Must be entered from a thread that lives as long as the block, as on Linux the
    servers end with the thread that started them. Raises ServerError when one does not start.
    """
    with ExitStack() as undo:
        session = _Session(Home(settings.home.expanduser().resolve()), on_progress, undo)
        wanted = _missing(settings, needs)
        if wanted:
            with session.locked():
                for name in wanted:
                    settings = _provide(session, name, settings)
        yield settings


def addresses(settings: Settings, needs: Collection[str] = NEEDS) -> Settings | None:
    """The settings with the addresses of servers that run in this home now, started by another process.

    None where one that is needed and has no URL does not run or does not answer. Starts nothing.
    """
    records = Home(settings.home.expanduser().resolve()).records()
    for name in _missing(settings, needs):
        record = records.get(name)
        if record is None or not record.is_live or not _KINDS[name].answers(record.address):
            return None
        settings = _KINDS[name].fill(settings, record.address)
    return settings


@contextmanager
def terminating_raises() -> Iterator[None]:
    """Within the block SIGTERM raises SystemExit in the main thread, so that `running` stops in order.

    A second SIGTERM is ignored. Enter it from the main thread.
    """

    def leave(number: int, frame: FrameType | None) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        raise SystemExit(128 + number)

    previous = signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)


@dataclass(frozen=True)
class _Kind:
    """One kind of server: what tells that one is given, what its address fills in, and what starts it on a port.

    `needs` are servers that have to be there before it.
    """

    given: Callable[[Settings], str | None]
    fill: Callable[[Settings, str], Settings]
    answers: Callable[[str], bool]
    recipe: Callable[[_Session, Settings], Callable[[int], Server]]
    needs: Collection[str] = ()
    preferred_port: Callable[[Settings], int] = lambda settings: 0


def _missing(settings: Settings, needs: Collection[str]) -> list[str]:
    """What has to run here, with what that needs, in the order in which it starts."""
    wanted: set[str] = set()
    for name in reversed(EVERYTHING):
        if (name in needs or name in wanted) and _KINDS[name].given(settings) is None:
            wanted.update((name, *_KINDS[name].needs))
    return [name for name in EVERYTHING if name in wanted and _KINDS[name].given(settings) is None]


def _provide(session: _Session, name: str, settings: Settings) -> Settings:
    kind, record = _KINDS[name], session.home.records().get(name)
    if record is not None and record.is_live:
        return kind.fill(settings, record.address)
    session.home.end_orphan(name)
    return kind.fill(settings, session.start(name, kind.recipe(session, settings), kind.preferred_port(settings)))


def _postgresql(session: _Session, settings: Settings) -> Callable[[int], Server]:
    return session.undo.enter_context(postgresql.cluster(session.home)).server


def _mlflow(session: _Session, settings: Settings) -> Callable[[int], Server]:
    assert settings.database_url is not None  # it starts after PostgreSQL
    store = postgresql.ensure_database(settings.database_url, mlflow_server.NAME)
    return partial(mlflow_server.server, session.home.folder(mlflow_server.NAME), store, settings)


def _facade(session: _Session, settings: Settings) -> Callable[[int], Server]:
    return partial(facade_server.server, session.home.path, settings)


def _job_process(name: str, recipe: Callable[[Path, Settings], Server]) -> _Kind:
    """A process that nothing asks: no setting names one, and no address of it is needed."""
    return _Kind(
        given=lambda settings: None,
        fill=lambda settings, address: settings,
        answers=worker_server.answers,
        recipe=lambda session, settings: lambda port: recipe(session.home.folder(name), settings),
        needs=(postgresql.NAME, valkey_server.NAME),
    )


_KINDS = {
    postgresql.NAME: _Kind(
        given=lambda settings: settings.database_url,
        fill=lambda settings, address: replace(settings, database_url=address),
        answers=postgresql.answers,
        recipe=_postgresql,
    ),
    valkey_server.NAME: _Kind(
        given=lambda settings: settings.redis_url,
        fill=lambda settings, address: replace(settings, redis_url=address),
        answers=valkey_server.answers,
        recipe=lambda session, settings: partial(valkey_server.server, session.home),
    ),
    s3_server.NAME: _Kind(
        given=lambda settings: settings.artifacts,
        fill=s3_server.fill,
        answers=s3_server.answers,
        recipe=lambda session, settings: partial(s3_server.server, session.home),
    ),
    mlflow_server.NAME: _Kind(
        given=lambda settings: settings.mlflow_tracking_uri,
        fill=lambda settings, address: replace(settings, mlflow_tracking_uri=address),
        answers=mlflow_server.answers,
        recipe=_mlflow,
        needs=(postgresql.NAME, s3_server.NAME),
    ),
    facade_server.NAME: _Kind(
        given=lambda settings: settings.facade_url,
        fill=lambda settings, address: replace(settings, facade_url=address),
        answers=facade_server.answers,
        recipe=_facade,
        needs=(postgresql.NAME, s3_server.NAME),
        preferred_port=lambda settings: settings.http_port,
    ),
    worker_server.NAME: _job_process(worker_server.NAME, worker_server.server),
    beat_server.NAME: _job_process(beat_server.NAME, beat_server.server),
}
