"""Backups: before an upgrade, and for the day on which a disk dies."""

from __future__ import annotations

from pathlib import Path

import click

from cli.rooms import POSTGRESQL, S3, say, serving
from forecastle.embedded.postgresql import ensure_database, installed_programs
from forecastle.store.backup import DATABASES, Backup, back_up
from forecastle.store.backup import restore as bring_back
from forecastle.store.objects import Objects


@click.command()
@click.argument("folder", type=click.Path(path_type=Path))
def backup(folder: Path) -> None:
    """Copy both databases and all files into FOLDER, which must not exist yet.

    Make one before every upgrade: a newer MLflow changes its database without asking, and the older one then
    refuses it.
    """
    with serving((POSTGRESQL, S3)) as settings:
        url = settings.require_database_url()
        made = back_up(url, Objects.of(settings), installed_programs(), folder, say)
    click.echo(f"{_sentence(made)} in {folder}")


@click.command()
@click.argument("folder", type=click.Path(path_type=Path))
def restore(folder: Path) -> None:
    """Bring the backup in FOLDER back, into a new home or empty databases."""
    with serving((POSTGRESQL, S3)) as settings:
        url = settings.require_database_url()
        for name in DATABASES:
            ensure_database(url, name)
        made = bring_back(url, Objects.of(settings), installed_programs(), folder, say)
    click.echo(f"{_sentence(made)} brought back, as of {made.made_at}")


def _sentence(made: Backup) -> str:
    return f"{' and '.join(made.databases)} and {len(made.objects):,} files"
