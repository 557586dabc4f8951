"""Moving production: intent, alias, confirmation, notice.

MLflow's aliases have no history and no author. The ledger has both, and is the truth: a version serves if and
only if the ledger's newest confirmed step names it and the digests of its files agree.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

from forecastle.access.principals import Permission, Principal
from forecastle.errors import (
    ConflictError,
    ForecastleError,
    IntegrityError,
    NotFoundError,
    PreconditionFailedError,
)
from forecastle.registry.aliases import PRODUCTION, AliasKeeper, VersionFiles, point_aliases
from forecastle.registry.review import VERDICT_TAG, Review, review
from forecastle.registry.served import approved_files, head_of, moves_of, versions_served
from forecastle.settings import FourEyes
from forecastle.store import promotions as ledger
from forecastle.store.database import Connection, Database
from forecastle.store.gate_looks import find_head, find_verdict
from forecastle.store.identifiers import new_id
from forecastle.store.objects import Objects, digest_of
from forecastle.store.promotions import ApprovedFile, LedgerStep, Promotion

LEDGER_TAG = "ledger.step"
"""The tag of a version that names the step by which it was last moved into production, and its hash."""


@dataclass(frozen=True)
class PutBack:
    """What the alias `production` named in MLflow, and what it was made to name again; None is no version."""

    found: int | None
    serving: int | None


@dataclass(frozen=True)
class _Target:
    """What is to serve: a version, its approved files, where it comes from, and what was said of it."""

    action: ledger.Action
    version: int
    files: tuple[ApprovedFile, ...]
    provenance: Mapping[str, str]
    review: Review


@dataclass(frozen=True)
class Promoter:
    """Moves production of registered models, and writes every move into the ledger.

    Moves take the `head` that the caller has seen (`head_of`), and raise PreconditionFailedError where production was
    moved since; without it they move whatever is there.
    """

    database: Database
    objects: Objects
    aliases: AliasKeeper
    check: Callable[[str, VersionFiles], None]
    """Raises where the façade could not load a version of this registered model."""
    four_eyes: FourEyes = "unless-alone"

    def promote(
        self,
        model_name: str,
        version: int,
        principal: Principal,
        reason: str,
        *,
        override: bool = False,
        head: str | None = None,
        adopting: bool = False,
    ) -> LedgerStep:
        """Let `version` serve; where `adopting`, only if `production` names it in MLflow already.

        Raises NotAllowedError, NotFoundError, ConflictError where it already serves, and what `check` raises.
        """
        principal.require(Permission.PROMOTE)
        found = self.aliases.version_files(model_name, version)
        provenance = self.with_verdict(found.provenance["run_id"], found.provenance)

        def choose(confirmed: Sequence[LedgerStep]) -> _Target:
            if adopting and self.aliases.find_alias(model_name, PRODUCTION) != version:
                raise PreconditionFailedError(f"production of {model_name} was moved in MLflow meanwhile")
            if confirmed and confirmed[-1].promotion.to_version == version:
                self._put_back(found, confirmed[-1].promotion)
            reviewed = review(provenance, principal, override=override, first=not confirmed, four_eyes=self.four_eyes)
            self.check(model_name, found)
            return _Target("promote", version, self._keep(found), found.provenance, reviewed)

        return self._move(model_name, principal, reason, head, choose)

    def with_verdict(self, run_id: str, tags: Mapping[str, str]) -> Mapping[str, str]:
        """The tags of a run's version with the verdict that the gate wrote down; those in MLflow can be edited."""
        with self.database.transaction() as connection:
            verdict = find_verdict(connection, run_id)
        return tags if verdict is None else {**tags, VERDICT_TAG: verdict}

    def head_at_gate(self, run_id: str) -> str:
        """The head against which the gate decided on this run's version. Raises PreconditionFailedError without."""
        with self.database.transaction() as connection:
            head = find_head(connection, run_id)
        if head is None:
            raise PreconditionFailedError("nothing says what its gate had compared it with")
        return head

    def rollback(self, model_name: str, principal: Principal, reason: str, *, head: str | None = None) -> LedgerStep:
        """Let the version serve that served before. It was reviewed when it was promoted, and is not anew.

        Raises NotFoundError where there was none, IntegrityError where its files are not what was approved.
        """
        principal.require(Permission.PROMOTE)

        def choose(confirmed: Sequence[LedgerStep]) -> _Target:
            approved = self._one_before(confirmed)
            own = approved.provenance.get("trained_by") == principal.name
            reviewed = Review(approved.verdict, overridden=False, trained_by_actor=own)
            return _Target("rollback", approved.to_version, approved.files, approved.provenance, reviewed)

        return self._move(model_name, principal, reason, head, choose)

    def finish_or_undo(self, model_name: str) -> list[LedgerStep]:
        """Settle what was interrupted; returns the steps that this took.

        A move is finished where its alias stands, production is what it was moved from, and its files are the approved
        ones; else it is undone. A move that is under way is waited for. Raises ServerError, ConflictError.
        """
        with self.database.transaction() as connection, ledger.locked(connection, model_name):
            return self._settle(connection, model_name)

    def interrupted(self) -> list[str]:
        """Registered models that `finish_or_undo` should look at; their moves may be under way as well."""
        with self.database.transaction() as connection:
            return sorted({step.promotion.model_name for step in ledger.open_intents(connection)})

    def restore_aliases(self, model_name: str) -> PutBack | None:
        """Let `production` and `previous` name what the ledger says, whatever was made of them in MLflow.

        None where `production` names what it named before: somebody else put it back, or its version was deleted.
        """
        with self.database.transaction() as connection, ledger.locked(connection, model_name):
            self._settle(connection, model_name)
            found = self.aliases.find_alias(model_name, PRODUCTION)
            point_aliases(self.aliases, model_name, moves_of(ledger.confirmed_steps(connection, model_name)))
            put_back = PutBack(found, self.aliases.find_alias(model_name, PRODUCTION))
        return None if put_back.found == put_back.serving else put_back

    def _one_before(self, confirmed: Sequence[LedgerStep]) -> Promotion:
        served = versions_served(moves_of(confirmed))
        if len(served) < 2:
            raise NotFoundError("no earlier version served, there is nothing to go back to")
        approved_files(self.objects, served[-2])
        return served[-2]

    def _keep(self, found: VersionFiles) -> tuple[ApprovedFile, ...]:
        """Copy every file under its digest, out of reach of whoever may write the run."""
        kept = []
        for name, content in sorted(found.files.items()):
            file = ApprovedFile(name, digest_of(content), len(content))
            self.objects.put(file.object_name, content)  # again where it is there: what was changed is mended
            kept.append(file)
        return tuple(kept)

    def _put_back(self, found: VersionFiles, serving: Promotion) -> None:
        """What serves needs no second review: mend its approved files, and say that nothing moves.

        Raises ConflictError; IntegrityError where MLflow holds other files than those that were approved.
        """
        name = f"{serving.model_name} version {serving.to_version}"
        if not {file.sha256 for file in serving.files} <= {digest_of(content) for content in found.files.values()}:
            raise IntegrityError(f"{name}: MLflow holds other files than those that were approved; roll back instead")
        self._keep(found)
        raise ConflictError(f"{name} serves already; its approved files were put back")

    def _move(
        self,
        model_name: str,
        principal: Principal,
        reason: str,
        head: str | None,
        choose: Callable[[Sequence[LedgerStep]], _Target],
    ) -> LedgerStep:
        with self.database.transaction() as connection, ledger.locked(connection, model_name):
            self._settle(connection, model_name)
            confirmed = ledger.confirmed_steps(connection, model_name)
            connection.commit()  # nothing is held while files are copied
            if head not in (None, head_of(confirmed)):
                raise PreconditionFailedError(
                    f"production of {model_name} was moved meanwhile: look at what serves now"
                )
            target = choose(confirmed)
            before = confirmed[-1].promotion.to_version if confirmed else None
            if before == target.version:
                raise ConflictError(f"{model_name} version {target.version} serves already")
            promotion = _promotion(model_name, before, target, principal, reason)
            intent = ledger.add_step(connection, promotion, "intent")
            try:
                self._witness(intent)
                point_aliases(self.aliases, model_name, [*moves_of(confirmed), promotion])
            except ForecastleError:
                with suppress(ForecastleError):  # what cannot be undone now is settled before the next move
                    self._undo(connection, promotion)
                raise
            return ledger.add_step(connection, promotion, "confirmed")

    def _settle(self, connection: Connection, model_name: str) -> list[LedgerStep]:
        """Finish or undo what was cut off between its intent and its confirmation."""
        settled = []
        for step in ledger.open_intents(connection, model_name):
            confirmed = ledger.confirmed_steps(connection, model_name)
            if self._is_all_but_confirmed(step.promotion, confirmed):
                point_aliases(self.aliases, model_name, [*moves_of(confirmed), step.promotion])
                settled.append(ledger.add_step(connection, step.promotion, "confirmed"))
            else:
                settled.append(self._undo(connection, step.promotion))
        return settled

    def _is_all_but_confirmed(self, promotion: Promotion, confirmed: Sequence[LedgerStep]) -> bool:
        before = confirmed[-1].promotion.to_version if confirmed else None
        if before != promotion.from_version:
            return False
        if self.aliases.find_alias(promotion.model_name, PRODUCTION) != promotion.to_version:
            return False
        try:
            approved_files(self.objects, promotion)
        except IntegrityError:
            return False
        return True

    def _undo(self, connection: Connection, promotion: Promotion) -> LedgerStep:
        """Put the aliases back, and say so."""
        point_aliases(
            self.aliases, promotion.model_name, moves_of(ledger.confirmed_steps(connection, promotion.model_name))
        )
        return ledger.add_step(connection, promotion, "undone")

    def _witness(self, intent: LedgerStep) -> None:
        """Keep the hash of this step on the version in MLflow, where the ledger's end cannot be cut off unnoticed."""
        promotion = intent.promotion
        with suppress(NotFoundError):
            value = f"{intent.step} {intent.hash}"
            self.aliases.set_tag(promotion.model_name, promotion.to_version, LEDGER_TAG, value)


def _promotion(model_name: str, before: int | None, target: _Target, principal: Principal, reason: str) -> Promotion:
    return Promotion(
        promotion_id=new_id(),
        action=target.action,
        model_name=model_name,
        from_version=before,
        to_version=target.version,
        actor=principal.name,
        reason=reason,
        verdict=target.review.verdict,
        single_user_mode=principal.alone,
        files=target.files,
        provenance=target.provenance,
        overridden=target.review.overridden,
        trained_by_actor=target.review.trained_by_actor,
    )
