"""`forecastle doctor`: looks at everything that Forecastle stands on, and starts nothing."""

from __future__ import annotations

import json
import os
import shutil
import socket
import sys
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import asdict
from datetime import UTC, datetime
from http.client import HTTPException
from importlib.metadata import version
from pathlib import Path
from urllib.parse import urlsplit

import click

from cli import checks
from cli.checks import Finding, Verdict
from cli.rooms import FACADE, MLFLOW, POSTGRESQL, S3
from forecastle.embedded.home import Home
from forecastle.embedded.servers import addresses, answers, given
from forecastle.embedded.status import GIVEN, Status, status
from forecastle.embedded.supervision import NAME as SUPERVISOR
from forecastle.embedded.supervision import RUNNING, read
from forecastle.errors import ConfigurationError, ForecastleError
from forecastle.settings import Settings
from forecastle.store import broker
from forecastle.store.database import Database
from forecastle.store.health import read_server_facts
from forecastle.store.migrate import require_current
from forecastle.store.objects import Objects
from forecastle.store.principals import list_enabled
from forecastle.store.probe import run_storage_test

VALKEY = "valkey"
_SETTING = {
    POSTGRESQL: "DATABASE_URL",
    VALKEY: "REDIS_URL",
    S3: "FORECASTLE_ARTIFACTS",
    MLFLOW: "MLFLOW_TRACKING_URI",
    FACADE: "FORECASTLE_URL",
}
_PROBED = (VALKEY, S3)  # what these are worth is shown by using them


@click.command()
@click.option("--json", "as_json", is_flag=True)
def doctor(as_json: bool) -> None:
    """Check everything that Forecastle stands on; exit code 1 where something fails.

    Starts nothing: what an embedded server would have to answer is asked where it runs.
    """
    settings = Settings.from_env()
    found = []
    for finding in _examine(settings):
        found.append(finding)
        if not as_json:
            click.echo(_line(finding))
    is_well = not any(finding.verdict == Verdict.FAIL for finding in found)
    if as_json:
        click.echo(json.dumps({"ok": is_well, "findings": [asdict(finding) for finding in found]}))
    if not is_well:
        sys.exit(1)


def _line(finding: Finding) -> str:
    advice = f"; next: {finding.advice}" if finding.advice else ""
    return f"{finding.verdict:<4}  {finding.name:<18}  {finding.found}{advice}"


def _examine(settings: Settings) -> Iterator[Finding]:
    home = Home(settings.home.expanduser().resolve())
    yield checks.python(sys.version_info[:2])
    yield from _folder(home.path)
    try:
        stated = status(settings)
    except ConfigurationError as error:
        yield Finding("servers", Verdict.FAIL, str(error), f"rm '{home.path / 'run' / 'servers.json'}'")
        return
    yield _port(settings, next(one for one in stated if one.name == FACADE))
    yield checks.leftovers(_leftovers(home))
    for one in stated:
        found = addresses(settings, (one.name,)) if one.state in (RUNNING, GIVEN) else None
        yield checks.server(
            one, found is not None and _is_reachable(one.name, found), _SETTING.get(one.name, "REDIS_URL")
        )
        if found is not None:
            yield from _asked(one.name, found)


def _folder(home: Path) -> Iterator[Finding]:
    nearest = next(folder for folder in (home, *home.parents) if folder.exists())
    yield checks.disk(str(nearest), shutil.disk_usage(nearest).free)
    is_writable = nearest.is_dir() and os.access(nearest, os.W_OK | os.X_OK)
    yield checks.home(str(home), home.stat().st_mode if home.exists() else None, is_writable)


def _port(settings: Settings, facade: Status) -> Finding:
    is_ours = facade.address is not None and urlsplit(facade.address).port == settings.http_port
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", settings.http_port))
            is_free = True
        except OSError:
            is_free = False
    return checks.port(settings.http_port, is_free, is_ours)


def _leftovers(home: Home) -> list[str]:
    stale = [f"run/servers.json ({name})" for name, record in home.records().items() if not record.is_live]
    if (home.path / "run" / f"{SUPERVISOR}.json").exists() and read(home) is None:
        stale.append(f"run/{SUPERVISOR}.json")
    if (home.path / POSTGRESQL / "data" / "postmaster.pid").exists() and POSTGRESQL not in home.records():
        stale.append("postgresql/data/postmaster.pid")
    return stale


def _is_reachable(name: str, found: Settings) -> bool:
    if name not in _SETTING:  # worker and beat have no address: that they run is what `addresses` found
        return True
    address = given(name, found)
    return address is not None and (name in _PROBED or answers(name, address))


def _asked(name: str, found: Settings) -> Iterator[Finding]:
    """What only the server itself can tell."""
    if name == POSTGRESQL:
        yield from _database(found.require_database_url())
    elif name == MLFLOW:
        yield checks.mlflow_version(_mlflow_version(found.require_tracking_uri()), version("mlflow"))
    elif name == S3:
        yield checks.storage(_problem(lambda: _use(Objects.of(found))))
    elif name == VALKEY:
        yield checks.broker(_problem(lambda: broker.ping(found.require_redis_url())))


def _database(url: str) -> Iterator[Finding]:
    with Database(url, size=1) as database:
        try:
            with database.transaction() as connection:
                before = datetime.now(UTC)
                facts = read_server_facts(connection)
                here = before + (datetime.now(UTC) - before) / 2
        except ForecastleError:
            return  # that it does not answer was said already
        yield checks.postgresql_version(facts.version)
        yield checks.clock((facts.now - here).total_seconds())
        problem = _problem(lambda: require_current(database))
        yield checks.migrations(problem)
        if problem is None:
            with database.transaction() as connection:
                yield checks.users(len(list_enabled(connection)))


def _problem(work: Callable[[], None]) -> str | None:
    try:
        work()
    except ForecastleError as error:
        return str(error)
    return None


def _use(objects: Objects) -> None:
    for step in run_storage_test(objects):
        if step.problem:
            raise ConfigurationError(f"{step.name}: {step.problem}")


def _mlflow_version(address: str) -> str | None:
    try:
        with urllib.request.urlopen(f"{address.rstrip('/')}/version", timeout=5) as answer:  # noqa: S310 - a web address
            return str(answer.read(100).decode("ascii", "replace")).strip()
    except (OSError, HTTPException, ValueError):
        return None
