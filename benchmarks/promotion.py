"""How long a promotion takes until the last worker of a façade answers with it, while many connections ask.

Two versions are trained and registered in a real MLflow, the second with more issues; then production is moved back
and forth by promotions and rollbacks. Each answer is held against what its version answers when asked alone.
Run by hand: python -m benchmarks.promotion
"""

from __future__ import annotations

import json
import statistics
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import click

import projects
from benchmarks.asking import CACHE, Load, memory_bytes, mixed, passports_that_disagree
from cli.tables import table
from forecastle.access.principals import Principal, Role, add_user
from forecastle.embedded.servers import NEEDS, provide, session
from forecastle.generator.issues import Portfolio, generate_issues
from forecastle.registry.cache import MEGABYTE
from forecastle.registry.loading import loadable
from forecastle.registry.mlflow_rest import MlflowRest
from forecastle.registry.promotions import Promoter
from forecastle.settings import Settings
from forecastle.store.database import Database
from forecastle.store.issues import import_issues
from forecastle.store.migrate import migrate
from forecastle.store.objects import Objects
from forecastle.store.promotions import LedgerStep

MODEL_TYPE = projects.get_model_type("delivery.story_points")
ADMIN = Principal("rita", Role.ADMIN)
TITLES = ("Migrate the cluster in admin", "Rename the label in settings", "Rewrite the scheduler in dashboard")
QUESTIONS = [{"project_id": project, "title": title} for project in ("DEMO1", "DEMO2", "DEMO3") for title in TITLES]
SLOWEST_SECONDS = 30.0


@dataclass(frozen=True)
class Measured:
    """`seconds` from the confirmed promotion to the first answer of the last worker, one a swap."""

    seconds: list[float]
    load: Load
    alone: Mapping[str, list[bytes]]
    megabytes_before: float
    megabytes_after: float
    asked_seconds: float


