"""What `up`, `status` and `logs` are made of, without servers."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest

from forecastle.embedded import supervision
from forecastle.embedded.home import Home
from forecastle.embedded.logs import Follower, last_lines
from forecastle.embedded.process import EarlyExitError, uninterrupted
from forecastle.embedded.servers import terminating_raises
from forecastle.embedded.session import is_passing
from forecastle.embedded.status import memory_of, status, without_password
from forecastle.embedded.supervision import Condition, Supervision, only_supervisor, read, write
from forecastle.errors import ConflictError, ServerError
from forecastle.settings import Settings


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "home")


def ours() -> Supervision:
    return Supervision.of_this_process(True, {"valkey": Condition("running", 1.0, 2)})


def test_what_is_written_is_read_until_the_supervisor_ends(home: Home) -> None:
    with only_supervisor(home):
        write(home, ours())
        assert read(home) == ours()
    assert read(home) is None


def test_a_home_has_one_supervisor(home: Home) -> None:
    with only_supervisor(home):
        write(home, ours())
        with pytest.raises(ConflictError, match=rf"\(process {os.getpid()}\)"), only_supervisor(home):
            pass
    with only_supervisor(home):
        pass


@pytest.mark.parametrize(
    "content", ["", "{", "[]", "{}", '{"pid": 1, "servers": []}', '{"pid": 1, "servers": {"a": 1}}']
)
def test_a_state_that_cannot_be_read_is_that_of_nobody_and_is_written_again(home: Home, content: str) -> None:
    file = home.folder("run") / "supervisor.json"
    file.write_text(content)
    assert read(home) is None
    assert supervision.end(home) is None
    write(home, ours())
    assert read(home) == ours()


def test_a_process_that_has_the_number_of_a_supervisor_is_not_taken_for_it(home: Home) -> None:
    file = home.folder("run") / "supervisor.json"
    file.write_text(json.dumps({"pid": os.getpid(), "started": "1", "is_ready": True, "servers": {}}))
    assert read(home) is None
    assert supervision.end(home) is None  # and so nobody is signalled


def test_a_supervisor_that_cannot_be_named_is_told(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervision, "_MENDED_SECONDS", 0.1)
    with only_supervisor(home), pytest.raises(ServerError, match="fuser"):
        supervision.end(home)


def test_down_where_nothing_ever_ran_makes_no_folder(home: Home) -> None:
    assert supervision.end(home) is None
    assert not home.path.exists()


@pytest.mark.parametrize(
    "address, shown",
    [
        ("postgresql://u:p%40@host:5432/name?sslmode=require", "postgresql://host:5432/name"),
        ("redis://:p@127.0.0.1:1/0", "redis://127.0.0.1:1/0"),
        ("http://key:secret@127.0.0.1:1/bucket", "http://127.0.0.1:1/bucket"),
        ("s3://bucket/prefix", "s3://bucket/prefix"),
    ],
)
def test_an_address_is_shown_without_who_logs_in(address: str, shown: str) -> None:
    assert without_password(address) == shown


def test_servers_that_are_given_are_wanted_and_well(home: Home) -> None:
    found = status(Settings(home=home.path, redis_url="redis://:p@host:1/0"))
    states = {one.name: (one.state, one.is_well) for one in found}
    assert states["valkey"] == ("given by URL", True)
    assert states["postgresql"] == ("stopped", False)


def test_memory_is_that_of_a_process_with_its_descendants() -> None:
    found = memory_of(os.getpid())
    assert found is None or 10e6 < found < 10e9
    assert memory_of(2**22 + 1) is None


def test_the_end_of_a_long_log_is_found(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("".join(f"line {number} {'ü' * 50}\n" for number in range(5000)))
    assert [line.split()[1] for line in last_lines(log, 2000)] == [str(number) for number in range(3000, 5000)]
    assert last_lines(log, 0) == []
    assert len(last_lines(log, 10_000)) == 5000
    assert last_lines(tmp_path / "none", 5) == []


def test_a_log_is_followed_in_whole_lines_and_into_a_new_file(home: Home) -> None:
    log = home.log("valkey")
    log.write_text("before\n")
    follower = Follower(home, ("valkey", "s3"))
    assert list(follower.read()) == []
    with log.open("a") as file:
        file.write("one\ntw")
    assert list(follower.read()) == [("valkey", "one")]
    with log.open("a") as file:
        file.write("o\n")
    home.log("s3").write_text("first\n")
    assert list(follower.read()) == [("valkey", "two"), ("s3", "first")]
    log.replace(log.with_suffix(".log.1"))
    log.write_text("anew\n")
    assert list(follower.read()) == [("valkey", "anew")]


def test_a_port_that_is_taken_may_be_free_the_next_moment() -> None:
    assert is_passing(EarlyExitError("valkey ended", "bind: Address already in use"))
    assert not is_passing(EarlyExitError("valkey ended", "Bad file format"))
    assert not is_passing(ServerError("address already in use"))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_that_comes_while_a_process_is_started_is_not_lost(number: signal.Signals) -> None:
    done = []

    def start() -> None:
        with terminating_raises(), uninterrupted():
            signal.raise_signal(number)
            done.append("all of the block")

    with pytest.raises((KeyboardInterrupt, SystemExit)):
        start()
    assert done
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
