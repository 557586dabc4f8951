"""Who is asking, and what a role permits."""

from __future__ import annotations

import hashlib
import secrets
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from uuid import UUID

from forecastle.errors import ConfigurationError, ConflictError, NotAllowedError, NotAuthenticatedError, NotFoundError
from forecastle.store import job_runs
from forecastle.store import principals as rows
from forecastle.store.database import Connection

KEY_PREFIX = "fck_"


class Role(StrEnum):
    VIEWER = "viewer"
    MEMBER = "member"
    DATA_SCIENTIST = "data_scientist"
    REVIEWER = "reviewer"
    OPERATOR = "operator"
    ADMIN = "admin"


class Permission(StrEnum):
    READ = "read"
    PREDICT = "predict"
    IMPORT = "import"
    RECORD_OUTCOMES = "record outcomes"
    TRAIN = "train"
    PROMOTE = "promote"
    ADMINISTER = "administer"


_READ, _PREDICT, _IMPORT, _RECORD = Permission.READ, Permission.PREDICT, Permission.IMPORT, Permission.RECORD_OUTCOMES
# Who promotes goes by outcomes, and does not record them.
PERMISSIONS: dict[Role, frozenset[Permission]] = {
    Role.VIEWER: frozenset({_READ}),
    Role.MEMBER: frozenset({_READ, _PREDICT, _RECORD}),
    Role.DATA_SCIENTIST: frozenset({_READ, _PREDICT, _RECORD, _IMPORT, Permission.TRAIN}),
    Role.REVIEWER: frozenset({_READ, _PREDICT, Permission.PROMOTE}),
    Role.OPERATOR: frozenset({_READ, _PREDICT, _RECORD, _IMPORT, Permission.TRAIN}),
    Role.ADMIN: frozenset(Permission),
}


@dataclass(frozen=True)
class Principal:
    """Somebody with a role; the MLflow user name is the same name."""

    name: str
    role: Role
    alone: bool = False
    """True where nobody else is known: reviews by a second pair of eyes are impossible."""

    def require(self, permission: Permission) -> None:
        """Raises NotAllowedError where the role does not permit it."""
        if permission not in PERMISSIONS[self.role]:
            allowed = ", ".join(role for role, permissions in PERMISSIONS.items() if permission in permissions)
            raise NotAllowedError(f"{self.role} may not {permission}; it takes one of: {allowed}")


def key_digest(key: str) -> bytes:
    # A plain hash is enough: keys are 256 random bits, nothing that could be guessed.
    return hashlib.sha256(key.encode()).digest()


def add_user(connection: Connection, name: str, role: Role) -> str:
    """Make a principal and return its API key, which is shown once and stored nowhere.

    Raises ConflictError where the name is taken.
    """
    key = KEY_PREFIX + secrets.token_urlsafe(32)
    if not rows.insert_principal(connection, name, role.value, key_digest(key)):
        raise ConflictError(f"there is already a user {name}; `forecastle users list` shows who exists")
    return key


def disable_user(connection: Connection, name: str) -> None:
    """Withdraw a principal and all its keys; what it did keeps its name.

    Raises NotFoundError, ConflictError for the last admin.
    """
    admins = [user.name for user in rows.list_enabled(connection) if user.role == Role.ADMIN]
    if admins == [name]:
        raise ConflictError(f"{name} is the last admin; add another one first")
    if not rows.disable(connection, name):
        raise NotFoundError(f"no user {name} that could be disabled; `forecastle users list` shows who exists")


def authenticate(connection: Connection, key: str) -> Principal:
    """The principal behind an API key. Raises NotAuthenticatedError."""
    row = rows.find_by_key_digest(connection, key_digest(key))
    if row is None:
        raise NotAuthenticatedError("this API key is not known; `forecastle users add` makes one")
    return Principal(row.name, Role(row.role), alone=rows.count_enabled(connection) == 1)


def find_principal(connection: Connection, name: str) -> Principal | None:
    """Who bears this name, unless withdrawn."""
    row = rows.find_enabled(connection, name)
    return None if row is None else Principal(row.name, Role(row.role), alone=rows.count_enabled(connection) == 1)


def on_behalf_of(connection: Connection, run_id: str) -> Principal:
    """Who planned the run of a job that a worker holds now; the schedule is an operator.

    Raises NotAuthenticatedError where nobody holds it, or its planner was withdrawn.
    """
    with suppress(ValueError, NotFoundError):
        run = job_runs.get_run(connection, UUID(run_id))
        if run.lease_token is not None and run.due_key is not None:
            return Principal(run.planned_by, Role.OPERATOR)
        found = find_principal(connection, run.planned_by)
        if run.lease_token is not None and found is not None:
            return found
    raise NotAuthenticatedError("no worker holds this run of a job, or who planned it was withdrawn")


def at_command_line(connection: Connection, key: str | None) -> Principal:
    """Who is at the command line: the owner of the key, or the only user there is.

    Raises NotAuthenticatedError where several users exist and no key says which one this is.
    """
    if key is not None:
        return authenticate(connection, key)
    enabled = rows.list_enabled(connection)
    if not enabled:
        raise ConfigurationError("nobody is known yet; `forecastle users add NAME --role admin` makes the first user")
    if len(enabled) > 1:
        raise NotAuthenticatedError("several users exist: set FORECASTLE_API_KEY to say which one you are")
    return Principal(enabled[0].name, Role(enabled[0].role), alone=True)