@click.command()
@click.option("--swaps", default=100, type=click.IntRange(min=2), show_default=True)
@click.option("--workers", default=2, type=click.IntRange(min=1), show_default=True)
@click.option("--connections", default=8, type=click.IntRange(min=1), show_default=True)
@click.option("--pause", default=0.3, help="Seconds between a swap that was seen and the next.", show_default=True)
@click.option("--passports", default=2_000, help="Passports to read afterwards, evenly spread.", show_default=True)
@click.option("--json", "as_json", is_flag=True)
def main(swaps: int, workers: int, connections: int, pause: float, passports: int, as_json: bool) -> None:
    """Measure SWAPS swaps of production under load."""
    with _facade(workers) as (load, promoter):
        load.workers = _find_workers(load, workers)
        measured = _measure(load, promoter, swaps, connections, pause)
        answers = measured.load.answers
        read = answers[:: max(1, len(answers) // passports)]
        disagreeing = passports_that_disagree(load.connect(), read)
    found = {**_figures(measured), "passports_read": len(read), "passports_that_disagree": len(disagreeing)}
    found |= {"workers": workers, "connections": connections, "commit": _commit()}
    click.echo(json.dumps(found) if as_json else "\n".join(table(("what", "figure"), _lines(found))))


@contextmanager
def _facade(workers: int) -> Iterator[tuple[Load, Promoter]]:
    """A façade over real servers, in whose registry versions 1 and 2 stand, and version 1 serves."""
    with tempfile.TemporaryDirectory() as folder, session(Settings(home=Path(folder))) as opened:
        settings = provide(opened, Settings(home=Path(folder), http_port=0, http_workers=workers), NEEDS)
        with Database(settings.require_database_url()) as database:
            migrate(database)
            with database.transaction() as connection:
                key = add_user(connection, "ada", Role.MEMBER)
            promoter = _train(settings, database)
            _promote(promoter, 1)
            url = urlsplit(str(provide(opened, settings, ("facade",)).facade_url))
            yield Load((str(url.hostname), int(url.port or 80)), key, MODEL_TYPE.route, QUESTIONS), promoter


def _train(settings: Settings, database: Database) -> Promoter:
    """Train version 1 on some issues and version 2 on more."""
    from forecastle.registry.recording import TrainingRequest, train
    from forecastle.registry.tracking import Tracking

    Tracking(settings.require_tracking_uri())  # lets MLflow know where
    objects, suite = Objects.of(settings), projects.EXPECTATIONS / f"{MODEL_TYPE.dataset}.json"
    for issues in (80, 150):
        with database.transaction() as connection:
            import_issues(connection, list(generate_issues(Portfolio(issues=issues))))
        click.echo(f"training with {issues} issues of each project", err=True)
        train(database, objects, TrainingRequest(MODEL_TYPE, None, "ada", suite), lambda message: None)
    return Promoter(database, objects, MlflowRest.of(settings), loadable(projects.discover()))


def _measure(load: Load, promoter: Promoter, swaps: int, connections: int, pause: float) -> Measured:
    alone = {}
    for number in (1, 2):
        if number == 2:
            _swap(promoter, 1)
        alone[_label(number)] = _alone(load, _label(number))
    seconds: list[float] = []
    with load.on(connections):
        began = time.time()
        load.first_answers(_label(2), 0, SLOWEST_SECONDS)
        before = _megabytes(load)
        for number in range(2, swaps + 2):
            since = len(load.answers)
            step = _swap(promoter, number)
            first = load.first_answers(_label(step.promotion.to_version), since, SLOWEST_SECONDS)
            seconds.append(max(answer.ended for answer in first.values()) - step.recorded_at.timestamp())
            time.sleep(pause)
        after = _megabytes(load)
    return Measured(seconds, load, alone, before, after, time.time() - began)


def _swap(promoter: Promoter, number: int) -> LedgerStep:
    """Version 2 with odd numbers, back to version 1 with even ones."""
    if number % 2:
        return _promote(promoter, 2)
    return promoter.rollback(MODEL_TYPE.name, ADMIN, "measured")


def _promote(promoter: Promoter, version: int) -> LedgerStep:
    """Whatever the gate says of the version: how fast it serves is measured here, not how well."""
    return promoter.promote(MODEL_TYPE.name, version, ADMIN, "measured", override=True)


def _label(version: int) -> str:
    return f"{MODEL_TYPE.name}/{version}"


def _alone(load: Load, label: str) -> list[bytes]:
    """Digests of what every worker answers with this version."""
    connections = [load.connect(number) for number in range(len(load.workers))]
    found = [load.ask_alone(connection, label) for connection in connections]
    for connection in connections:
        connection.close()
    assert all(one == found[0] for one in found)
    return found[0]


def _find_workers(load: Load, number: int) -> list[int]:
    """The processes of so many workers. Raises TimeoutError where fewer accept connections."""
    found: set[int] = set()
    deadline = time.monotonic() + SLOWEST_SECONDS
    while len(found) < number:
        if time.monotonic() > deadline:
            raise TimeoutError(f"{len(found)} of {number} workers answer")
        connection = load.connect()
        found.add(connection.send(CACHE)["process_id"])
        connection.close()
    return sorted(found)


def _megabytes(load: Load) -> float:
    return round(sum(map(memory_bytes, load.workers)) / MEGABYTE, 1)


def _figures(measured: Measured) -> dict[str, Any]:
    answers, milliseconds = measured.load.answers, sorted(second * 1000 for second in measured.seconds)
    cuts = statistics.quantiles(milliseconds, n=20, method="inclusive")
    return {
        "swaps": len(milliseconds),
        "p50_ms": round(statistics.median(milliseconds)),
        "p95_ms": round(cuts[-1]),
        "max_ms": round(milliseconds[-1]),
        "answers": len(answers),
        "answers_a_second": round(len(answers) / measured.asked_seconds),
        "refused": len(measured.load.refused),
        "mixed": len(mixed(answers, measured.alone)),
        "memory_before_mb": measured.megabytes_before,
        "memory_after_mb": measured.megabytes_after,
    }


def _lines(found: Mapping[str, Any]) -> list[tuple[str, str]]:
    return [(name.replace("_", " "), str(figure)) for name, figure in found.items()]


def _commit() -> str:
    asked = ["git", "describe", "--always", "--dirty"]
    return subprocess.run(asked, cwd=projects.ROOT, capture_output=True, text=True, check=True).stdout.strip()


if __name__ == "__main__":
    main()
