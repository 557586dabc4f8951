"""Who is asking: an API key as a bearer token."""

from __future__ import annotations

import threading
import time
from collections.abc import Collection

from flask import Flask, g, request

from forecastle.access.principals import Principal, authenticate, key_digest
from forecastle.errors import NotAuthenticatedError
from forecastle.store.database import Database

REMEMBERED_SECONDS = 30.0
"""How long a key that was withdrawn may still be taken."""
MOST_REMEMBERED = 1_000


class Keys:
    """Looks keys up in the database, and remembers those it found for a while."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._lock = threading.Lock()
        self._known: dict[bytes, tuple[float, Principal]] = {}

    def principal_of(self, key: str) -> Principal:
        """Raises NotAuthenticatedError for a key that is not known."""
        digest, now = key_digest(key), time.monotonic()
        remembered = self._remembered(digest, now)
        if remembered is not None:
            return remembered
        principal = self._database.retrying(lambda connection: authenticate(connection, key))
        with self._lock:
            if len(self._known) >= MOST_REMEMBERED:
                self._known.clear()
            self._known[digest] = (now + REMEMBERED_SECONDS, principal)
        return principal

    def remembered(self, key: str) -> Principal | None:
        """Whose key it is, if that was found a moment ago."""
        return self._remembered(key_digest(key), time.monotonic())

    def _remembered(self, digest: bytes, now: float) -> Principal | None:
        found = self._known.get(digest)
        return found[1] if found is not None and found[0] > now else None


def register(app: Flask, keys: Keys, signed: Collection[tuple[str, str]] = ()) -> None:
    """Ask for a key before everything below /api/, before the body is looked at.

    What comes by the `signed` methods and paths bears a signature instead, which their views check.
    """

    @app.before_request
    def require_key() -> None:
        if request.path.startswith("/api/") and (request.method, request.path) not in signed:
            key = bearer_key(request.headers.get("Authorization", ""))
            if key is None:
                raise NotAuthenticatedError("send an API key: Authorization: Bearer KEY")
            g.principal = keys.principal_of(key)


def bearer_key(authorization: str) -> str | None:
    """The key in the header, if there is one."""
    scheme, _, key = authorization.partition(" ")
    return key.strip() or None if scheme.lower() == "bearer" else None


def current_principal() -> Principal:
    principal: Principal = g.principal
    return principal
