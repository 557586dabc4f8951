"""What a PostgreSQL server says of itself."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from forecastle.store.database import Connection


@dataclass(frozen=True)
class ServerFacts:
    """`version` as PostgreSQL counts (180004 is 18.4), `now` by the server's clock."""

    version: int
    now: datetime


def read_server_facts(connection: Connection) -> ServerFacts:
    row = connection.execute(
        "select current_setting('server_version_num')::int as version, clock_timestamp() as now"
    ).fetchone()
    assert row is not None
    return ServerFacts(row["version"], row["now"])
