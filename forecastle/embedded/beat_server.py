"""The process that keeps the schedule of the jobs, as one more server that starts by itself."""

from __future__ import annotations

from pathlib import Path

from forecastle.embedded import worker_server
from forecastle.embedded.process import Server
from forecastle.settings import Settings

NAME = "beat"


def server(folder: Path, settings: Settings) -> Server:
    """The process of the schedule, handed its settings by environment."""
    return worker_server.process_with_file(NAME, "jobs.beat", folder, settings)
