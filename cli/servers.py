"""Telling people and other programs where the servers are, and bringing their database up to date."""

from __future__ import annotations

import os
import shlex
import signal
import sys
from pathlib import Path

import click

from cli.rooms import POSTGRESQL, say, serving
from forecastle.embedded.servers import EVERYTHING, addresses
from forecastle.errors import ServerError
from forecastle.settings import Settings
from forecastle.store.database import Database
from forecastle.store.migrate import migrate

ADDRESSES = (
    *("FORECASTLE_HOME", "DATABASE_URL", "REDIS_URL", "MLFLOW_TRACKING_URI", "FORECASTLE_URL"),
    *("FORECASTLE_ARTIFACTS", "MLFLOW_S3_ENDPOINT_URL", "AWS_DEFAULT_REGION"),
    *("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"),
)


def show_addresses(settings: Settings) -> None:
    say(f"  façade   {settings.facade_url}/docs")
    say(f"  MLflow   {settings.mlflow_tracking_uri}")


def wait_for_interrupt() -> None:
    try:
        signal.pause()
    except KeyboardInterrupt:
        say("")


@click.command()
def env() -> None:
    """Print the variables with which other programs find the servers that run: eval "$(forecastle env)"."""
    settings = Settings.from_env()
    found = addresses(settings)
    if found is None:
        raise ServerError("the servers do not run; start them with `forecastle up` in another terminal")
    for name in EVERYTHING:  # what runs beside those that most programs need
        found = addresses(found, (name,)) or found
    variables = {name: value for name, value in found.as_environment().items() if name in ADDRESSES}
    # MLflow starts `python` of an entry point from the path: it has to be this one.
    folder = str(Path(sys.executable).parent)
    path = [entry for entry in os.environ.get("PATH", os.defpath).split(os.pathsep) if entry != folder]
    variables["PATH"] = os.pathsep.join([folder, *path])
    for name, value in variables.items():
        click.echo(f"export {name}={shlex.quote(value)}")


@click.command("migrate")
def migrate_database() -> None:
    """Bring the database up to date."""
    with serving((POSTGRESQL,)) as settings, Database(settings.require_database_url()) as database:
        applied = migrate(database)
    for migration in applied:
        click.echo(f"applied {migration.number:04d} {migration.name}")
    if not applied:
        click.echo("the database is up to date")
