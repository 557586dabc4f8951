"""The aliases of registered models in MLflow, and what moving them asks of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol

from forecastle.errors import NotFoundError
from forecastle.registry.served import versions_served
from forecastle.store.promotions import Promotion

PRODUCTION, STAGING, PREVIOUS = "production", "staging", "previous"


@dataclass(frozen=True)
class VersionFiles:
    """Everything that makes up a version: the content of each file, and where the version comes from."""

    version: int
    files: Mapping[str, bytes]
    provenance: Mapping[str, str]


class AliasKeeper(Protocol):
    """What a promotion needs of MLflow. All but `find_alias` raise NotFoundError for what is not there."""

    def version_files(self, name: str, version: int) -> VersionFiles: ...

    def find_alias(self, name: str, alias: str) -> int | None: ...

    def set_alias(self, name: str, alias: str, version: int) -> None: ...

    def remove_alias(self, name: str, alias: str) -> None: ...

    def set_tag(self, name: str, version: int, key: str, value: str) -> None: ...


def point_aliases(keeper: AliasKeeper, model_name: str, moves: Sequence[Promotion]) -> None:
    """Let `production` and `previous` name what these moves leave to serve, or nothing. Raises ServerError."""
    served = versions_served(moves)
    for alias, place in ((PRODUCTION, -1), (PREVIOUS, -2)):
        try:
            if len(served) < -place:
                keeper.remove_alias(model_name, alias)
            else:
                keeper.set_alias(model_name, alias, served[place].to_version)
        except NotFoundError:  # deleted in MLflow; the ledger and its files do without
            with suppress(NotFoundError):
                keeper.remove_alias(model_name, alias)
