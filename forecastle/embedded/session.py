"""The servers that this process started: how they are started, started again, and stopped in order."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack, suppress
from dataclasses import dataclass, field
from functools import partial
from subprocess import Popen

from forecastle.embedded.home import Home, Record
from forecastle.embedded.process import EarlyExitError, Launch, Server, await_ready, kill, launch, stop, uninterrupted

Recipe = Callable[[int], Server]
ATTEMPTS = 10
PAUSE_SECONDS = 0.5
# What a start says that may go well the next moment: somebody took the port, or processes of a
# database server that was killed have not all gone yet.
_PASSING = ("address already in use", "pre-existing shared memory block", "postmaster.pid")


def is_passing(error: Exception) -> bool:
    """Whether a start failed for a reason that may be gone the next moment."""
    return isinstance(error, EarlyExitError) and any(sign in error.lines.lower() for sign in _PASSING)


@dataclass
class Started:
    """A server that this process started: what makes it for a port, that port, and its process now."""

    recipe: Recipe
    port: int
    server: Server
    process: Popen[bytes]


@dataclass(frozen=True)
class Session:
    """One use of a home: where to report, what was started, and `resources` that last as long as the servers."""

    home: Home
    report: Callable[[str], None]
    resources: ExitStack
    started: dict[str, Started] = field(default_factory=dict)

    def say(self, message: str) -> None:
        """Report, if there is still anybody to hear it: a closed terminal must not hinder a stop."""
        with suppress(OSError):
            self.report(message)

    def locked(self) -> AbstractContextManager[None]:
        """Nobody else starts or stops servers of this home meanwhile."""
        return self.home.locked(partial(self.say, "waiting for another process that starts or stops servers here"))

    def start(self, name: str, recipe: Recipe, preferred_port: int) -> str:
        """Start a server on a free port, have it stopped at the end, return its address; call it under the lock."""
        self.say(f"starting {name}")
        attempt = 1
        while True:
            port = self.home.choose_port(name, preferred_port if attempt == 1 else 0)
            if preferred_port not in (0, port):
                self.say(f"port {preferred_port} is taken by another program: {name} listens on {port}")
            try:
                return self._attempt(recipe, port)
            except EarlyExitError as error:
                if attempt == ATTEMPTS or not is_passing(error):
                    raise
            attempt += 1
            time.sleep(PAUSE_SECONDS)

    def start_again(self, name: str, find_recipe: Callable[[], Recipe], preferred_port: int) -> Launch | None:
        """Start a server on the port that it had and return at once; None where another process runs it by now."""
        with self.locked():
            before, record = self.started.get(name), self.home.records().get(name)
            if before is not None:
                kill(before.process)
            if record is not None and record.is_live and record.owner != os.getpid():
                self.started.pop(name, None)
                return None
            self.home.end_orphan(name)
            with uninterrupted():
                recipe = before.recipe if before else find_recipe()
                port = before.port if before else self.home.choose_port(name, preferred_port)
                launched = launch(recipe(port), self.home.log(name))
                self._note(Started(recipe, port, launched.server, launched.process))
            return launched

    def is_alive(self, name: str) -> bool:
        """Whether its process runs, be it ours or that of another process of this home."""
        if name in self.started:
            return self.started[name].process.poll() is None
        record = self.home.records().get(name)
        return record is not None and record.is_live

    def stop_all(self, order: tuple[str, ...]) -> None:
        """Stop what was started, the last of `order` first, whatever goes wrong with one of them."""
        with ExitStack() as undo:
            for name in order:
                if name in self.started:
                    undo.callback(self._stop, self.started[name])

    def _attempt(self, recipe: Recipe, port: int) -> str:
        with ExitStack() as on_failure:
            with uninterrupted():
                server = recipe(port)
                launched = launch(server, self.home.log(server.name))
                on_failure.callback(stop, server, launched.process)
            await_ready(launched)
            server.on_ready()
            self._note(Started(recipe, port, server, launched.process))
            on_failure.pop_all()
        return server.address

    def _note(self, started: Started) -> None:
        name, process = started.server.name, started.process
        self.started[name] = started
        self.home.remember_port(name, started.port)
        self.home.remember(name, Record.of(started.server.address, process.pid))

    def _stop(self, started: Started) -> None:
        self.say(f"stopping {started.server.name}")
        with self.locked():
            try:
                stop(started.server, started.process)
            finally:
                with suppress(OSError):  # a full disk; the record of a process that is gone does no harm
                    self.home.forget(started.server.name, started.process.pid)
