"""Moving production: intent, alias, confirmation, notice.

MLflow's aliases have no history and no author. The ledger has both, and is the truth: a version serves if and
only if the ledger's newest confirmed step names it and the digests of its files agree.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
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
class _Target:
    """What is to serve: a version, its approved files and where it comes from."""

    action: ledger.Action
    version: int
    files: tuple[ApprovedFile, ...]
    provenance: Mapping[str, str]


@dataclass(frozen=True)
class Promoter:
    """Moves production of registered models, and writes every move into the ledger."""

    database: Database
    objects: Objects
    aliases: AliasKeeper
    check: Callable[[str, VersionFiles], None]
    """Raises where the façade could not load a version of this registered model."""

    def promote(self, model_name: str, version: int, principal: Principal, reason: str) -> LedgerStep:
        """Let `version` serve.

        Raises NotAllowedError, NotFoundError, ConflictError where it already serves, and what `check` raises.
        """
        principal.require(Permission.PROMOTE)
        found = self.aliases.version_files(model_name, version)
        self.check(model_name, found)
        target = _Target("promote", version, self._keep(found), found.provenance)
        return self._move(model_name, principal, reason, lambda confirmed: target)

    def rollback(self, model_name: str, principal: Principal, reason: str) -> LedgerStep:
        """Let the version serve that served before.

        Raises NotFoundError where there was none, IntegrityError where its files are not what was approved.
        """
        principal.require(Permission.PROMOTE)
        return self._move(model_name, principal, reason, self._one_before)

    def _one_before(self, confirmed: Sequence[LedgerStep]) -> _Target:
        served = versions_served(step.promotion for step in confirmed)
        if len(served) < 2:
            raise NotFoundError("no earlier version served, there is nothing to go back to")
        approved = served[-2]
        approved_files(self.objects, approved)
        return _Target("rollback", approved.to_version, approved.files, approved.provenance)

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
        model_name: str,
        principal: Principal,
        reason: str,
        choose: Callable[[Sequence[LedgerStep]], _Target],
    ) -> LedgerStep:
        with self.database.transaction() as connection, ledger.locked(connection, model_name):
            self._undo_open_intents(connection, model_name)
            confirmed = ledger.confirmed_steps(connection, model_name)
            target = choose(confirmed)
            before = confirmed[-1].promotion.to_version if confirmed else None
            if before == target.version:
                raise ConflictError(f"{model_name} version {target.version} serves already")
            promotion = Promotion(
                promotion_id=new_id(),
                action=target.action,
                model_name=model_name,
                from_version=before,
                to_version=target.version,
                actor=principal.name,
                reason=reason,
                verdict=UNGATED,
                single_user_mode=principal.alone,
                files=target.files,
                provenance=target.provenance,
            )
            ledger.add_step(connection, promotion, "intent")
            connection.commit()  # whoever comes after a crash has to find it
            try:
                self._set_aliases(model_name, [step.promotion for step in confirmed] + [promotion])
            except ForecastleError:
                with suppress(ForecastleError):  # what cannot be undone now is undone before the next promotion
                    self._undo_open_intents(connection, model_name)
                raise
            ledger.add_step(connection, promotion, "confirmed")
            connection.commit()
            return ledger.confirmed_steps(connection, model_name)[-1]

    def _undo_open_intents(self, connection: Connection, model_name: str) -> None:
        """Put the aliases back where a promotion was cut off between its intent and its confirmation."""
        for step in ledger.open_intents(connection, model_name):
            confirmed = ledger.confirmed_steps(connection, model_name)
            self._set_aliases(model_name, [found.promotion for found in confirmed])
            ledger.add_step(connection, step.promotion, "undone")
        connection.commit()

    def _set_aliases(self, model_name: str, confirmed: Sequence[Promotion]) -> None:
        """Let `production` and `previous` name what these moves leave to serve, or nothing."""
        served = versions_served(confirmed)
        for alias, place in ((PRODUCTION, -1), (PREVIOUS, -2)):
            if len(served) >= -place:
                self.aliases.set_alias(model_name, alias, served[place].to_version)
            else:
                self.aliases.remove_alias(model_name, alias)


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


def approved_files(objects: Objects, promotion: Promotion) -> dict[str, bytes]:
    """The content of every approved file. Raises IntegrityError naming one that is not what was approved."""
    files = {}
    for file in promotion.files:
        try:
            content = objects.get(file.object_name)
        except NotFoundError:
            raise IntegrityError(_tampered(promotion, file, "is missing")) from None
        if digest_of(content) != file.sha256:
            raise IntegrityError(_tampered(promotion, file, "was changed after its approval"))
        files[file.name] = content
    return files


def _tampered(promotion: Promotion, file: ApprovedFile, what: str) -> str:
    where = f"{promotion.model_name} version {promotion.to_version}: {file.name}"
    return f"{where} {what} and is not loaded; `forecastle models promote` puts the approved files back"
