"""A real file system of a few megabytes, in a namespace of its own, so that nobody has to be root to mount it."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

_ENTER = ("unshare", "--user", "--map-root-user", "--mount", "sh", "-c")
_MOUNT = 'mount -t tmpfs -o "size=$2" none "$1" && echo mounted && cat'  # until its input ends


@dataclass(frozen=True)
class SmallDisk:
    """Whoever runs behind `prefix` finds it at `folder`; this process finds it at `seen`."""

    folder: Path
    holder: int

    @property
    def prefix(self) -> tuple[str, ...]:
        return ("nsenter", "--target", str(self.holder), "--user", "--mount", "--preserve-credentials", "--")

    @property
    def seen(self) -> Path:
        return Path(f"/proc/{self.holder}/root{self.folder}")

    def fill(self) -> None:
        """Leave not one byte."""
        with suppress(OSError), self._filling.open("ab", buffering=0) as file:
            while True:
                file.write(b"0" * 4096)

    def free(self) -> None:
        self._filling.unlink()

    @property
    def _filling(self) -> Path:
        return self.seen / "fill"


@contextmanager
def small_disk(folder: Path, megabytes: int) -> Iterator[SmallDisk]:
    """Mounted over `folder` until the block ends; skips where the system does not let us."""
    folder.mkdir()
    command = [*_ENTER, _MOUNT, "sh", str(folder), f"{megabytes}m"]
    try:
        holder = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    except FileNotFoundError:
        pytest.skip("a small disk takes the programs of util-linux: unshare and nsenter")
    with holder:
        assert holder.stdout is not None
        if holder.stdout.readline() != "mounted\n":
            pytest.skip("this system does not let one mount a file system in a namespace of one's own")
        yield SmallDisk(folder, holder.pid)
