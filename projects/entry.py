"""What the entry points of MLproject share: settings, the store, who trains, and errors as exit codes."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from uuid import UUID

from forecastle.access.principals import Principal, at_command_line, on_behalf_of
from forecastle.errors import ForecastleError
from forecastle.settings import Settings
from forecastle.store.database import Database
from forecastle.store.migrate import require_current
from forecastle.store.objects import Objects
from forecastle.store.tenants import get_project

ALL = "all"


@dataclass(frozen=True)
class Room:
    """What an entry point works with."""

    settings: Settings
    database: Database
    objects: Objects
    principal: Principal

    def find_project(self, id_or_key: str) -> UUID | None:
        """The project's id; None for all projects. Raises NotFoundError."""
        return find_project(self.database, id_or_key)


def find_project(database: Database, id_or_key: str) -> UUID | None:
    """The project's id; None for all projects. Raises NotFoundError."""
    if id_or_key == ALL:
        return None
    with database.transaction() as connection:
        return get_project(connection, id_or_key).id


def arguments(description: str | None) -> argparse.Namespace:
    """What `train` and `validate` are asked: a model type, and one project or all."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--model-type", required=True)
    parser.add_argument("--project", default=ALL)
    return parser.parse_args()


@contextmanager
def opened() -> Iterator[Room]:
    """Read the settings and open the store; addresses come from the environment alone."""
    settings = Settings.from_env()
    settings.require_tracking_uri()
    with Database(settings.require_database_url(), settings.pool_size) as database:
        require_current(database)
        with database.transaction() as connection:
            if settings.job_run is not None:
                principal = on_behalf_of(connection, settings.job_run)
            else:
                principal = at_command_line(connection, settings.api_key)
        yield Room(settings, database, Objects.of(settings), principal)


def say(message: str) -> None:
    sys.stderr.write(f"  {message}\n")
    sys.stderr.flush()


def run(main: Callable[[], None]) -> None:
    """Run an entry point; an error of ours is one sentence and exit code 1, which makes MLflow's run FAILED."""
    try:
        main()
    except ForecastleError as error:
        say(f"error: {error}")
        sys.exit(1)
