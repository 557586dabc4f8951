"""A load on a façade by HTTP, in which every answer is held against what its version answers when it is asked alone."""

from __future__ import annotations

import hashlib
import json
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException
from itertools import count
from pathlib import Path
from typing import Any

CACHE = "/api/v1/models/cache"
PASSPORT = "/api/v1/ml/predictions/{}/passport"
TIMEOUT_SECONDS = 30
CONNECTS = 200
PAUSE_SECONDS = 0.05
"""Before a refused request is tried again."""

Fields = dict[str, Any]


class RefusedError(Exception):
    """The façade answered, but not with 200."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What is kept of an answer, and the process that gave it; `ended` is a moment of the system's clock (seconds)."""

    worker: int
    question: int
    ended: float
    label: str
    prediction_id: str
    digest: bytes


@dataclass
class Connection:
    """One connection that is kept, and so one worker of the façade that answers on it: `wanted`, or whichever."""

    address: tuple[str, int]
    key: str
    wanted: int | None = None
    worker: int = 0
    _http: HTTPConnection | None = None

    def send(self, path: str, body: Any = None) -> Fields:
        """The JSON of the answer. Raises OSError, HTTPException, RefusedError; the next one connects anew."""
        try:
            return self._ask(self._connected(), path, body)
        except (OSError, HTTPException):
            self.close()
            raise

    def close(self) -> None:
        if self._http is not None:
            self._http.close()
        self._http = None

    def _connected(self) -> HTTPConnection:
        if self._http is not None:
            return self._http
        for _ in range(CONNECTS):
            http = HTTPConnection(*self.address, timeout=TIMEOUT_SECONDS)
            self.worker = int(self._ask(http, CACHE, None)["process_id"])
            if self.wanted in (None, self.worker):
                self._http = http
                return http
            http.close()
        raise RefusedError(f"worker {self.wanted} accepted none of {CONNECTS} connections")

    def _ask(self, http: HTTPConnection, path: str, body: Any) -> Fields:
        headers = {"Authorization": f"Bearer {self.key}", "Content-Type": "application/json"}
        http.request("GET" if body is None else "POST", path, None if body is None else json.dumps(body), headers)
        response = http.getresponse()
        content = response.read()
        if response.status != 200:
            raise RefusedError(f"{response.status} {content[:200]!r}")
        found: Fields = json.loads(content)
        return found


@dataclass
class Load:
    """Connections that ask one of `questions` after another; what was answered, and what was refused.

    They are spread over `workers`, where these are known.
    """

    address: tuple[str, int]
    key: str
    route: str
    questions: Sequence[Fields]
    workers: Sequence[int] = ()
    pause_seconds: float = 0.0
    """Between an answer and the next question of a connection."""
    answers: list[Answer] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    arrived: threading.Condition = field(default_factory=threading.Condition)
    _over: threading.Event = field(default_factory=threading.Event)

    @contextmanager
    def on(self, connections: int) -> Iterator[None]:
        """Ask on so many connections at once until the block ends; raises what nobody foresaw."""
        self._over.clear()
        with ThreadPoolExecutor(connections) as pool:
            asking = [pool.submit(self._ask, number) for number in range(connections)]
            try:
                yield
            finally:
                self._over.set()
        for one in asking:
            one.result()

    def connect(self, number: int = 0) -> Connection:
        wanted = self.workers[number % len(self.workers)] if self.workers else None
        return Connection(self.address, self.key, wanted)

    def first_answers(self, label: str, since: int, seconds: float) -> dict[int, Answer]:
        """The first answer of each of `workers` with this version, among the answers from number `since` on.

        Raises TimeoutError naming the workers that gave none.
        """
        found: dict[int, Answer] = {}
        deadline = time.monotonic() + seconds
        with self.arrived:
            while True:
                for answer in self.answers[since:]:
                    if answer.label == label:
                        found.setdefault(answer.worker, answer)
                since = len(self.answers)
                missing = set(self.workers) - found.keys()
                if not missing:
                    return found
                if not self.arrived.wait(deadline - time.monotonic()):
                    raise TimeoutError(f"no answer of {label} by {missing}")

    def ask_alone(self, connection: Connection, label: str) -> list[bytes]:
        """Digests of what this version answers to each question, once the worker of this connection serves it.

        Raises TimeoutError.
        """
        deadline = time.monotonic() + TIMEOUT_SECONDS
        while label not in {version["label"] for version in connection.send(CACHE)["versions"]}:
            if time.monotonic() > deadline:
                raise TimeoutError(label)
            time.sleep(PAUSE_SECONDS)
        return [digest(connection.send(self.route, question)) for question in self.questions]

    def _ask(self, first: int) -> None:
        connection = self.connect(first)
        for number in count(first):
            if self._over.is_set():
                connection.close()
                return
            question = number % len(self.questions)
            try:
                fields = connection.send(self.route, self.questions[question])
            except (OSError, HTTPException, RefusedError) as error:
                self.refused.append(f"{type(error).__name__}: {error}")
                self._over.wait(PAUSE_SECONDS)
                continue
            answer = Answer(
                connection.worker,
                question,
                time.time(),
                fields["model_version"],
                fields["prediction_id"],
                digest(fields),
            )
            with self.arrived:
                self.answers.append(answer)
                self.arrived.notify_all()
            if self.pause_seconds:
                self._over.wait(self.pause_seconds)


def digest(answer: Fields) -> bytes:
    """Of every field but the one that no two answers share."""
    fields = {name: value for name, value in answer.items() if name != "prediction_id"}
    return hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).digest()


def mixed(answers: Sequence[Answer], alone: Mapping[str, Sequence[bytes]]) -> list[Answer]:
    """Answers that are not, in every field, what their version answers alone (digests by label and question)."""
    return [one for one in answers if one.digest != alone[one.label][one.question]]


def passports_that_disagree(connection: Connection, answers: Sequence[Answer]) -> list[str]:
    """Ids of answers whose passport names another version or holds another answer."""
    found = []
    for one in answers:
        passport = connection.send(PASSPORT.format(one.prediction_id))
        label, stored = f"{passport['registered_model']}/{passport['version']}", passport["answer"]
        if (label, stored["prediction_id"], digest(stored)) != (one.label, one.prediction_id, one.digest):
            found.append(one.prediction_id)
    return found


def memory_bytes(pid: int, kind: str = "Pss") -> int:
    """Of one process; `Pss` divides what is shared among those who share it, `Rss` does not. 0 where it is gone."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{kind}:"))
