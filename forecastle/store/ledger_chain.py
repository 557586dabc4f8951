"""The hash chain of the ledger, held against its rows.

The database chains every step as it is written (migration 9). Here the hashes are computed anew, outside of it, from
what the rows say now.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

from forecastle.store.database import Connection

Damage = Literal["changed", "removed", "out of order"]
GENESIS = ""
"""What the first step has for the hash of the one before it."""


@dataclass(frozen=True)
class ChainedStep:
    """One row of the ledger: `content` is the text that was hashed, together with the hash `previous`."""

    step: int
    previous: str
    hash: str
    content: str
    chained_afterwards: bool = False


@dataclass(frozen=True)
class Break:
    """The first place where the chain does not hold, as a sentence too."""

    step: int
    damage: Damage
    detail: str


def hash_of(previous: str, content: str) -> str:
    """SHA-256 of a step, in hexadecimal digits."""
    return hashlib.sha256(f"{previous}\n{content}".encode()).hexdigest()


def find_break(steps: Iterable[ChainedStep]) -> Break | None:
    """The first step, in order of their numbers, that was changed, is missing, or stands where it was not written."""
    before = ChainedStep(0, "", GENESIS, "")
    for found in steps:
        if hash_of(found.previous, found.content) != found.hash:
            return Break(found.step, "changed", f"step {found.step} is not what was written: somebody changed it")
        if found.previous != before.hash:
            return _gap(before, found)
        before = found
    return None


def _gap(before: ChainedStep, found: ChainedStep) -> Break:
    first, last = before.step + 1, found.step - 1
    if first <= last and not found.chained_afterwards:
        missing = f"step {first} is" if first == last else f"steps {first} to {last} are"
        return Break(first, "removed", f"{missing} missing: somebody removed what stood there")
    told = f"step {found.step} was not written behind step {before.step}" if before.step else f"step {found.step}"
    return Break(found.step, "out of order", f"{told}: steps before it were removed, put in, reordered or written anew")


_CONTENT = (
    "jsonb_build_array(step, promotion_id, outcome, action, model_name, from_version, to_version, actor, reason, "
    "verdict, overridden, trained_by_actor, single_user_mode, files, provenance, "
    "to_char(recorded_at at time zone 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"'), chained_afterwards)::text"
)


def read_chain(connection: Connection) -> Iterator[ChainedStep]:
    """Every step in order of their numbers, a few at a time.

    The text is put together here once more: a function of the database might have been replaced.
    """
    with connection.cursor(name="ledger_chain") as cursor:
        cursor.execute(
            "select step, previous_hash, hash, chained_afterwards, " + _CONTENT + " as content "
            "from promotions order by step"
        )
        for row in cursor:
            yield ChainedStep(row["step"], row["previous_hash"], row["hash"], row["content"], row["chained_afterwards"])
