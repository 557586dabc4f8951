"""Real façades, asked over real HTTP."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from processes import await_that, processes_of

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


@pytest.fixture(scope="session", name="await_that")
def waiting() -> Callable[[Callable[[], bool], float], None]:
    """Wait until something holds that nobody announces; fail after some seconds."""
    return await_that


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    """A deep folder with a space in its name; when the test is over nothing may run in it."""
    home = tmp_path / "a home" / ("deep" * 30)
    yield home
    assert not processes_of(home)
