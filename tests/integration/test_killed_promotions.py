"""A process that moves production is killed with -9 at every step, on a real PostgreSQL, MLflow and S3.

Whatever stood then, a whole version serves, the reconciler finishes or undoes the move, and the next move works.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, NoReturn
from uuid import uuid4

import pytest
from registrar import Logged, Registrar
from versions import MODEL_TYPE

import projects
from forecastle.access.principals import Principal, Role
from forecastle.registry.aliases import PREVIOUS, PRODUCTION
from forecastle.registry.loading import load_serving, loadable
from forecastle.registry.mlflow_rest import MlflowRest
from forecastle.registry.promotions import Promoter
from forecastle.registry.reconciling import Reconciler
from forecastle.registry.served import versions_served
from forecastle.registry.verification import verify, witnesses_of
from forecastle.settings import Settings
from forecastle.store import promotions as ledger
from forecastle.store.database import Database
from forecastle.store.objects import Objects

REVIEWER = Principal("rita", Role.REVIEWER)
SERVED = {"the first promotion": 0, "a promotion": 2, "a rollback": 2}
"""How many versions served one after the other before each kind of move."""


@dataclass(frozen=True)
class House:
    """A registered model of this test alone, on servers that others use as well, and its ledger."""

    name: str
    settings: Settings
    database: Database

    def promoter(self, database: Database | None = None) -> Promoter:
        rest, check = MlflowRest.of(self.settings), loadable(projects.discover())
        return Promoter(database or self.database, Objects.of(self.settings), rest, check)

    def reconcile(self) -> int:
        """How much there was to do."""
        promoter, rest = self.promoter(), MlflowRest.of(self.settings)
        alerts: list[str] = []
        done = Reconciler(promoter, rest, self.name.__eq__, lambda name, said: alerts.append(said)).reconcile()
        assert (done.put_back, done.waiting, alerts) == ([], [], [])
        return done.changes

    def answering(self) -> int | None:
        """The version that serves, having loaded its approved files and answered the model type's example."""
        with self.database.transaction() as connection:
            step = ledger.serving(connection, self.name).get(self.name)
        if step is None:
            return None
        return load_serving(Objects.of(self.settings), MODEL_TYPE, step).version.step.promotion.to_version

    def is_sound(self) -> bool:
        """Both aliases agree with the ledger, whose chain holds, and nothing is half done."""
        rest = MlflowRest.of(self.settings)
        with self.database.transaction() as connection:
            served = versions_served(step.promotion for step in ledger.confirmed_steps(connection, self.name))
            found = verify(connection, witnesses_of(rest.list_versions(self.name)))
            assert ledger.open_intents(connection) == []
        wanted = [moved.to_version for moved in reversed(served)][:2]
        aliases = [rest.find_alias(self.name, alias) for alias in (PRODUCTION, PREVIOUS)]
        return found.broken is None and aliases == [*wanted, None, None][:2]

    def outcomes(self, after: int) -> tuple[str, ...]:
        with self.database.transaction() as connection:
            rows = connection.execute("select outcome from promotions where step > %s order by step", (after,))
            return tuple(row["outcome"] for row in rows)


@pytest.fixture(scope="module")
def registrar(servers: Settings, tmp_path_factory: pytest.TempPathFactory) -> Registrar:
    return Registrar.at(servers.require_tracking_uri(), tmp_path_factory.mktemp("version"))


@pytest.fixture(scope="module")
def logged(registrar: Registrar) -> list[Logged]:
    """What versions 1, 2, … are made of: each has a file that no other one has."""
    experiment = registrar.client.create_experiment("killed promotions")
    return [registrar.log(experiment, f"for people, {number}") for number in (1, 2, 3)]


@pytest.fixture
def house(
    registrar: Registrar, logged: list[Logged], servers: Settings, own_storage: Settings, database_url: str,
    database: Database,
) -> House:  # fmt: skip
    name = f"{MODEL_TYPE.name}.{uuid4()}"  # as a project's own: nobody else's aliases, nobody else's ledger
    registrar.client.create_registered_model(name)
    for one in logged:
        registrar.register(name, one)
    settings = replace(own_storage, database_url=database_url, mlflow_tracking_uri=servers.mlflow_tracking_uri)
    return House(name, settings, database)


def die(*_: Any) -> NoReturn:
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError


def die_at_commit(connection: Any, *_: Any) -> None:
    connection.commit = die


def anything(*_: Any) -> bool:
    return True


