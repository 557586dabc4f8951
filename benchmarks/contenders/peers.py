"""Other programs that serve a model, installed into an environment of their own: their pins clash with ours."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from benchmarks.contenders import HOST, Contender, free_port, server
from benchmarks.load.generator import request_of
from benchmarks.numeric.model import NAMES
from benchmarks.numeric.training import Numeric, save_for_mlflow, save_for_sklearn
from forecastle.embedded.process import Server

PINS = Path(__file__).with_name("peers.txt")
MODEL = "numeric"
BATCH_ROWS, BATCH_SECONDS = 32, 0.005


class NotInstalledError(Exception):
    """The peers cannot be installed here."""


def install(cache: Path) -> Path:
    """The folder of the peers' commands; they are installed where these pins were not yet.

    Raises NotInstalledError with what the installer said last.
    """
    folder = cache / f"peers-{hashlib.sha256(PINS.read_bytes()).hexdigest()[:12]}"
    done = folder / "complete"
    if not done.exists():
        run_uv("venv", "--quiet", "--clear", "--python", sys.executable, str(folder))
        run_uv("pip", "install", "--quiet", "--python", str(folder / "bin" / "python"), "--requirements", str(PINS))
        done.touch()
    return folder / "bin"


def run_uv(*words: str) -> None:
    ran = subprocess.run([sys.executable, "-m", "uv", *words], capture_output=True, text=True, check=False)
    if ran.returncode:
        raise NotInstalledError((ran.stderr.strip().splitlines() or ["no reason given"])[-1])


@dataclass(frozen=True)
class Peers:
    """The peers' contenders for one model; `folder` holds its files and what the servers write."""

    commands: Path
    folder: Path
    numeric: Numeric

    @classmethod
    def of(cls, commands: Path, folder: Path, numeric: Numeric) -> Peers:
        """With the model saved for each of them."""
        peers = cls(commands, folder, numeric)
        save_for_mlflow(numeric, peers._model("mlflow"))
        save_for_sklearn(numeric, peers._model("sklearn.joblib"))
        return peers

    def contenders(self, workers: int) -> list[Contender]:
        """`mlflow models serve` in both ways, and MLServer with both runtimes, with and without adaptive batching."""
        found = [self._mlflow("asyncio", "h11", workers), self._mlflow("uvloop", "httptools", workers)]
        for runtime in ("sklearn", "mlflow"):
            found += [self._mlserver(runtime, workers, batching) for batching in (False, True)]
        if workers == 1:
            found.append(self._mlserver("sklearn", 0, batching=False))
        return found

    def _model(self, name: str) -> Path:
        return self.folder / f"model-{name}"

    def _mlflow(self, loop: str, http: str, workers: int) -> Contender:
        def recipe(port: int) -> Server:
            command = [
                *(str(self.commands / "mlflow"), "models", "serve", "--model-uri", str(self._model("mlflow"))),
                *("--host", HOST, "--port", str(port), "--env-manager", "local", "--workers", str(workers)),
            ]
            environment = self._environment() | {"UVICORN_LOOP": loop, "UVICORN_HTTP": http}
            return server("mlflow", command, environment, self.folder, port, "/ping")

        rows = self.numeric.asked.tolist()
        bodies = [{"dataframe_split": {"columns": list(NAMES), "data": [row]}} for row in rows]
        requests = [request_of("/invocations", json.dumps(body).encode(), {}) for body in bodies]
        name = f"mlflow models serve, {loop} and {http}"
        return Contender(_with(name, workers), recipe, requests, lambda body: float(json.loads(body)["predictions"][0]))

    def _mlserver(self, runtime: str, workers: int, batching: bool) -> Contender:
        """MLServer with this many processes that infer, which is 1 by default; with 0 the server does it itself."""
        name = f"MLServer, {runtime}" + (", adaptive batching" if batching else "")
        settings = self.folder / f"mlserver-{runtime}-{workers}-{batching}"
        settings.mkdir(exist_ok=True)
        (settings / "model-settings.json").write_text(json.dumps(self._model_settings(runtime, batching)))
        inputs = _columns if runtime == "mlflow" else _matrix
        path = f"/v2/models/{MODEL}/infer"
        return Contender(
            f"{name}, in the server's process" if not workers else _with(name, workers),
            partial(self._mlserver_on, settings, workers),
            [request_of(path, json.dumps(inputs(row)).encode(), {}) for row in self.numeric.asked.tolist()],
            lambda body: float(json.loads(body)["outputs"][0]["data"][0]),
        )

    def _mlserver_on(self, settings: Path, workers: int, port: int) -> Server:
        ports = {"http_port": port, "grpc_port": free_port(), "metrics_port": free_port()}
        said = {**ports, "host": HOST, "parallel_workers": workers, "debug": False, "metrics_endpoint": None}
        (settings / "settings.json").write_text(json.dumps(said))
        command = [str(self.commands / "mlserver"), "start", str(settings)]
        return server("mlserver", command, self._environment(), settings, port, f"/v2/models/{MODEL}/ready")

    def _model_settings(self, runtime: str, batching: bool) -> dict[str, object]:
        implementation, uri = {
            "sklearn": ("mlserver_sklearn.SKLearnModel", "sklearn.joblib"),
            "mlflow": ("mlserver_mlflow.MLflowRuntime", "mlflow"),
        }[runtime]
        said = {"name": MODEL, "implementation": implementation, "parameters": {"uri": str(self._model(uri))}}
        return said | ({"max_batch_size": BATCH_ROWS, "max_batch_time": BATCH_SECONDS} if batching else {})

    def _environment(self) -> dict[str, str]:
        return {
            "PATH": f"{self.commands}{os.pathsep}{os.defpath}",
            "HOME": str(self.folder),
            "LANG": "C.UTF-8",
            "OMP_NUM_THREADS": "1",  # for one row, threads that wait for each other only cost
        }


def _matrix(row: list[float]) -> dict[str, object]:
    return {"inputs": [{"name": "predict", "shape": [1, len(row)], "datatype": "FP64", "data": row}]}


def _columns(row: list[float]) -> dict[str, object]:
    pairs = zip(NAMES, row, strict=True)
    columns = [{"name": name, "shape": [1], "datatype": "FP64", "data": [value]} for name, value in pairs]
    return {"parameters": {"content_type": "pd"}, "inputs": columns}


def _with(name: str, workers: int) -> str:
    return name if workers == 1 else f"{name}, {workers} workers"
