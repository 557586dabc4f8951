"""CPU microseconds of a call of each layer, without a server: no HTTP, no load, one thread that asks.

Reads from standard input what to ask and how often, and everything else from the environment, as the façade does.
"""

from __future__ import annotations

import asyncio
import io
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from itertools import cycle
from typing import Any

from flask import Flask
from werkzeug.test import create_environ

from benchmarks.contenders.applications import LAYERS, MODEL_TYPES, WHOLE, application
from benchmarks.contenders.house import House, environment
from benchmarks.load.figures import interleave
from forecastle.registry.declaration import ModelType
from forecastle.settings import Settings
from projects import ROOT
from serving.door import Door, create_door


@dataclass(frozen=True)
class Job:
    model_type: str
    bodies: Sequence[str]
    headers: Mapping[str, str]
    calls: int
    rounds: int


def layers_cpu(house: House, job: Job) -> dict[str, list[float]]:
    """CPU microseconds a call of every layer, a figure a round, measured in a process that does nothing else."""
    ran = subprocess.run(
        [sys.executable, "-m", __name__],
        input=json.dumps(asdict(job)),
        env={**environment(house), "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    found: dict[str, list[float]] = json.loads(ran.stdout)
    return found


def measure(job: Job) -> dict[str, list[float]]:
    model_type, settings = MODEL_TYPES[job.model_type], Settings.from_env()
    measures: dict[str, Callable[[], float]] = {}
    for layer in LAYERS:
        ask = _asking(layer, model_type, settings, job.headers)
        for body in job.bodies:
            ask(body)
        measures[layer] = partial(_microseconds, ask, job)
    return interleave(measures, job.rounds)


def _asking(layer: str, model_type: ModelType, settings: Settings, headers: Mapping[str, str]) -> Callable[[str], None]:
    if layer == WHOLE:
        scope = _Scope(model_type.route, {name.lower(): value for name, value in headers.items()})
        return partial(_call_door, asyncio.new_event_loop(), create_door(settings, MODEL_TYPES), scope)
    return partial(_call, application(layer, model_type, settings), model_type.route, headers)


def _microseconds(ask: Callable[[str], None], job: Job) -> float:
    bodies = cycle(job.bodies)
    started = time.process_time()
    for _ in range(job.calls):
        ask(next(bodies))
    return 1e6 * (time.process_time() - started) / job.calls


def _call(app: Flask, route: str, headers: Mapping[str, str], body: str) -> None:
    statuses: list[str] = []

    def start_response(status: str, headers: Any, error: Any = None) -> Callable[[bytes], object]:
        statuses.append(status)
        return lambda written: None

    b"".join(app.wsgi_app(_environ(route, tuple(headers.items()), body), start_response))
    if not statuses[0].startswith("200"):
        raise RuntimeError(f"an answer with status {statuses[0]}")


class _Headers(dict[str, str]):
    """Headers as RSGI tells them."""

    def get_all(self, name: str) -> list[str]:
        return [self[name]] if name in self else []


@dataclass(frozen=True)
class _Scope:
    """A request as RSGI tells it."""

    path: str
    headers: Mapping[str, str]
    method: str = "POST"
    query_string: str = ""
    http_version: str = "1.1"
    server: str = "127.0.0.1:80"
    client: str = "127.0.0.1:1024"
    scheme: str = "http"
    authority: str | None = None


@dataclass
class _Protocol:
    """Stands where the server hands over a body and takes the answer."""

    body: bytes
    status: int = 0

    async def __call__(self) -> bytes:
        return self.body

    def response_bytes(self, status: int, headers: Any, body: bytes) -> None:
        self.status = status


def _call_door(loop: asyncio.AbstractEventLoop, door: Door, scope: _Scope, body: str) -> None:
    encoded = body.encode()
    own = {"content-type": "application/json", "content-length": str(len(encoded))}
    told = _Headers({**scope.headers, **own})
    protocol = _Protocol(encoded)
    loop.run_until_complete(door.__rsgi__(replace(scope, headers=told), protocol))
    if protocol.status != 200:
        raise RuntimeError(f"an answer with status {protocol.status}")


def _environ(route: str, headers: tuple[tuple[str, str], ...], body: str) -> dict[str, Any]:
    encoded = body.encode()
    made = _ENVIRONS.get(route)
    if made is None:
        made = _ENVIRONS[route] = create_environ(route, method="POST", headers=list(headers))
        made["CONTENT_TYPE"] = "application/json"
    return {**made, "wsgi.input": io.BytesIO(encoded), "CONTENT_LENGTH": str(len(encoded))}


_ENVIRONS: dict[str, dict[str, Any]] = {}


if __name__ == "__main__":
    print(json.dumps(measure(Job(**json.load(sys.stdin)))), flush=True)
    os._exit(0)  # threads of the applications' pools would be waited for
