"""Servers that are kept running: up, down, status, logs."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import asdict
from threading import Event, Thread

import click

from cli.background import start_in_background
from cli.rooms import FACADE, MLFLOW, POSTGRESQL, bring_up_to_date, say
from cli.servers import show_addresses
from cli.tables import table
from forecastle.embedded import supervision
from forecastle.embedded.home import Home
from forecastle.embedded.logs import Follower, last_lines
from forecastle.embedded.servers import EVERYTHING, addresses, needs_of, terminating_raises
from forecastle.embedded.status import Status, status
from forecastle.embedded.supervisor import Supervisor, supervising
from forecastle.errors import ForecastleError
from forecastle.settings import Settings
from forecastle.store.database import Database
from forecastle.store.known_jobs import OverdueJob, overdue_jobs
from forecastle.store.migrate import require_current

_READ_SECONDS = 0.2
_COLUMNS = ("server", "state", "process", "address", "for", "restarts", "memory")


def _names(context: click.Context, parameter: click.Parameter, given: tuple[str, ...]) -> tuple[str, ...]:
    """Names of servers, given one by one or with commas between them."""
    names = tuple(name for item in given for name in item.split(",") if name)
    known = (*EVERYTHING, supervision.NAME) if parameter.name == "names" else EVERYTHING
    for name in names:
        if name not in known:
            raise click.BadParameter(f"there is no server {name}; there are {', '.join(known)}")
    return names


@click.command()
@click.option("--only", multiple=True, callback=_names, help="These servers, and what they need; may be repeated.")
@click.option("--detach", is_flag=True, help="Return when all is ready; `forecastle down` stops it.")
@click.option("--verbose", is_flag=True, help="Show the servers' own logs, too.")
def up(only: tuple[str, ...], detach: bool, verbose: bool) -> None:
    """Start PostgreSQL, Valkey, S3, MLflow, the façade, worker and beat and keep them running; Ctrl-C stops them.

    A server that is given by URL (see docs/configuration.md) is used and not started.
    """
    settings, needs = Settings.from_env(), only or EVERYTHING
    home = _home(settings)
    if detach:
        with terminating_raises():
            start_in_background(home, ["up", *(f"--only={name}" for name in only)])
        return
    try:
        with (
            terminating_raises(code=0),
            _showing_logs(home) if verbose else nullcontext(),
            supervising(settings, needs, say) as supervisor,
        ):
            _start(supervisor, needs)
            _show_what_runs(supervisor.settings, needs)
            supervisor.watch()
    except KeyboardInterrupt:
        say("stopped")


def _start(supervisor: Supervisor, needs: Collection[str]) -> None:
    """Start everything; the tables are there before who reads them."""
    embedded = supervisor.settings.database_url is None
    if any(name == POSTGRESQL or POSTGRESQL in needs_of(name) for name in needs):
        settings = supervisor.start((POSTGRESQL,))
        with Database(settings.require_database_url()) as database:
            bring_up_to_date(database, embedded)
    supervisor.start(needs)


def _show_what_runs(settings: Settings, needs: Collection[str]) -> None:
    if FACADE in needs and MLFLOW in needs:
        show_addresses(settings)
    say('ready; in another terminal: eval "$(forecastle env)". Ctrl-C stops everything.')


@contextmanager
def _showing_logs(home: Home) -> Iterator[None]:
    """Show what the servers say while the main thread looks after them."""
    follower, is_over = Follower(home, EVERYTHING), Event()

    def show() -> None:
        while not is_over.wait(_READ_SECONDS):
            with suppress(OSError):  # a terminal that was closed
                _show(follower)

    thread = Thread(target=show, daemon=True)
    thread.start()
    try:
        yield
    finally:
        is_over.set()
        thread.join()
        with suppress(OSError):
            _show(follower)


def _show(follower: Follower) -> None:
    for name, line in follower.read():
        click.echo(f"{name} | {line}")


@click.command()
def down() -> None:
    """Stop what `forecastle up` keeps running."""
    home = _home(Settings.from_env())
    found = supervision.end(home)
    if found is None:
        say(f"nothing to stop: no `forecastle up` runs in {home.path}")
        return
    names = ", ".join(reversed([*found.servers])) or "no server of its own"
    say(f"stopped process {found.pid}, which kept running: {names}")


@click.command("status")
@click.option("--json", "as_json", is_flag=True)
def show_status(as_json: bool) -> None:
    """Show how the servers and jobs are doing; exit code 0 where all that are wanted run and no job is overdue."""
    settings = Settings.from_env()
    found, supervisor = status(settings), supervision.read(_home(settings))
    overdue = _overdue_jobs(settings)
    if as_json:
        servers = [{**asdict(one), "is_well": one.is_well} for one in found]
        jobs = None if overdue is None else [{"name": job.name, "due_at": job.due_at.isoformat()} for job in overdue]
        keeper = supervisor.pid if supervisor else None
        click.echo(json.dumps({"supervisor": keeper, "servers": servers, "overdue_jobs": jobs}))
    else:
        click.echo("\n".join(table(_COLUMNS, [_row(one) for one in found])))
        for job in overdue or ():
            click.secho(f"overdue: {job.sentence}", fg="red")
        say(f"kept running by process {supervisor.pid}" if supervisor else "nobody keeps them running: forecastle up")
    if overdue or not all(one.is_well for one in found):
        sys.exit(1)


def _overdue_jobs(settings: Settings) -> list[OverdueJob] | None:
    """Jobs that did not run by their time; None where no database of this version answers."""
    with suppress(ForecastleError):
        found = addresses(settings, (POSTGRESQL,))
        if found is not None:
            with Database(found.require_database_url(), 1) as database:
                require_current(database)
                with database.transaction() as connection:
                    return overdue_jobs(connection)
    return None


def _row(one: Status) -> list[str]:
    return [
        one.name,
        one.state if one.is_wanted else f"{one.state}, not wanted",
        str(one.pid or ""),
        one.address or "",
        "" if one.seconds is None else f"{one.seconds:,.0f} s",
        str(one.restarts),
        "" if one.memory_bytes is None else f"{one.memory_bytes / 1e6:,.0f} MB",
    ]


@click.command()
@click.argument("names", nargs=-1, callback=_names)
@click.option("--follow", is_flag=True, help="Go on with what is added, until Ctrl-C.")
@click.option("--lines", type=click.IntRange(0), default=20, show_default=True, help="How many of each log.")
def logs(names: tuple[str, ...], follow: bool, lines: int) -> None:
    """Show the end of the logs of these servers; of all, and the supervisor's, where none is named."""
    home = _home(Settings.from_env())
    wanted = names or (*EVERYTHING, supervision.NAME)
    follower = Follower(home, wanted)
    for name in wanted:
        for line in last_lines(home.path / "logs" / f"{name}.log", lines):
            click.echo(f"{name} | {line}")
    try:
        while follow:
            _show(follower)
            time.sleep(_READ_SECONDS)
    except KeyboardInterrupt:
        say("")


def _home(settings: Settings) -> Home:
    return Home(settings.home.expanduser().resolve())
