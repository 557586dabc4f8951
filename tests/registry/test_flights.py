"""Work is under way once, however many ask, and never in the way of other work."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from forecastle.errors import IntegrityError
from forecastle.registry.flights import Flights

DEADLINE = 20.0


def test_what_many_ask_for_at_once_is_done_once_and_all_get_it() -> None:
    flights: Flights[object] = Flights(2, "tested")
    asked, done, begun = threading.Barrier(8), threading.Event(), []

    def work() -> object:
        begun.append(1)
        assert done.wait(DEADLINE)
        return object()

    def ask() -> object:
        asked.wait(DEADLINE)
        flight = flights.begin("it", work)
        asked.wait(DEADLINE)  # all have asked before it is done
        done.set()
        return flight.wait(DEADLINE)

    with ThreadPoolExecutor(8) as pool:
        found = [one.result(DEADLINE) for one in [pool.submit(ask) for _ in range(8)]]
    assert len(begun) == 1
    assert len(set(map(id, found))) == 1


def assert_done(event: threading.Event) -> None:
    assert event.wait(DEADLINE)


def test_what_is_done_is_done_again_for_who_asks_later() -> None:
    flights: Flights[int] = Flights(1, "tested")
    numbers = iter(range(2))
    assert [flights.begin("it", lambda: next(numbers)).wait(DEADLINE) for _ in range(2)] == [0, 1]


def test_other_work_goes_on_beside_and_a_wait_ends() -> None:
    flights: Flights[str] = Flights(2, "tested")
    done = threading.Event()

    def slow() -> str:
        assert done.wait(DEADLINE)
        return "slow"

    first = flights.begin("slow", slow)
    assert flights.begin("quick", lambda: "quick").wait(DEADLINE) == "quick"
    with pytest.raises(TimeoutError):
        first.wait(0)
    done.set()
    assert first.wait(DEADLINE) == "slow"


def test_who_asks_late_waits_no_longer_than_who_asked_first() -> None:
    flights: Flights[None] = Flights(1, "tested")
    done = threading.Event()
    first = flights.begin("it", lambda: assert_done(done))
    assert flights.begin("it", lambda: None) is first
    done.set()
    first.wait(DEADLINE)


def test_who_has_waited_already_for_something_else_waits_no_longer_than_it_says() -> None:
    flights: Flights[None] = Flights(1, "tested")
    done = threading.Event()
    flight = flights.begin("it", lambda: assert_done(done))
    with pytest.raises(TimeoutError):
        flight.wait(DEADLINE, until=time.monotonic())
    done.set()
    flight.wait(DEADLINE, until=time.monotonic() + DEADLINE)


def test_what_fails_is_told_to_all_who_wait_and_an_unforeseen_failure_to_the_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    flights: Flights[None] = Flights(1, "tested")

    def fail(error: Exception) -> None:
        raise error

    for error in (IntegrityError("foreseen"), RuntimeError("somebody's words")):
        with pytest.raises(type(error)):
            flights.begin("it", lambda error=error: fail(error)).wait(DEADLINE)  # type: ignore[misc]
    flights.begin("it", lambda: None).wait(DEADLINE)  # by then the one before has landed
    assert "RuntimeError in it" in caplog.text
    assert "words" not in caplog.text
