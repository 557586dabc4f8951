"""Is the ledger what was written? Its chain, and what others remember of it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from forecastle.registry.mlflow_rest import Version
from forecastle.registry.promotions import LEDGER_TAG
from forecastle.store.database import Connection
from forecastle.store.ledger_chain import GENESIS, Break, ChainedStep, find_break, read_chain


@dataclass(frozen=True)
class Witness:
    """Somebody outside of the ledger who remembers the hash of a step; `step` is 0 where its number is not known."""

    who: str
    step: int
    hash: str


@dataclass(frozen=True)
class Verification:
    """How many steps there are, the hash of the newest, the first break if any, and how many witnesses were heard."""

    steps: int
    head: str
    broken: Break | None
    witnesses: int


def verify(connection: Connection, witnesses: Sequence[Witness] = ()) -> Verification:
    """Recompute the chain, and look for every step that somebody remembers.

    A chain says nothing of its end: the newest steps could be cut off. Who remembers one of them notices.
    """
    hashes: dict[str, int] = {}

    def noting() -> Iterator[ChainedStep]:
        for step in read_chain(connection):
            hashes[step.hash] = step.step
            yield step

    broken = find_break(noting()) or _forgotten(hashes.keys(), witnesses)
    return Verification(len(hashes), next(reversed(hashes), GENESIS), broken, len(witnesses))


def witnesses_of(versions: Iterable[Version]) -> list[Witness]:
    """What versions in MLflow remember: the step by which they were last moved into production."""
    found = []
    for version in versions:
        step, _, digest = version.tags.get(LEDGER_TAG, "").partition(" ")
        if step.isdecimal() and digest:
            found.append(Witness(f"{version.name} version {version.version} in MLflow", int(step), digest))
    return found


def _forgotten(hashes: Iterable[str], witnesses: Iterable[Witness]) -> Break | None:
    known = set(hashes)
    lost = [witness for witness in witnesses if witness.hash not in known]
    if not lost:
        return None
    first = min(lost, key=lambda witness: witness.step)
    named = f"step {first.step}" if first.step else "a step"
    detail = f"{named} is not in the ledger as {first.who} remembers it: the newest steps were cut off or written anew"
    return Break(first.step, "removed", detail)
