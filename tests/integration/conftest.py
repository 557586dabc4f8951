"""Real façades, asked over real HTTP."""

from __future__ import annotations

import json
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

import projects

ROUTE = projects.get_model_type("delivery.story_points").route


@dataclass(frozen=True)
class Client:
    """Asks one façade with one key; every answer is a status and the JSON that came with it."""

    url: str
    key: str

    def ask(self, project: str = "DEMO1", title: str = "Migrate the cluster in admin") -> tuple[int, dict[str, Any]]:
        return self.send(ROUTE, {"project_id": project, "title": title})

    def passport(self, prediction_id: str) -> dict[str, Any]:
        return self.send(f"/api/v1/ml/predictions/{prediction_id}/passport")[1]

    def send(self, path: str, body: Any = None) -> tuple[int, dict[str, Any]]:
        """Raises OSError where nobody listens."""
        data = None if body is None else json.dumps(body).encode()
        headers = {"Content-Type": "application/json", "Authorization": f"Bearer {self.key}"}
        request = urllib.request.Request(f"{self.url}{path}", data, headers)
        try:
            with urllib.request.urlopen(request, timeout=60) as response:
                return response.status, json.load(response)
        except urllib.error.HTTPError as error:
            return error.code, json.load(error)


@pytest.fixture(scope="session")
def client() -> Callable[[str | None, str], Client]:
    """A client of the façade at this address, with this key."""

    def of(url: str | None, key: str) -> Client:
        assert url is not None
        return Client(url, key)

    return of


@pytest.fixture(scope="session")
def await_that() -> Callable[[Callable[[], bool], float], None]:
    """Wait until something holds that nobody announces; fail after some seconds."""

    def wait(holds: Callable[[], bool], seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while not holds():
            assert time.monotonic() < deadline, "did not happen in time"
            threading.Event().wait(0.02)

    return wait
