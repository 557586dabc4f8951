"""Servers that run a Flask application."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.contenders import HOST, Contender, server
from benchmarks.contenders.applications import EMPTY, VARIABLE
from benchmarks.contenders.house import House, environment
from benchmarks.contenders.peers import run_uv
from forecastle.embedded.facade_server import command as facade_command
from forecastle.embedded.process import Server
from forecastle.registry.declaration import ModelType
from projects import ROOT

PINS = Path(__file__).with_name("servers.txt")
FACTORY = "benchmarks.contenders.applications:create"
THREADS = 8

Command = Callable[[int], list[str]]


def served(workers: int = 1) -> Command:
    """The whole façade as the product starts it."""

    def command(port: int) -> list[str]:
        *words, _ = facade_command(HOST, port, workers)
        return [*words, f"{FACTORY}_whole"]

    return command


def granian(workers: int = 1, threads: int = THREADS) -> Command:
    """Flask alone, behind the same server."""
    return lambda port: [
        *(sys.executable, "-m", "granian", "--interface", "wsgi", "--factory"),
        *("--host", HOST, "--port", str(port), "--workers", str(workers), "--blocking-threads", str(threads)),
        FACTORY,
    ]


def gunicorn(workers: int = 1, threads: int = THREADS) -> Command:
    return lambda port: [
        *(sys.executable, "-m", "gunicorn", "--bind", f"{HOST}:{port}", "--worker-class", "gthread"),
        *("--workers", str(workers), "--threads", str(threads), "--keep-alive", "60", f"{FACTORY}()"),
    ]


def waitress(threads: int = THREADS) -> Command:
    return lambda port: [
        *(sys.executable, "-m", "waitress", f"--listen={HOST}:{port}", f"--threads={threads}", "--call", FACTORY)
    ]


@dataclass(frozen=True)
class FlaskServers:
    """Makes contenders of applications over one house."""

    house: House
    cache: Path
    """Where servers are installed that the product does not depend on."""

    def contender(
        self, name: str, command: Command, layer: str, model_type: ModelType, requests: Sequence[str], field: str
    ) -> Contender:
        """An application behind a server; `field` is that of the answer which holds the number."""

        def recipe(port: int) -> Server:
            path = f"{ROOT}:{self.packages}" if self.packages.exists() else str(ROOT)
            said = {**environment(self.house), VARIABLE: f"{layer} {model_type.name}", "PYTHONPATH": path}
            return server(name, command(port), said, self.house.settings.home, port, "/health/live")

        value_of = None if layer == EMPTY else lambda body: float(json.loads(body)[field])
        return Contender(name, recipe, requests, value_of)

    @property
    def packages(self) -> Path:
        return self.cache / f"servers-{hashlib.sha256(PINS.read_bytes()).hexdigest()[:12]}"

    def install(self) -> None:
        """Install servers beside the product's own packages. Raises NotInstalledError."""
        if not self.packages.exists():
            words = ("--quiet", "--no-deps", "--python", sys.executable, "--requirements", str(PINS))
            run_uv("pip", "install", *words, "--target", str(self.packages))
