"""Streams through the server that really runs: both ways at once, in bounded memory, and with clients that go away."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass, replace
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from processes import await_that, processes_of

from forecastle.embedded.servers import running
from forecastle.settings import Settings
from serving.batches import CHUNK_LINES, NDJSON

ROUTE = "/api/v1/ml/recommend-story-points/batch/"
WIDE = 20_000  # characters of a description
STREAMS = 4  # that a façade with eight threads takes


@dataclass
class Stream:
    """One request whose body is sent piece by piece."""

    connection: HTTPConnection

    def send(self, lines: int) -> None:
        piece = line() * lines
        self.connection.send(b"%x\r\n%s\r\n" % (len(piece), piece))

    def end(self) -> None:
        self.connection.send(b"0\r\n\r\n")

    def response(self) -> HTTPResponse:
        return self.connection.getresponse()


def line() -> bytes:
    return json.dumps({"project_id": "DEMO1", "title": "Fix", "description": "x" * WIDE}).encode() + b"\n"


@dataclass(frozen=True)
class Facade:
    url: str
    key: str
    home: Path

    def stream(self) -> Stream:
        connection = HTTPConnection(urlsplit(self.url).netloc, timeout=30)
        connection.putrequest("POST", ROUTE)
        for name, value in (("Content-Type", NDJSON), ("Transfer-Encoding", "chunked")):
            connection.putheader(name, value)
        connection.putheader("Authorization", f"Bearer {self.key}")
        connection.endheaders()
        return Stream(connection)

    def most_memory(self) -> int:
        """Bytes that any of its processes held at once, at the most, since it started."""
        pids = [found.split()[0] for found in processes_of(self.home)]
        status = "\n".join(Path(f"/proc/{pid}/status").read_text() for pid in pids)
        return max(int(row.split()[1]) * 1024 for row in status.splitlines() if row.startswith("VmHWM"))


@pytest.fixture
def facade(house: Any, own_storage: Settings, tmp_path: Path) -> Iterator[Facade]:
    settings = replace(own_storage, home=tmp_path / "home", database_url=house.url, http_port=0)
    with running(settings, ("facade",)) as found:
        assert found.facade_url is not None
        yield Facade(found.facade_url, house.keys["member"], tmp_path / "home")


def test_a_stream_is_answered_while_it_is_sent_whatever_its_length_and_in_bounded_memory(
    house: Any, facade: Facade
) -> None:
    stream, chunk = facade.stream(), CHUNK_LINES // 5  # a mebibyte of lines makes a chunk before there are many
    stream.send(2 * chunk)
    response = stream.response()
    assert (response.status, response.getheader("Content-Type")) == (200, NDJSON)
    answer = json.loads(response.readline())
    assert house.row("select 1 as found from predictions where id = %s", answer["prediction_id"])
    before, pieces = facade.most_memory(), 60

    def send_on() -> None:
        for _ in range(pieces):
            stream.send(chunk)
        stream.end()

    sender = threading.Thread(target=send_on)
    sender.start()
    answers = [json.loads(found) for found in response]
    sender.join()
    assert len({each["prediction_id"] for each in answers}) == len(answers) == (2 + pieces) * chunk - 1
    assert house.predictions() == (2 + pieces) * chunk
    assert pieces * chunk * WIDE > 50_000_000
    assert facade.most_memory() - before < 40_000_000


def test_clients_that_go_away_stop_the_work_and_leave_room_for_others(house: Any, facade: Facade) -> None:
    for _ in range(2 * STREAMS):
        stream = facade.stream()
        stream.send(CHUNK_LINES)
        stream.response().readline()
        stream.connection.sock.shutdown(socket.SHUT_RDWR)

        def is_free() -> bool:
            asked = facade.stream()
            asked.end()
            return asked.response().status == 200

        await_that(is_free)
    assert house.predictions() <= 2 * STREAMS * CHUNK_LINES
