"""Keeps servers running: one that ends or falls silent is started again on its port, a few times.

All happens in the thread that calls `watch`, as on Linux servers end with the thread that started them.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import NoReturn

from forecastle.embedded.home import Home
from forecastle.embedded.process import Launch, kill
from forecastle.embedded.servers import is_responsive, missing, needs_of, provide, session, start_again
from forecastle.embedded.session import ATTEMPTS, PAUSE_SECONDS, Session, is_passing
from forecastle.embedded.supervision import (
    RESTARTING,
    RUNNING,
    STARTING,
    STOPPED,
    Condition,
    Supervision,
    only_supervisor,
    write,
)
from forecastle.errors import ForecastleError, ServerError
from forecastle.settings import Settings

_TICK_SECONDS = 0.1


@dataclass(frozen=True)
class Patience:
    """How often and how fast a server is started again, and when one that runs counts as silent.

    Pauses double. A server that ran for `settled_seconds` has its restarts counted from zero.
    """

    restarts: int = 5
    first_pause_seconds: float = 0.2
    settled_seconds: float = 120
    probe_seconds: float = 5
    silent_seconds: float = 30


@dataclass
class _Watched:
    """One server: what state it is in since when, and what is to happen next (times of the monotonic clock)."""

    name: str
    state: str = STOPPED
    since: float = field(default_factory=time.time)
    restarts: int = 0
    in_a_row: int = 0
    passing: int = 0
    lost_at: float = 0
    due: float = 0
    asked: float = 0
    answered: float = 0
    ready: float = 0
    launched: Launch | None = None


class Supervisor:
    """The servers of one home; `settings` get their addresses as they start."""

    def __init__(self, session: Session, settings: Settings, needs: Collection[str], patience: Patience) -> None:
        self.settings = settings
        self._session, self._patience = session, patience
        self._watched = {name: _Watched(name) for name in missing(settings, needs)}
        self._is_ready = False
        self._waiting: set[str] = set()
        self._tell()

    def start(self, needs: Collection[str]) -> Settings:
        """Start those of these servers that are wanted, each when the one before answers. Raises ServerError."""
        for name, watched in self._watched.items():
            if name in missing(self.settings, needs):
                begin = time.monotonic()
                self._enter(watched, STARTING)
                self.settings = provide(self._session, self.settings, (name,))
                self._is_up(watched, f"answers after {time.monotonic() - begin:.1f} s")
        return self.settings

    def watch(self) -> NoReturn:
        """Keep them running until an exception ends it. Raises ServerError when one cannot be kept running."""
        self._is_ready = True
        told = time.monotonic()
        self._tell()
        while True:
            for watched in self._watched.values():
                self._look_after(watched)
            if time.monotonic() - told > self._patience.probe_seconds:
                told = time.monotonic()
                self._tell()  # the file may have been damaged
            time.sleep(_TICK_SECONDS)

    def _look_after(self, watched: _Watched) -> None:
        now = time.monotonic()
        if watched.state == RESTARTING:
            if now >= watched.due and self._has_what_it_needs(watched) and self._has_room(watched):
                self._start_again(watched)
        elif watched.state == STARTING:
            self._await(watched)
        elif watched.state == RUNNING and not self._session.is_alive(watched.name):
            self._lost(watched, self._end_of(watched.name))
        elif watched.state == RUNNING and now - watched.asked >= self._patience.probe_seconds:
            self._ask(watched)

    def _has_what_it_needs(self, watched: _Watched) -> bool:
        """A database may take its time after a crash; who cannot start without it would fail in vain."""
        return all(self._watched[name].state == RUNNING for name in needs_of(watched.name) if name in self._watched)

    def _has_room(self, watched: _Watched) -> bool:
        """Whether the disk has room for it. That there is none is said once, and counts as no failure of the server."""
        shortage = self._session.home.shortage()
        if shortage is None:
            self._waiting.discard(watched.name)
        elif watched.name not in self._waiting:
            self._waiting.add(watched.name)
            self._session.say(f"{watched.name} waits: {shortage}, and it starts again by itself")
        return shortage is None

    def _start_again(self, watched: _Watched) -> None:
        watched.restarts += 1
        try:
            watched.launched = start_again(self._session, watched.name, self.settings)
        except (ForecastleError, OSError) as error:
            self._lost(watched, "cannot be started again", error)
            return
        if watched.launched is None:
            self._is_up(watched, "was started by another process of this home, and is used")
        else:
            self._enter(watched, STARTING)

    def _await(self, watched: _Watched) -> None:
        assert watched.launched is not None  # only _start_again leaves one in this state
        try:
            if not watched.launched.is_ready():
                return
            watched.launched.server.on_ready()
        except (ForecastleError, OSError) as error:
            self._lost(watched, "did not start", error)
            return
        self._is_up(watched, f"answers again after {time.monotonic() - watched.lost_at:.1f} s")

    def _ask(self, watched: _Watched) -> None:
        watched.asked = time.monotonic()
        started = self._session.started.get(watched.name)
        if started is None:  # another command's, who sees for itself whether it answers
            return
        if is_responsive(watched.name, started.server.address):
            watched.answered = watched.asked
        elif watched.asked - watched.answered >= self._patience.silent_seconds:
            kill(started.process)
            self._lost(watched, f"did not answer for {watched.asked - watched.answered:.0f} s")

    def _lost(self, watched: _Watched, what: str, error: Exception | None = None) -> None:
        now = time.monotonic()
        if watched.state == RUNNING:
            watched.lost_at = now
            if now - watched.ready >= self._patience.settled_seconds:
                watched.in_a_row = 0
        if error is not None and is_passing(error) and watched.passing < ATTEMPTS:
            watched.passing += 1
            pause = PAUSE_SECONDS
        elif watched.in_a_row >= self._patience.restarts:
            raise ServerError(self._despair(watched, what, error))
        else:
            pause = self._patience.first_pause_seconds * 2**watched.in_a_row
            watched.in_a_row += 1
        watched.due = now + pause
        self._enter(watched, RESTARTING)
        self._session.say(f"{watched.name} {what}; starting it again in {pause:.1f} s")

    def _despair(self, watched: _Watched, what: str, error: Exception | None) -> str:
        log = self._session.home.log(watched.name)
        reason = f"\n{error}" if error else ""
        return (
            f"{watched.name} {what}, and starting it again did not help {watched.in_a_row} times, so all servers "
            f"are stopped; its log is {log}{reason}"
        )

    def _is_up(self, watched: _Watched, how: str) -> None:
        watched.ready = watched.asked = watched.answered = time.monotonic()
        watched.passing, watched.launched = 0, None
        self._enter(watched, RUNNING)
        self._session.say(f"{watched.name} {how}")

    def _end_of(self, name: str) -> str:
        started = self._session.started.get(name)
        code = started.process.poll() if started else None
        if code is None:
            return "ended with the process that had started it"
        return f"was killed by signal {-code}" if code < 0 else f"ended with code {code}"

    def _enter(self, watched: _Watched, state: str) -> None:
        watched.state, watched.since = state, time.time()
        self._tell()

    def _tell(self) -> None:
        conditions = {name: Condition(one.state, one.since, one.restarts) for name, one in self._watched.items()}
        with suppress(OSError):  # a full disk hinders whoever looks, not the servers
            write(self._session.home, Supervision.of_this_process(self._is_ready, conditions))


@contextmanager
def supervising(
    settings: Settings, needs: Collection[str], on_progress: Callable[[str], None], patience: Patience | None = None
) -> Iterator[Supervisor]:
    """A supervisor of these servers of the home; all that it started is stopped in reverse order at the end.

    Raises ConflictError where another process supervises this home already.
    """
    home = Home(settings.home.expanduser().resolve())
    with only_supervisor(home), session(settings, on_progress) as opened:
        yield Supervisor(opened, settings, needs, patience or Patience())
