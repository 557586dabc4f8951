"""The worker of the jobs, as one more server that starts by itself."""

from __future__ import annotations

import signal
import sys
import time
from pathlib import Path
from urllib.parse import unquote, urlsplit

from forecastle.embedded.facade_server import environment, secrets_of
from forecastle.embedded.process import Server
from forecastle.settings import Settings

NAME = "worker"
FRESH_SECONDS = 15.0
_ALIVE = "alive"


def server(folder: Path, settings: Settings) -> Server:
    """The worker, handed its settings by environment; it has no port, and says by a file that it is well."""
    return process_with_file(NAME, "jobs.worker", folder, settings)


def process_with_file(name: str, module: str, folder: Path, settings: Settings) -> Server:
    """A process of ours that touches a file in its folder as long as all is well."""
    file = folder / _ALIVE
    file.unlink(missing_ok=True)  # what another one left says nothing about this one
    address = file.as_uri()
    return Server(
        name=name,
        command=[sys.executable, "-m", module, "--alive", str(file)],
        environment=environment(folder, settings),
        folder=folder,
        address=address,
        is_ready=lambda: answers(address),
        setting="REDIS_URL",
        stop_signals=(signal.SIGTERM,),
        secrets=secrets_of(settings),
    )


def answers(address: str) -> bool:
    """Whether the file behind `address` was touched a moment ago; not in the future of a clock that was set back."""
    try:
        return abs(time.time() - Path(unquote(urlsplit(address).path)).stat().st_mtime) < FRESH_SECONDS
    except OSError:
        return False
