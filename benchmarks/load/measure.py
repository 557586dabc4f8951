"""Servers measured side by side: at full load and at half of it, CPU and memory."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import click

from benchmarks.contenders import Contender, Started, started
from benchmarks.load.figures import Spread, interleave
from benchmarks.load.generator import Load, Loaded, ask, run
from benchmarks.load.usage import cpu_seconds, pss_mib
from forecastle.errors import ForecastleError, ServerError
from forecastle.learning.forms import SINGLE

CONNECTIONS = 16
WARM_SECONDS, WHOLE_SECONDS = 1.0, 120.0


@dataclass(frozen=True)
class Plan:
    """How long a load lasts, and how often each contender's turn comes."""

    seconds: float
    rounds: int


@dataclass(frozen=True)
class Round:
    """One turn of a contender: as fast as it can, then at half of that rate. CPU is milliseconds a request."""

    full: Loaded
    half: Loaded
    cpu_ms: float
    postgresql_ms: float


def say(message: str) -> None:
    """What is done now, and what is left out."""
    click.echo(f"  {message}", err=True)


class DifferentAnswersError(ForecastleError):
    """A contender does not answer what the model says."""

    code = "different_answers"


@dataclass(frozen=True)
class Bench:
    """What all measurements share: the plan, where logs go, and the process of PostgreSQL."""

    plan: Plan
    folder: Path
    postgresql: int

    def compare(self, contenders: Sequence[Contender], expected: Sequence[float]) -> dict[str, list[Round]]:
        """The rounds of every contender that starts here; those that do not are named.

        Raises DifferentAnswersError where one does not answer what is expected.
        """
        with ExitStack() as stack:
            measures: dict[str, Callable[[], Round]] = {}
            for contender in contenders:
                say(f"starting {contender.name}")
                try:
                    ready = stack.enter_context(started(contender, self.folder))
                except ServerError as error:
                    say(f"left out: {contender.name}: {str(error).splitlines()[0]}")
                    continue
                check_answers(ready, expected)
                self._load(ready, WARM_SECONDS)
                measures[contender.name] = partial(self._round, ready)
            turns = len(measures) * self.plan.rounds
            with click.progressbar(length=turns, label="measuring", file=sys.stderr) as bar:
                return interleave(measures, self.plan.rounds, lambda: bar.update(1))

    def memory_mib(self, contender: Contender, is_whole: Callable[[Started], bool] = lambda ready: True) -> float:
        """The memory of a contender after load, while no other runs that shares pages with it.

        `is_whole` says whether it holds by now all that it is to be measured with. Raises ServerError.
        """
        with started(contender, self.folder) as ready:
            deadline = time.monotonic() + WHOLE_SECONDS
            while not is_whole(ready):
                if time.monotonic() > deadline:
                    raise ServerError(f"{contender.name} has not loaded everything in {WHOLE_SECONDS:.0f} s")
                self._load(ready, WARM_SECONDS)
            self._load(ready, self.plan.seconds)
            return pss_mib(ready.pid)

    def _round(self, ready: Started) -> Round:
        before = cpu_seconds(ready.pid), cpu_seconds(self.postgresql)
        full = self._load(ready, self.plan.seconds)
        after = cpu_seconds(ready.pid), cpu_seconds(self.postgresql)
        half = self._load(ready, self.plan.seconds, max(full.rate / 2, 1.0))
        requests = max(full.answered, 1)
        own, database = (1000 * (late - early) / requests for early, late in zip(before, after, strict=True))
        return Round(full, half, own, database)

    def _load(self, ready: Started, seconds: float, rate: float | None = None) -> Loaded:
        return run(Load(ready.port, ready.contender.requests, CONNECTIONS, seconds, rate))


def check_answers(ready: Started, expected: Sequence[float]) -> None:
    """Ask everything once. Raises DifferentAnswersError where an answer is none, or not the number expected."""
    wanted: Sequence[float | None] = expected or [None] * len(ready.contender.requests)
    for request, value in zip(ready.contender.requests, wanted, strict=True):
        status, body = ask(ready.port, request)
        if status != 200:
            raise DifferentAnswersError(f"{ready.contender.name} answers with status {status}: {body[:300]!r}")
        if value is None or ready.contender.value_of is None:
            continue
        found = ready.contender.value_of(body)
        if abs(found - value) > SINGLE * max(abs(value), 1.0):
            raise DifferentAnswersError(f"{ready.contender.name} answers {found}, the model says {value}")


def as_rows(found: Mapping[str, Sequence[Round]]) -> list[dict[str, str | float]]:
    """One row a contender: medians over its rounds."""
    return [{"server": name, **_row(rounds)} for name, rounds in found.items()]


def _row(rounds: Sequence[Round]) -> dict[str, str | float]:
    rate = Spread.of([one.full.rate for one in rounds])
    figures = {
        "p50 ms": [one.full.p50 for one in rounds],
        "half load p50 ms": [one.half.p50 for one in rounds],
        "half load p99 ms": [one.half.p99 for one in rounds],
        "CPU ms": [one.cpu_ms for one in rounds],
        "PostgreSQL ms": [one.postgresql_ms for one in rounds],
        "generator CPU": [one.full.cpu_seconds / one.full.seconds for one in rounds],
    }
    return {
        "requests/s": round(rate.median),
        "least to most": f"{rate.least:,.0f} to {rate.most:,.0f}",
        **{name: round(Spread.of(values).median, 3) for name, values in figures.items()},
        "failed": sum(one.full.failed + one.half.failed for one in rounds),
    }
