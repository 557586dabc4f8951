"""Moving production: intent, alias, confirmation, notice.

MLflow's aliases have no history and no author. The ledger has both, and is the truth: a version serves if and
only if the ledger's newest confirmed step names it and the digests of its files agree.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol

from forecastle.access.principals import Permission, Principal
from forecastle.errors import ConflictError, ForecastleError, IntegrityError, NotFoundError
from forecastle.store import promotions as ledger
from forecastle.store.database import Connection, Database
from forecastle.store.identifiers import new_id
from forecastle.store.objects import Objects, digest_of
from forecastle.store.promotions import ApprovedFile, LedgerStep, Promotion

PRODUCTION, STAGING, PREVIOUS = "production", "staging", "previous"
UNGATED = "UNGATED"  # the verdict of a promotion that no gate has looked at


@dataclass(frozen=True)
class VersionFiles:
    """Everything that makes up a version: the content of each file, and where the version comes from."""

    version: int
    files: Mapping[str, bytes]
    provenance: Mapping[str, str]


class AliasKeeper(Protocol):
    """What a promotion needs of MLflow."""

    def version_files(self, name: str, version: int) -> VersionFiles: ...

    def set_alias(self, name: str, alias: str, version: int) -> None: ...

    def remove_alias(self, name: str, alias: str) -> None: ...


@dataclass(frozen=True)
class Promoter:
    """Moves production of registered models, and writes every move into the ledger."""

    database: Database
    objects: Objects
    aliases: AliasKeeper

    def promote(self, model_name: str, version: int, principal: Principal, reason: str) -> LedgerStep:
        """Let `version` serve. Raises NotAllowedError, NotFoundError, ConflictError where it already serves."""
        principal.require(Permission.PROMOTE)
        found = self.aliases.version_files(model_name, version)
        return self._move("promote", model_name, version, self._keep(found), found.provenance, principal, reason)

    def rollback(self, model_name: str, principal: Principal, reason: str) -> LedgerStep:
        """Let the version serve that served before. Raises NotFoundError where there was none."""
        principal.require(Permission.PROMOTE)
        with self.database.transaction() as connection:
            served = versions_served(_confirmed(connection, model_name))
        if len(served) < 2:
            raise NotFoundError(f"{model_name}: no earlier version served, there is nothing to go back to")
        approved = served[-2]
        return self._move(
            "rollback", model_name, approved.to_version, approved.files, approved.provenance, principal, reason
        )

    def _keep(self, found: VersionFiles) -> tuple[ApprovedFile, ...]:
        """Copy every file under its digest, out of reach of whoever may write the run."""
        kept = []
        for name, content in sorted(found.files.items()):
            file = ApprovedFile(name, digest_of(content), len(content))
            self.objects.put(file.object_name, content)  # again where it is there: what was changed is mended
            kept.append(file)
        return tuple(kept)

    def _move(
        self,
        action: ledger.Action,
        model_name: str,
        version: int,
        files: tuple[ApprovedFile, ...],
        provenance: Mapping[str, str],
        principal: Principal,
        reason: str,
    ) -> LedgerStep:
        with self.database.transaction() as holding:
            ledger.lock_model(holding, model_name)
            self._undo_open_intents(model_name)
            serving = ledger.serving(holding, model_name).get(model_name)
            before = serving.promotion.to_version if serving else None
            if before == version:
                raise ConflictError(f"{model_name} version {version} serves already")
            promotion = Promotion(
                new_id(), action, model_name, before, version, principal.name, reason, UNGATED, principal.alone, files,
                provenance,
            )  # fmt: skip
            self._add(promotion, "intent")
            try:
                self._set_aliases(model_name, versions_served([*_confirmed(holding, model_name), promotion]))
            except ForecastleError:
                with suppress(ForecastleError):  # what cannot be undone now is undone before the next promotion
                    self._undo_open_intents(model_name)
                raise
            self._add(promotion, "confirmed")
            return ledger.serving(holding, model_name)[model_name]

    def _undo_open_intents(self, model_name: str) -> None:
        """Put the aliases back where a promotion was cut off between its intent and its confirmation."""
        with self.database.transaction() as connection:
            for step in ledger.open_intents(connection, model_name):
                self._set_aliases(model_name, versions_served(_confirmed(connection, model_name)))
                ledger.add_step(connection, step.promotion, "undone")

    def _set_aliases(self, model_name: str, served: Sequence[Promotion]) -> None:
        """Let `production` and `previous` name what the ledger says, or nothing."""
        for alias, place in ((PRODUCTION, -1), (PREVIOUS, -2)):
            if len(served) >= -place:
                self.aliases.set_alias(model_name, alias, served[place].to_version)
            else:
                self.aliases.remove_alias(model_name, alias)

    def _add(self, promotion: Promotion, outcome: ledger.Outcome) -> None:
        with self.database.transaction() as connection:
            ledger.add_step(connection, promotion, outcome)


def versions_served(confirmed: Iterable[Promotion]) -> list[Promotion]:
    """What `confirmed` moves, oldest first, leave to serve: the last one serves, the one before it is `previous`.

    Rolling back twice goes back two versions and does not return to the one that was rolled back from.
    """
    served: list[Promotion] = []
    for promotion in confirmed:
        if promotion.action == "promote":
            served.append(promotion)
        while promotion.action == "rollback" and served and served[-1].to_version != promotion.to_version:
            served.pop()
    return served


def _confirmed(connection: Connection, model_name: str) -> list[Promotion]:
    return [step.promotion for step in ledger.confirmed_steps(connection, model_name)]


def approved_files(objects: Objects, step: LedgerStep) -> dict[str, bytes]:
    """The content of every approved file. Raises IntegrityError naming one that is not what was approved."""
    files = {}
    for file in step.promotion.files:
        try:
            content = objects.get(file.object_name)
        except NotFoundError:
            raise IntegrityError(_tampered(step, file, "is missing")) from None
        if digest_of(content) != file.sha256:
            raise IntegrityError(_tampered(step, file, "was changed after its approval"))
        files[file.name] = content
    return files


def _tampered(step: LedgerStep, file: ApprovedFile, what: str) -> str:
    moved = step.promotion
    return f"{moved.model_name} version {moved.to_version}: {file.name} {what}; it is not loaded, promote it anew"
