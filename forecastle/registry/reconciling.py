"""Holding MLflow's aliases against the ledger: what was cut off is settled, what somebody moved there is heard.

A move of `production` in MLflow is adopted where a reviewer could have promoted the version; else the alias is put
back, and the version says why. The ledger alone decides what serves, before, during and after.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Protocol

from forecastle.access.principals import Principal, Role, find_principal
from forecastle.errors import (
    ConfigurationError,
    ForecastleError,
    IntegrityError,
    NotAllowedError,
    NotFoundError,
    ServerError,
)
from forecastle.registry.aliases import PREVIOUS, PRODUCTION
from forecastle.registry.mlflow_rest import Version
from forecastle.registry.promotions import Promoter, PutBack
from forecastle.registry.review import MOVED_BY_TAG, REFUSED_TAG, refusal_in_mlflow
from forecastle.registry.served import head_of, versions_served
from forecastle.store import promotions as ledger
from forecastle.store.promotions import LedgerStep

UNKNOWN = "mlflow-ui"
"""Who moved `production` in MLflow where nothing recorded it."""
_REFUSALS = (NotAllowedError, NotFoundError, IntegrityError)


class AliasReader(Protocol):
    """What is read of MLflow beside what a promotion needs. Both raise ServerError."""

    def list_aliases(self) -> dict[str, dict[str, int]]: ...

    def get_version(self, name: str, version: int) -> Version: ...


@dataclass
class Reconciled:
    """What was done, each as a registered model and what became of it."""

    settled: list[str] = field(default_factory=list)
    adopted: list[str] = field(default_factory=list)
    put_back: list[str] = field(default_factory=list)
    waiting: list[str] = field(default_factory=list)

    @property
    def changes(self) -> int:
        return len(self.settled) + len(self.adopted) + len(self.put_back)

    @property
    def sentence(self) -> str:
        told = {name.replace("_", " "): found for name, found in vars(self).items() if found}
        return (
            "; ".join(f"{what}: {', '.join(found)}" for what, found in told.items()) or "MLflow agrees with the ledger"
        )


@dataclass(frozen=True)
class Reconciler:
    """Compares and mends. `is_ours` knows the registered models that nothing was promoted of as well.

    `alert` is told of every alias that was put back: the registered model and a sentence.
    """

    promoter: Promoter
    mlflow: AliasReader
    is_ours: Callable[[str], bool]
    alert: Callable[[str, str], None]

    def reconcile(self) -> Reconciled:
        """One pass over every registered model. Raises ServerError where MLflow or the database does not answer.

        Nothing was changed then that the next pass would not find and finish.
        """
        done = Reconciled()
        for name in self.promoter.interrupted():
            with _left_to_the_next_pass(done, name):
                steps = self.promoter.finish_or_undo(name)
                done.settled += [f"{name} {step.promotion.to_version} ({step.outcome})" for step in steps]
        found = self.mlflow.list_aliases()
        with self.promoter.database.transaction() as connection:
            confirmed = ledger.all_confirmed(connection)
        for name in sorted({*confirmed, *filter(self.is_ours, found)}):
            with _left_to_the_next_pass(done, name):
                self._compare(name, found.get(name, {}), confirmed.get(name, []), done)
        return done

    def _compare(self, name: str, aliases: Mapping[str, int], confirmed: list[LedgerStep], done: Reconciled) -> None:
        served = [moved.to_version for moved in versions_served(step.promotion for step in confirmed)]
        wanted = dict(zip((PRODUCTION, PREVIOUS), reversed(served), strict=False))
        if {alias: aliases[alias] for alias in (PRODUCTION, PREVIOUS) if alias in aliases} == wanted:
            return
        moved_to, refusal = aliases.get(PRODUCTION), ""
        if moved_to is not None and moved_to != wanted.get(PRODUCTION):
            found = self._adopt(name, moved_to, head_of(confirmed))
            if found is None:
                done.adopted.append(f"{name} {moved_to}")
                return
            refusal = found
        put_back = self.promoter.restore_aliases(name)
        if put_back is not None:
            done.put_back.append(f"{name} {put_back.found or 'nothing'} -> {put_back.serving or 'nothing'}")
            self._tell(name, put_back, refusal)

    def _adopt(self, name: str, version: int, head: str) -> str | None:
        """Write the move into the ledger, or say why not. Raises ConflictError where production moves meanwhile."""
        try:
            found = self.mlflow.get_version(name, version)
            refusal = refusal_in_mlflow(name, version, self.promoter.with_verdict(found.run_id, found.tags))
            if refusal is None:
                who = self._mover(found)
                reason = "the alias was moved in MLflow" + ("; by whom is not known" if who.name == UNKNOWN else "")
                self.promoter.promote(name, version, who, reason, head=head, adopting=True)
        except _REFUSALS as error:
            return str(error)
        return refusal

    def _mover(self, version: Version) -> Principal:
        """Who moved it, as MLflow's plugin recorded. Raises NotAllowedError for somebody who may not promote."""
        name = version.tags.get(MOVED_BY_TAG)
        if name is None and self.promoter.four_eyes == "always":
            raise NotAllowedError("nothing recorded who moved it, so that nobody knows whether they had trained it")
        if name is None:
            return Principal(UNKNOWN, Role.REVIEWER)
        with self.promoter.database.transaction() as connection:
            found = find_principal(connection, name)
        if found is None:
            raise NotAllowedError("who moved it is no user here: `forecastle users add NAME --role reviewer`")
        return found

    def _tell(self, name: str, put_back: PutBack, refusal: str) -> None:
        serving = f"version {put_back.serving}" if put_back.serving else "no version"
        if put_back.found is None:
            self.alert(name, f"the alias production of {name} was removed in MLflow and put back: {serving} serves")
            return
        moved = f"production of {name} was moved to version {put_back.found} in MLflow and put back: {serving} serves"
        sentence = f"{moved}; {refusal}" if refusal else moved
        self.alert(name, sentence)
        with suppress(NotFoundError):
            value = f"{datetime.now(UTC):%Y-%m-%d %H:%M:%SZ} {sentence}"
            self.promoter.aliases.set_tag(name, put_back.found, REFUSED_TAG, value)


@contextmanager
def _left_to_the_next_pass(done: Reconciled, name: str) -> Iterator[None]:
    """Somebody moves production of this registered model now, or something is wrong with it alone."""
    try:
        yield
    except (ConfigurationError, ServerError):
        raise
    except ForecastleError as error:
        done.waiting.append(f"{name} ({error.code})")
