"""A home of its own, and the `forecastle` command run in it as people run it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from processes import environment_of, processes_of

from forecastle.embedded.home import Home
from forecastle.embedded.servers import addresses
from forecastle.settings import Settings

Await = Callable[[Callable[[], bool], float], None]


@dataclass(frozen=True)
class Place:
    """A home, and the command run in it; `prefix` stands before every command, to run it where the home is."""

    home: Path
    output: Path | None = None
    prefix: tuple[str, ...] = ()
    variables: Mapping[str, str] = field(default_factory=dict)

    @property
    def environment(self) -> dict[str, str]:
        return {**environment_of(self.home), **self.variables}

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*self.prefix, sys.executable, "-m", "cli.main", *arguments],
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    def begin(self, *command: str) -> subprocess.Popen[bytes]:
        """A process whose words `said` reads."""
        with self._said.open("wb") as output:
            return subprocess.Popen([*self.prefix, *command], env=self.environment, stdout=output, stderr=output)

    def said(self) -> str:
        return self._said.read_text()

    @property
    def _said(self) -> Path:
        return self.output or self.home.parent / "said"

    @contextmanager
    def up(self, *arguments: str, command: tuple[str, ...] = ()) -> Iterator[subprocess.Popen[bytes]]:
        """The supervisor in the foreground, from ready to the end of the block."""
        process = self.begin(*(command or (sys.executable, "-m", "cli.main", "up", *arguments)))
        try:
            deadline = time.monotonic() + 60
            while not any(line.startswith("ready") for line in self.said().splitlines()):
                assert process.poll() is None, self.said()
                assert time.monotonic() < deadline, self.said()
                time.sleep(0.02)
            yield process
        finally:
            process.terminate()
            process.wait(60)

    def pid(self, name: str) -> int | None:
        """The process of a server; None in the moment between two."""
        record = Home(self.home).records().get(name)
        return record.pid if record else None

    def settings(self, *names: str) -> Settings | None:
        return addresses(Settings(home=self.home), names)

    def send(self, name: str, number: signal.Signals) -> int:
        """Signal a server; the number of its process."""
        pid = self.pid(name)
        assert pid is not None
        os.kill(pid, number)
        return pid

    def kill(self, name: str, await_that: Await, seconds: float = 20) -> float:
        """Kill -9 a server; how long it took until it answered again."""
        before, began = self.send(name, signal.SIGKILL), time.monotonic()
        await_that(lambda: self.pid(name) != before and self.settings(name) is not None, seconds)
        return time.monotonic() - began

    def processes(self) -> list[str]:
        """Command lines of all processes that work in the home or name it."""
        return processes_of(self.home)
