"""`forecastle up` as a process of its own, which outlives the terminal."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Sequence

from cli.rooms import say
from forecastle.embedded.home import Home
from forecastle.embedded.logs import Follower
from forecastle.embedded.process import keep_log_small
from forecastle.embedded.supervision import NAME, read
from forecastle.errors import ServerError

_POLL_SECONDS = 0.1


def start_in_background(home: Home, arguments: Sequence[str]) -> None:
    """Start this command with these arguments and return when its servers are ready.

    Shows what it says meanwhile. Raises ServerError when it ends before.
    """
    log = home.log(NAME)
    keep_log_small(log)
    follower = Follower(home, (NAME,))
    with os.fdopen(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "ab") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "cli.main", *arguments],
            env={**os.environ, "FORECASTLE_HOME": str(home.path)},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        while not _is_ready(home, process):
            _show(follower)
            time.sleep(_POLL_SECONDS)
    except BaseException:
        process.terminate()
        raise
    finally:
        _show(follower)
    say(f"ready, in the background as process {process.pid}; `forecastle down` stops it, its log is {log}")


def _is_ready(home: Home, process: subprocess.Popen[bytes]) -> bool:
    code = process.poll()
    if code is not None:
        raise ServerError(f"the servers were not started (exit code {code}); the reason stands above and in the log")
    found = read(home)
    return found is not None and found.pid == process.pid and found.is_ready


def _show(follower: Follower) -> None:
    for _, line in follower.read():
        say(line)
