"""What is measured: each part yields the rows of one table."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any
from urllib.request import Request, urlopen

from benchmarks.contenders import HOST, Contender, Started
from benchmarks.contenders.applications import EMPTY, FLASK, LAYERS, MODEL_TYPES, WHOLE
from benchmarks.contenders.flask_servers import FlaskServers, granian, gunicorn, served, waitress
from benchmarks.contenders.house import PROJECT, House, keep_issues, make_projects, text_bundle
from benchmarks.contenders.in_process import Job, layers_cpu
from benchmarks.contenders.peers import Peers
from benchmarks.load.figures import Spread
from benchmarks.load.generator import request_of
from benchmarks.load.measure import Bench, as_rows, say
from benchmarks.numeric import MODEL_TYPE as NUMERIC
from benchmarks.numeric.model import NAMES
from benchmarks.numeric.training import Numeric
from forecastle.errors import ServerError
from forecastle.registry.declaration import ModelType

CALLS = 300
HISTORIES = (50, 500, 3_000)
"""Known outcomes of the projects that text model types are asked about."""
MODELS = 20
EFFORT = "delivery.effort"
FACADE = "façade"

Row = dict[str, Any]


@dataclass(frozen=True)
class Serving:
    """All that the parts measure with."""

    bench: Bench
    house: House
    flask: FlaskServers
    numeric: Numeric
    peers: Peers | None
    """None where they cannot be installed."""
    workers: Sequence[int]
    """With how many worker processes contenders are measured beside each other."""
    quick: bool

    @property
    def bodies(self) -> list[str]:
        rows = self.numeric.asked.tolist()
        return [json.dumps({**dict(zip(NAMES, row, strict=True)), "project_id": PROJECT}) for row in rows]

    def facade(self, name: str, command: Callable[[int], list[str]], layer: str = WHOLE) -> Contender:
        return self.asked(name, command, layer, NUMERIC, self.bodies, "value")

    def asked(
        self, name: str, command: Callable[[int], list[str]], layer: str, model_type: ModelType,
        bodies: Sequence[str], field: str,
    ) -> Contender:  # fmt: skip
        requests = [request_of(model_type.route, body.encode(), self.house.headers) for body in bodies]
        return self.flask.contender(name, command, layer, model_type, requests, field)

    def contenders(self, workers: int) -> list[Contender]:
        """The façade, the empty answer on the same server, and all peers."""
        own = [
            self.facade("empty Flask answer", granian(workers), EMPTY),
            self.facade(FACADE, served(workers), WHOLE),
            self.facade(f"{FACADE}, Flask alone", granian(workers), FLASK),
            self.facade("empty Flask answer, one thread", granian(workers, threads=1), EMPTY),
        ]
        peers = [] if self.peers is None else self.peers.contenders(workers)
        return own + (peers[1:3] if self.quick else peers)


def measure_peers(serving: Serving) -> list[Row]:
    return [
        {"workers": workers, **row}
        for workers in serving.workers
        for row in as_rows(serving.bench.compare(serving.contenders(workers), serving.numeric.expected))
    ]


def measure_servers(serving: Serving) -> list[Row]:
    commands = {
        "Granian, 8 threads": granian(),
        "gunicorn, gthread, 8 threads": gunicorn(),
        "waitress, 8 threads": waitress(),
        "Granian, 1 thread": granian(threads=1),
        "Granian, 2 threads": granian(threads=2),
        "Granian, 4 threads": granian(threads=4),
        "Granian, 16 threads": granian(threads=16),
        "Granian, 8 threads, 2 workers": granian(2),
        "Granian, 2 threads, 2 workers": granian(2, 2),
        "gunicorn, gthread, 8 threads, 2 workers": gunicorn(2),
    }
    asked = [serving.facade(name, command, FLASK) for name, command in commands.items()]
    return as_rows(serving.bench.compare(asked[: 3 if serving.quick else None], serving.numeric.expected))


def measure_layers(serving: Serving) -> list[Row]:
    """Every layer in process and over HTTP; each has what stands above it."""
    asked = [replace(serving.facade(layer, _server_of(layer), layer), value_of=None) for layer in LAYERS]
    over_http = {row["server"]: row for row in as_rows(serving.bench.compare(asked, []))}
    cpu = _cpu(serving, NUMERIC, serving.bodies)
    names = ("requests/s", "least to most", "p50 ms", "CPU ms", "PostgreSQL ms")
    rows, before = [], 0.0
    for layer, about in LAYERS.items():
        in_process = {"in process µs": round(cpu[layer]), "of which its own": round(cpu[layer] - before)}
        rows.append({"layer": about, **in_process, **{name: over_http[layer][name] for name in names}})
        before = cpu[layer]
    return rows


def _server_of(layer: str) -> Callable[[int], list[str]]:
    return served() if layer == WHOLE else granian()


def _cpu(serving: Serving, model_type: ModelType, bodies: Sequence[str]) -> dict[str, float]:
    calls = CALLS // 5 if serving.quick else CALLS
    job = Job(model_type.name, bodies, serving.house.headers, calls, serving.bench.plan.rounds)
    return {layer: Spread.of(values).median for layer, values in layers_cpu(serving.house, job).items()}


def measure_text(serving: Serving) -> list[Row]:
    """The layers of effort in process, and the whole over HTTP, by how much is known of the project."""
    model_type = MODEL_TYPES[EFFORT]
    histories = HISTORIES[: 1 if serving.quick else None]
    bodies = {f"{known:,} known": _effort_bodies(serving.house, known) for known in histories}
    serving.house.promote(EFFORT, text_bundle(model_type, 500 if serving.quick else HISTORIES[-1]))
    cpu = {name: _cpu(serving, model_type, asked) for name, asked in bodies.items()}
    asked = [
        serving.asked(name, served(), WHOLE, model_type, found, "predicted_hours") for name, found in bodies.items()
    ]
    rows: list[Row] = [
        {"layer": about, **{f"{name} µs": round(found[layer]) for name, found in cpu.items()}}
        for layer, about in LAYERS.items()
    ]
    found = {row["server"]: row for row in as_rows(serving.bench.compare(asked, []))}
    return rows + [
        {"layer": f"over HTTP: {figure}", **{f"{name} µs": row[figure] for name, row in found.items()}}
        for figure in ("requests/s", "half load p50 ms", "half load p99 ms", "CPU ms", "PostgreSQL ms")
    ]


def _effort_bodies(house: House, known: int) -> list[str]:
    fields = MODEL_TYPES[EFFORT].request_type().model_fields
    return [json.dumps({name: issue[name] for name in fields if name in issue}) for issue in keep_issues(house, known)]


def measure_memory(serving: Serving) -> list[Row]:
    rows = [
        _memory(serving, contender, contender.name, workers)
        for workers in serving.workers
        for contender in serving.contenders(workers)[: 2 if serving.quick else None]
    ]
    asked = _with_models(serving, MODELS)
    return [*rows, _memory(serving, asked, f"{FACADE}, {MODELS} models", 2, partial(_all_loaded, serving.house, 2))]


def _all_loaded(house: House, workers: int, ready: Started) -> bool:
    """Whether each worker says that it holds everything in production; who answers is left to the server."""
    address = f"http://{HOST}:{ready.port}/api/v1/models/cache"
    whole = set()
    for _ in range(20 * workers):
        with urlopen(Request(address, headers=house.headers), timeout=10) as answer:
            found = json.load(answer)
        if len(found["versions"]) == found["in_production"]:
            whole.add(found["process_id"])
    return len(whole) == workers


def _memory(
    serving: Serving, contender: Contender, name: str, workers: int, is_whole: Callable[[Started], bool] | None = None
) -> Row:
    say(f"memory of {name}")
    try:
        found: float | str = round(serving.bench.memory_mib(contender, is_whole or (lambda ready: True)))
    except ServerError as error:
        found = f"does not start: {str(error).splitlines()[0]}"
    return {"server": name, "workers": workers, "PSS MiB": found}


def _with_models(serving: Serving, models: int) -> Contender:
    """Let this many models serve: the numeric one, everybody's effort, else projects' own, each of which is asked."""
    house, model_type, bundle = serving.house, MODEL_TYPES[EFFORT], text_bundle(MODEL_TYPES[EFFORT], 500)
    house.promote(EFFORT, bundle)
    own = make_projects(house, [f"OWN{number}" for number in range(models - 2)])
    for number, project in enumerate(own.values()):
        house.promote(f"{EFFORT}.{project}", replace(bundle, manifest=replace(bundle.manifest, rows=number)))
    issue, *_ = map(json.loads, _effort_bodies(house, HISTORIES[0]))
    bodies = [json.dumps({**issue, "project_id": key}) for key in (*own, issue["project_id"])]
    return serving.asked(FACADE, served(2), WHOLE, model_type, bodies, "predicted_hours")


@dataclass(frozen=True)
class Part:
    title: str
    about: str
    measure: Callable[[Serving], list[Row]]


PARTS: Mapping[str, Part] = {
    "peers": Part(
        "Beside others",
        "The numeric model type. Each answers the same requests with the same 200 trees; the answers were compared.",
        measure_peers,
    ),
    "servers": Part("Servers for Flask", "All of it through Flask, behind each.", measure_servers),
    "layers": Part(
        "Layer by layer: numbers alone",
        "Each line has all that stands above it. In process is CPU of the façade without HTTP; CPU ms is over HTTP.",
        measure_layers,
    ),
    "text": Part(
        "Layer by layer: effort",
        "CPU in process, in microseconds, by how many outcomes of the project are known.",
        measure_text,
    ),
    "memory": Part(
        "Memory",
        "Proportional set size of all processes of a server after load, each alone.",
        measure_memory,
    ),
}
