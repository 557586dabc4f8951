"""What the server hands to the door, and a door that is asked without a server."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

from serving.door import Door


class Headers:
    """Headers as the server tells them: in lower case, and any of them more than once."""

    def __init__(self, told: list[tuple[str, str]]) -> None:
        self.told = [(name.lower(), value) for name, value in told]

    def get(self, name: str, default: Any = None) -> Any:
        return next(iter(self.get_all(name)), default)

    def get_all(self, name: str) -> list[str]:
        return [value for each, value in self.told if each == name]

    def items(self) -> list[tuple[str, str]]:
        return self.told


@dataclass
class Scope:
    path: str
    method: str = "POST"
    query_string: str = ""
    headers: Headers = field(default_factory=lambda: Headers([]))
    proto: str = "http"
    http_version: str = "1.1"
    server: str = "127.0.0.1:8700"
    client: str = "127.0.0.1:40000"
    scheme: str = "http"
    authority: str | None = None


@dataclass
class Protocol:
    """What the server hands to an application: the body, and where the answer goes."""

    body: bytes
    answer: tuple[int, dict[str, str], bytes] = (0, {}, b"")
    stalls: bool = False

    async def __call__(self) -> bytes:
        return self.body

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for start in range(0, len(self.body), 1000):
            yield self.body[start : start + 1000]
        if self.stalls:
            await asyncio.Event().wait()

    def response_bytes(self, status: int, headers: list[tuple[str, str]], body: bytes) -> None:
        self.answer = status, dict(headers), body

    def response_stream(self, status: int, headers: list[tuple[str, str]]) -> Protocol:
        self.answer = status, dict(headers), b""
        return self

    async def send_bytes(self, piece: bytes) -> None:
        status, headers, body = self.answer
        self.answer = status, headers, body + piece


@dataclass
class AtTheDoor:
    """A door, and how many requests it handed on to Flask."""

    house: Any
    door: Door
    runner: asyncio.Runner
    handed_on: int = 0

    def ask(self, path: str, body: Any, **changed: Any) -> tuple[int, dict[str, str], Any]:
        (found,) = self.ask_many([(path, body)], **changed)
        return found

    def ask_many(self, asked: list[tuple[str, Any]], **changed: Any) -> list[tuple[int, dict[str, str], Any]]:
        """Answers to what is asked at the same time."""
        requests = [self._request(path, body, **changed) for path, body in asked]

        async def all_of_them() -> None:
            await asyncio.gather(*(self.door.__rsgi__(*request) for request in requests))

        self.runner.run(all_of_them())
        answers = [protocol.answer for _, protocol in requests]
        return [(status, headers, json.loads(content)) for status, headers, content in answers]

    def _request(
        self,
        path: str,
        body: Any,
        *,
        headers: dict[str, str] | None = None,
        twice: tuple[tuple[str, str], ...] = (),
        **changed: Any,
    ) -> Any:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        told = {"Content-Type": "application/json", "Content-Length": str(len(content)), **self.house.headers()}
        named = [*{**told, **(headers or {})}.items(), *twice]
        return Scope(path, headers=Headers(named), **changed), Protocol(content)

    def from_memory(self, path: str, body: Any, **changed: Any) -> tuple[int, dict[str, str], Any]:
        """The first answer that Flask has no part in."""
        for _ in range(100):
            before = self.handed_on
            found = self.ask(path, body, **changed)
            if self.handed_on == before:
                return found
        raise AssertionError("Flask answers every time")
