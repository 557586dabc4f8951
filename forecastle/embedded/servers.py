"""Start what no URL was given for, hand out the addresses, stop what was started.

Processes that share a home share its servers: who comes second uses what runs already, and loses it
when the first one stops.
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Collection, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
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
from forecastle.embedded.home import Home
from forecastle.embedded.process import Launch, Server, uninterrupted
from forecastle.embedded.session import Session
from forecastle.settings import Settings

NEEDS = (postgresql.NAME, s3_server.NAME, mlflow_server.NAME)
EVERYTHING = (
    *(postgresql.NAME, valkey_server.NAME, s3_server.NAME, mlflow_server.NAME),
    *(facade_server.NAME, worker_server.NAME, beat_server.NAME),
)


def _say_nothing(message: str) -> None:
    """Progress that nobody asked for."""


@contextmanager
def session(settings: Settings, on_progress: Callable[[str], None] = _say_nothing) -> Iterator[Session]:
    """What `provide` starts within the block is stopped in reverse order however the block ends."""
    with ExitStack() as resources:
        opened = Session(Home(settings.home.expanduser().resolve()), on_progress, resources)
        try:
            yield opened
        finally:
            opened.stop_all(EVERYTHING)


def provide(session: Session, settings: Settings, needs: Collection[str]) -> Settings:
    """The settings with the addresses of these servers; those without a URL that do not run here are started."""
    wanted = missing(settings, needs)
    if wanted:
        with session.locked():
            for name in wanted:
                settings = _provide(session, name, settings)
    return settings


def start_again(session: Session, name: str, settings: Settings) -> Launch | None:
    """Start a server that ended, as `Session.start_again` does; `settings` hold the addresses of the others."""
    kind = _KINDS[name]
    return session.start_again(name, lambda: kind.recipe(session, settings), kind.preferred_port(settings))


def is_responsive(name: str, address: str) -> bool:
    """Whether a server that runs does anything at all, so that ending it would not cut off work."""
    return (_KINDS[name].is_responsive or _KINDS[name].answers)(address)


def answers(name: str, address: str) -> bool:
    """Whether the server of this name lets us in and answers at its address."""
    return _KINDS[name].answers(address)


def given(name: str, settings: Settings) -> str | None:
    """The address by which the settings give this server."""
    return _KINDS[name].given(settings)


def needs_of(name: str) -> Collection[str]:
    """The servers that have to be there before this one."""
    return _KINDS[name].needs


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
    with session(settings, on_progress) as opened:
        yield provide(opened, settings, needs)


def addresses(settings: Settings, needs: Collection[str] = NEEDS) -> Settings | None:
    """The settings with the addresses of servers that run in this home now, started by another process.

    None where one that is needed and has no URL does not run or does not answer. Starts nothing.
    """
    records = Home(settings.home.expanduser().resolve()).records()
    for name in missing(settings, needs):
        record = records.get(name)
        if record is None or not record.is_live or not _KINDS[name].answers(record.address):
            return None
        settings = _KINDS[name].fill(settings, record.address)
    return settings


@contextmanager
def terminating_raises(code: int = 128 + signal.SIGTERM) -> Iterator[None]:
    """Within the block SIGTERM raises SystemExit in the main thread, so that `running` stops in order.

    A second SIGTERM is ignored. Enter it from the main thread.
    """

    def leave(number: int, frame: FrameType | None) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        raise SystemExit(code)

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
    recipe: Callable[[Session, Settings], Callable[[int], Server]]
    needs: Collection[str] = ()
    preferred_port: Callable[[Settings], int] = lambda settings: 0
    is_responsive: Callable[[str], bool] | None = None


def missing(settings: Settings, needs: Collection[str]) -> list[str]:
    """What has to run here, with what that needs, in the order in which it starts."""
    wanted: set[str] = set()
    for name in reversed(EVERYTHING):
        if (name in needs or name in wanted) and _KINDS[name].given(settings) is None:
            wanted.update((name, *_KINDS[name].needs))
    return [name for name in EVERYTHING if name in wanted and _KINDS[name].given(settings) is None]


def _provide(session: Session, name: str, settings: Settings) -> Settings:
    kind, record = _KINDS[name], session.home.records().get(name)
    if record is not None and record.is_live:
        return kind.fill(settings, record.address)
    session.home.require_room()
    session.home.end_orphan(name)
    with uninterrupted():
        recipe = kind.recipe(session, settings)
    return kind.fill(settings, session.start(name, recipe, kind.preferred_port(settings)))


def _postgresql(session: Session, settings: Settings) -> Callable[[int], Server]:
    return session.resources.enter_context(postgresql.cluster(session.home)).server


def _mlflow(session: Session, settings: Settings) -> Callable[[int], Server]:
    assert settings.database_url is not None  # it starts after PostgreSQL
    store = postgresql.ensure_database(settings.database_url, mlflow_server.NAME)
    return partial(mlflow_server.server, session.home.folder(mlflow_server.NAME), store, settings)


def _facade(session: Session, settings: Settings) -> Callable[[int], Server]:
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
        is_responsive=postgresql.is_responsive,
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