def writes(outcome: str) -> Callable[..., bool]:
    return lambda connection, promotion, found: bool(found == outcome)


def moves(alias: str) -> Callable[..., bool]:
    return lambda rest, name, found, *version: bool(found == alias)


def before(
    owner: Any, name: str, applies: Callable[..., bool] = anything, then: Callable[..., None] = die
) -> Callable[[], None]:
    """Arranges that this process dies, or does something else, right before it calls this so."""

    def arrange() -> None:
        original = getattr(owner, name)

        def called(*arguments: Any, **options: Any) -> Any:
            if applies(*arguments):
                then(*arguments)
            return original(*arguments, **options)

        setattr(owner, name, called)

    return arrange


def after(owner: Any, name: str, applies: Callable[..., bool] = anything) -> Callable[[], None]:
    """Arranges that this process dies right after it called this so."""

    def arrange() -> None:
        original = getattr(owner, name)

        def called(*arguments: Any, **options: Any) -> Any:
            found = original(*arguments, **options)
            if applies(*arguments):
                die()
            return found

        setattr(owner, name, called)

    return arrange


NOTHING, UNDONE, FINISHED = (), ("intent", "undone"), ("intent", "confirmed")
STEPS: dict[str, tuple[tuple[str, ...], *tuple[Callable[[], None], ...]]] = {
    "no file is copied": (NOTHING, before(Objects, "put")),
    "some files are copied": (NOTHING, after(Objects, "put")),
    "nothing says that it is meant": (NOTHING, before(ledger, "add_step", writes("intent"))),
    "its intent is not committed": (NOTHING, before(ledger, "add_step", writes("intent"), die_at_commit)),
    "its intent stands": (UNDONE, after(ledger, "add_step", writes("intent"))),
    "the version remembers its step": (UNDONE, after(MlflowRest, "set_tag")),
    "the alias production stands": (FINISHED, after(MlflowRest, "set_alias", moves(PRODUCTION))),
    "the alias previous stands": (
        FINISHED,
        after(MlflowRest, "set_alias", moves(PREVIOUS)),
        after(MlflowRest, "remove_alias", moves(PREVIOUS)),
    ),
    "its confirmation is not committed": (FINISHED, before(ledger, "add_step", writes("confirmed"), die_at_commit)),
    "its confirmation stands": (FINISHED, after(ledger, "add_step", writes("confirmed"))),
}
"""What the process was killed behind: what the ledger says of the move in the end, and what arranges that end."""
CASES = [(kind, step) for kind in SERVED for step in STEPS if kind != "a rollback" or "copied" not in step]
QUICK = "the alias production stands"


def killed(step: str, house: House, move: Callable[[Promoter], object]) -> None:
    """Make a move in a process of its own, with connections of its own, that is killed behind this step."""
    child = os.fork()
    if child == 0:
        try:
            with Database(house.settings.require_database_url(), 2) as database:
                for arrange in STEPS[step][1:]:
                    arrange()
                move(house.promoter(database))
        finally:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL


@pytest.mark.parametrize(
    "kind, step",
    [
        pytest.param(kind, step, id=f"{kind}, {step}", marks=() if step == QUICK else pytest.mark.slow)
        for kind, step in CASES
    ],
)
def test_killed_with_9_anywhere_a_move_is_finished_or_undone_and_a_whole_version_serves_all_the_time(
    house: House, kind: str, step: str
) -> None:
    promoter, served = house.promoter(), SERVED[kind]
    for version in range(1, served + 1):
        promoter.promote(house.name, version, REVIEWER, "next")
    moved_to = 1 if kind == "a rollback" else served + 1

    def move(by: Promoter) -> None:
        if kind == "a rollback":
            by.rollback(house.name, REVIEWER, "killed")
        else:
            by.promote(house.name, moved_to, REVIEWER, "killed")

    killed(step, house, move)
    outcome = STEPS[step][0]
    confirmed = step == "its confirmation stands"
    assert house.answering() == (moved_to if confirmed else served or None)  # what nobody confirmed serves nobody

    assert house.reconcile() == (1 if outcome and not confirmed else 0)
    now = moved_to if outcome and outcome[-1] == "confirmed" else served or None
    assert (house.answering(), house.outcomes(2 * served)) == (now, outcome)
    assert house.is_sound()
    assert house.reconcile() == 0

    following = promoter.promote(house.name, 3 if now != 3 else 1, REVIEWER, "the next one")
    assert following.promotion.from_version == now
    assert house.answering() == following.promotion.to_version
    assert house.is_sound()
