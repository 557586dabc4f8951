"""A copy of everything: both databases and all files, in one folder."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import unquote, urlsplit

import psycopg

from forecastle import __version__
from forecastle.errors import ConflictError, InputError, ServerError
from forecastle.store.database import with_database
from forecastle.store.objects import Objects, digest_of

DATABASES = ("forecastle", "mlflow")
MANIFEST = "backup.json"
Progress = Callable[[str], None]


@dataclass(frozen=True)
class Backup:
    """What a backup holds: the dumps, and the digest of every file by its name among the objects."""

    made_at: str
    version: str
    databases: tuple[str, ...]
    objects: Mapping[str, str]


def back_up(url: str, objects: Objects, programs: Path, target: Path, on_progress: Progress) -> Backup:
    """Copy the databases and then the files into `target`, which appears whole or not at all.

    Files are written before a row names them and never changed, so that files copied after the rows hold all that
    the rows name. Raises ConflictError where `target` exists, ServerError where a database cannot be dumped.
    """
    if target.exists():
        raise ConflictError(f"{target} exists already; name a folder that does not")
    unfinished = target.with_name(f".{target.name}.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(mode=0o700, parents=True)
    found = tuple(name for name in DATABASES if _exists(with_database(url, name)))
    for name in found:
        on_progress(f"dumping the database {name}")
        _run([str(programs / "pg_dump"), "--format=custom", f"--file={unfinished / name}.dump"], url, name)
    on_progress("copying files")
    digests = {name: _copy(objects, name, unfinished / "objects") for name in objects.list()}
    backup = Backup(datetime.now(UTC).isoformat(timespec="seconds"), __version__, found, digests)
    (unfinished / MANIFEST).write_text(json.dumps(asdict(backup), indent=1))
    unfinished.rename(target)
    return backup


def restore(url: str, objects: Objects, programs: Path, source: Path, on_progress: Progress) -> Backup:
    """Bring a backup back into databases that are empty, and its files among the objects.

    Raises InputError where `source` is no backup or a file of it was changed, ConflictError where a database holds
    tables, ServerError where one cannot be filled.
    """
    try:
        told = json.loads((source / MANIFEST).read_text())
        backup = Backup(told["made_at"], told["version"], tuple(told["databases"]), told["objects"])
    except (OSError, ValueError, KeyError, TypeError):
        raise InputError(f"{source} is no backup: it has no readable {MANIFEST}") from None
    for name in backup.databases:
        if _tables(with_database(url, name)):
            raise ConflictError(f"the database {name} holds tables already; restore into a new home or new databases")
    on_progress(f"bringing back {len(backup.objects):,} files")
    for name, digest in backup.objects.items():
        content = (source / "objects" / name).read_bytes()
        if digest_of(content) != digest:
            raise InputError(f"the file {name} of the backup was changed since it was made")
        objects.put(name, content)
    for name in backup.databases:
        on_progress(f"filling the database {name}")
        dump = str(source / f"{name}.dump")
        _run([str(programs / "pg_restore"), "--no-owner", "--exit-on-error", f"--dbname={name}", dump], url, name)
    return backup


def _copy(objects: Objects, name: str, folder: Path) -> str:
    content = objects.get(name)
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return digest_of(content)


def _exists(url: str) -> bool:
    try:
        psycopg.connect(url, connect_timeout=5).close()
    except psycopg.OperationalError:
        return False
    return True


def _tables(url: str) -> int:
    try:
        with psycopg.connect(url, connect_timeout=5) as connection:
            row = connection.execute("select count(*) from pg_tables where schemaname = 'public'").fetchone()
    except psycopg.OperationalError:
        raise ServerError("a database of the backup is not there; make it, or start with an empty home") from None
    return int(row[0]) if row else 0


def _run(command: list[str], url: str, database: str) -> None:
    """Run a program of PostgreSQL; the password goes by environment, as anybody may read a command line."""
    parts = urlsplit(url)
    environment = {
        "PATH": os.defpath,
        "PGHOST": parts.hostname or "",
        "PGPORT": str(parts.port or 5432),
        "PGUSER": unquote(parts.username or ""),
        "PGPASSWORD": unquote(parts.password or ""),
        "PGDATABASE": database,
    }
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
        raise ServerError(f"{Path(command[0]).name} failed for the database {database}: {reason}")
