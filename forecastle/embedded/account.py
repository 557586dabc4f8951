"""The account that PostgreSQL runs under: it refuses root, and users that have no name.

An ordinary user runs it directly. For the others a user namespace gives the process another number
while its files stay the caller's; where that is forbidden, root hands over to `nobody`.
"""

from __future__ import annotations

import ctypes
import os
import pwd
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from forecastle.embedded.process import LIBC, stay
from forecastle.errors import ServerError

_CLONE_NEWUSER = 0x10000000
_GUEST = "nobody"


@dataclass(frozen=True)
class Account:
    """Who owns the files, and how a child becomes that user between fork and exec."""

    uid: int
    gid: int
    enter: Callable[[], None] = stay

    @property
    def is_guest(self) -> bool:
        """Whether it is another user than ours, one that may not walk through our folders."""
        return self.uid != os.geteuid()

    def can_run(self, *command: str) -> bool:
        """Whether this account may exist here and execute `command`."""
        try:
            done = subprocess.run(command, cwd="/", env={}, capture_output=True, check=False, preexec_fn=self.enter)
        except (OSError, subprocess.SubprocessError):
            return False
        return done.returncode == 0


def choose_account(*, namespaces: bool = True) -> Account:
    """The first account that works here; `namespaces=False` leaves that way out.

    Raises ServerError where none does.
    """
    uid, gid = os.geteuid(), os.getegid()
    if uid != 0 and _has_name(uid):
        return Account(uid, gid)
    candidates = []
    if _has_name(_GUEST):
        entry = pwd.getpwnam(_GUEST)
        guest = entry.pw_uid, entry.pw_gid
        if namespaces and LIBC is not None:
            candidates.append(Account(uid, gid, partial(_enter_namespace, (uid, gid), guest)))
        if uid == 0:
            candidates.append(Account(*guest, partial(_become, *guest)))
    for account in candidates:
        if account.can_run("/bin/sh", "-c", ":"):
            return account
    raise ServerError(
        "PostgreSQL runs neither as root nor as a user without a name, and this system has no way around; "
        "start Forecastle as an ordinary user, or set DATABASE_URL to a server of your own"
    )


def hand_over(folder: Path, account: Account) -> None:
    """Make `folder` and all in it the account's own; the folder itself last, as it is what is looked at."""
    if os.geteuid() != 0 or folder.stat().st_uid == account.uid:
        return
    for root, folders, files in os.walk(folder, topdown=False):
        for name in (*files, *folders):
            os.chown(Path(root, name), account.uid, account.gid, follow_symlinks=False)
    os.chown(folder, account.uid, account.gid)


def _has_name(user: int | str) -> bool:
    try:
        _ = pwd.getpwuid(user) if isinstance(user, int) else pwd.getpwnam(user)
    except KeyError:
        return False
    return True


def _enter_namespace(outside: tuple[int, int], inside: tuple[int, int]) -> None:
    assert LIBC is not None
    if LIBC.unshare(_CLONE_NEWUSER) != 0:
        raise OSError(ctypes.get_errno(), "unshare")
    for name, text in (
        ("setgroups", "deny"),  # the kernel wants this before a group is mapped
        ("uid_map", f"{inside[0]} {outside[0]} 1"),
        ("gid_map", f"{inside[1]} {outside[1]} 1"),
    ):
        descriptor = os.open(f"/proc/self/{name}", os.O_WRONLY)
        os.write(descriptor, text.encode())
        os.close(descriptor)


def _become(uid: int, gid: int) -> None:
    os.setgroups([])
    os.setgid(gid)
    os.setuid(uid)
