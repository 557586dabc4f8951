"""Principals and the digests of their API keys."""

from __future__ import annotations

from dataclasses import dataclass

from forecastle.store.database import Connection
from forecastle.store.identifiers import new_id
from forecastle.store.tenants import default_organisation


@dataclass(frozen=True)
class PrincipalRow:
    name: str
    role: str


def insert_principal(connection: Connection, name: str, role: str, digest: bytes) -> bool:
    """Insert a principal with one key; False where the name is taken."""
    inserted = connection.execute(
        "insert into principals (id, organisation_id, name, role) values (%s, %s, %s, %s) "
        "on conflict (name) do nothing returning id",
        (new_id(), default_organisation(connection), name, role),
    ).fetchone()
    if inserted is None:
        return False
    connection.execute(
        "insert into api_keys (id, principal_id, digest) values (%s, %s, %s)",
        (new_id(), inserted["id"], digest),
    )
    return True


def disable(connection: Connection, name: str) -> bool:
    """Withdraw a principal; False where there is none of this name that is not withdrawn already."""
    done = connection.execute(
        "update principals set disabled_at = now() where name = %s and disabled_at is null", (name,)
    )
    return done.rowcount == 1


def find_by_key_digest(connection: Connection, digest: bytes) -> PrincipalRow | None:
    """Whose key this is, unless key or principal were withdrawn."""
    row = connection.execute(
        "select name, role from principals join api_keys on api_keys.principal_id = principals.id "
        "where digest = %s and revoked_at is null and disabled_at is null",
        (digest,),
    ).fetchone()
    return None if row is None else PrincipalRow(row["name"], row["role"])


def find_enabled(connection: Connection, name: str) -> PrincipalRow | None:
    """A principal by name, unless withdrawn."""
    row = connection.execute(
        "select name, role from principals where name = %s and disabled_at is null", (name,)
    ).fetchone()
    return None if row is None else PrincipalRow(row["name"], row["role"])


def list_enabled(connection: Connection) -> list[PrincipalRow]:
    rows = connection.execute("select name, role from principals where disabled_at is null order by name")
    return [PrincipalRow(row["name"], row["role"]) for row in rows]


def count_enabled(connection: Connection) -> int:
    return len(list_enabled(connection))
