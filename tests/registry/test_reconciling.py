"""What somebody did to the aliases in MLflow is adopted or put back; the ledger decides what serves all along."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from forecastle.access.principals import Principal, Role, add_user
from forecastle.errors import ConfigurationError, IntegrityError, NotFoundError, ServerError
from forecastle.registry.aliases import VersionFiles
from forecastle.registry.mlflow_rest import Version
from forecastle.registry.promotions import Promoter
from forecastle.registry.reconciling import UNKNOWN, Reconciled, Reconciler
from forecastle.registry.review import MOVED_BY_TAG, REFUSED_TAG
from forecastle.store import promotions as ledger
from forecastle.store.database import Database
from forecastle.store.gate_looks import Look, add_look
from forecastle.store.objects import Objects
from forecastle.store.promotions import LedgerStep

MODEL, OTHER = "delivery.story_points", "delivery.effort"
PASSED, HELD, UNGATED_VERSION = 3, 4, 5


@dataclass
class Registry:
    """MLflow as far as a reconciler sees it; people use `aliases` and `tags` past the ledger."""

    aliases: dict[tuple[str, str], int] = field(default_factory=dict)
    tags: dict[tuple[str, int], dict[str, str]] = field(default_factory=dict)
    gone: set[int] = field(default_factory=set)
    is_away: bool = False
    before_reading: Callable[[], object] = lambda: None

    def list_aliases(self) -> dict[str, dict[str, int]]:
        self._answer()
        found: dict[str, dict[str, int]] = {}
        for (name, alias), version in self.aliases.items():
            found.setdefault(name, {})[alias] = version
        return found

    def get_version(self, name: str, version: int) -> Version:
        before, self.before_reading = self.before_reading, lambda: None
        before()
        self._answer(version)
        return Version(name, version, "run", (), self.tags.get((name, version), {}), 0)

    def version_files(self, name: str, version: int) -> VersionFiles:
        tags = self.get_version(name, version).tags
        return VersionFiles(version, {"bundle/model.json": f"{version}".encode()}, {"run_id": "r", **tags})

    def find_alias(self, name: str, alias: str) -> int | None:
        self._answer()
        return self.aliases.get((name, alias))

    def set_alias(self, name: str, alias: str, version: int) -> None:
        self._answer(version)
        self.aliases[name, alias] = version

    def remove_alias(self, name: str, alias: str) -> None:
        self._answer()
        self.aliases.pop((name, alias), None)

    def set_tag(self, name: str, version: int, key: str, value: str) -> None:
        self._answer(version)
        self.tags.setdefault((name, version), {})[key] = value

    def _answer(self, version: int = 0) -> None:
        if self.is_away:
            raise ServerError("MLflow did not answer")
        if version in self.gone:
            raise NotFoundError("no such version")


@dataclass
class Room:
    """A ledger with version 2 in production and 1 before it, MLflow beside it, and the alerts that were raised."""

    database: Database
    registry: Registry
    promoter: Promoter
    alerts: list[tuple[str, str]]

    def reconcile(self) -> Reconciled:
        def alert(model_name: str, sentence: str) -> None:
            self.alerts.append((model_name, sentence))

        return Reconciler(self.promoter, self.registry, lambda name: name in (MODEL, OTHER), alert).reconcile()

    def move(self, version: int, by: str | None = None, model: str = MODEL) -> None:
        """What somebody does in MLflow, and its plugin."""
        self.registry.aliases[model, "production"] = version
        if by is not None:
            self.registry.tags.setdefault((model, version), {})[MOVED_BY_TAG] = by

    def named(self, model: str = MODEL) -> tuple[int | None, int | None]:
        return self.registry.aliases.get((model, "production")), self.registry.aliases.get((model, "previous"))

    def newest(self, model: str = MODEL) -> LedgerStep:
        with self.database.transaction() as connection:
            return ledger.history(connection, model)[0]

    def refused(self, version: int, model: str = MODEL) -> str:
        return self.registry.tags.get((model, version), {}).get(REFUSED_TAG, "")


@pytest.fixture
def room(database: Database, objects: Objects, reviewer: Principal) -> Room:
    verdicts = {1: "PROMOTE", 2: "PROMOTE", PASSED: "PROMOTE", HELD: "HOLD"}
    registry = Registry()
    for model in (MODEL, OTHER):
        registry.tags |= {(model, number): {"gate.verdict": verdict} for number, verdict in verdicts.items()}
        registry.tags[model, PASSED]["trained_by"] = "dana"
    promoter = Promoter(database, objects, registry, lambda name, found: None)
    for version in (1, 2):
        promoter.promote(MODEL, version, reviewer, "next")
    with database.transaction() as connection:
        for name, role in (("rita", Role.REVIEWER), ("dana", Role.REVIEWER), ("sam", Role.DATA_SCIENTIST)):
            add_user(connection, name, role)
    return Room(database, registry, promoter, [])


def test_where_both_agree_nothing_is_done(room: Room) -> None:
    done = room.reconcile()
    assert (done.changes, done.sentence) == (0, "MLflow agrees with the ledger")
    assert room.newest().promotion.to_version == 2


@pytest.mark.parametrize("by, actor", [("rita", "rita"), (None, UNKNOWN)])
def test_a_move_that_a_reviewer_could_have_promoted_is_adopted(room: Room, by: str | None, actor: str) -> None:
    room.move(PASSED, by)
    assert room.reconcile().adopted == [f"{MODEL} {PASSED}"]
    moved = room.newest()
    assert (moved.outcome, moved.promotion.from_version, moved.promotion.to_version) == ("confirmed", 2, PASSED)
    assert (moved.promotion.actor, moved.promotion.verdict, moved.promotion.overridden) == (actor, "PROMOTE", False)
    assert "moved in MLflow" in moved.promotion.reason
    assert ("by whom is not known" in moved.promotion.reason) == (by is None)
    assert room.named() == (PASSED, 2)
    assert room.alerts == []
    assert room.reconcile().changes == 0


@pytest.mark.parametrize(
    "version, by, four_eyes, why",
    [
        (HELD, "rita", "unless-alone", "verdict on delivery.story_points version 4 is HOLD"),
        (UNGATED_VERSION, None, "unless-alone", "is UNGATED"),
        (PASSED, "dana", "unless-alone", "dana trained this version and does not promote it"),
        (PASSED, "sam", "unless-alone", "data_scientist may not promote"),
        (PASSED, "a stranger", "unless-alone", "who moved it is no user here"),
        (PASSED, None, "always", "nothing recorded who moved it"),
    ],
)
def test_any_other_move_is_put_back_and_the_version_says_why(
    room: Room, version: int, by: str | None, four_eyes: Any, why: str
) -> None:
    room.promoter = replace(room.promoter, four_eyes=four_eyes)
    room.move(version, by)
    done = room.reconcile()
    assert (done.put_back, done.adopted) == ([f"{MODEL} {version} -> 2"], [])
    assert room.named() == (2, 1)
    assert room.newest().promotion.to_version == 2
    assert why in room.refused(version)
    assert room.refused(version).startswith("20")
    ((model, sentence),) = room.alerts
    assert (model, f"moved to version {version} in MLflow and put back: version 2 serves" in sentence) == (MODEL, True)
    assert why in sentence
    assert "a stranger" not in sentence + room.refused(version)
    assert room.reconcile().changes == 0
    assert len(room.alerts) == 1


def test_a_verdict_that_somebody_wrote_in_mlflow_does_not_count(room: Room) -> None:
    with room.database.transaction() as connection:
        add_look(connection, Look(MODEL, PASSED, "run", "HOLD", {}, []))
    room.move(PASSED, "rita")
    assert room.reconcile().put_back == [f"{MODEL} {PASSED} -> 2"]
    assert "is HOLD" in room.refused(PASSED)


def test_a_version_that_does_not_load_or_was_changed_is_put_back(room: Room) -> None:
    def check(name: str, found: VersionFiles) -> None:
        raise IntegrityError("its bundle was changed after the training")

    room.promoter = replace(room.promoter, check=check)
    room.move(PASSED, "rita")
    assert room.reconcile().put_back == [f"{MODEL} {PASSED} -> 2"]
    assert "its bundle was changed after the training" in room.refused(PASSED)


def test_aliases_that_were_removed_or_swapped_are_set_again(room: Room) -> None:
    del room.registry.aliases[MODEL, "production"]
    assert room.reconcile().put_back == [f"{MODEL} nothing -> 2"]
    assert "was removed in MLflow and put back: version 2 serves" in room.alerts[0][1]
    room.registry.aliases[MODEL, "previous"] = HELD
    assert room.reconcile().changes == 0
    assert room.named() == (2, 1)
    assert len(room.alerts) == 1


def test_what_was_never_promoted_is_heard_as_well(room: Room) -> None:
    room.move(HELD, "rita", OTHER)
    assert room.reconcile().put_back == [f"{OTHER} {HELD} -> nothing"]
    assert room.named(OTHER) == (None, None)
    assert "is HOLD" in room.refused(HELD, OTHER)
    room.move(PASSED, "rita", OTHER)
    assert room.reconcile().adopted == [f"{OTHER} {PASSED}"]
    assert room.newest(OTHER).promotion.from_version is None


def test_registered_models_of_others_are_left_alone(room: Room) -> None:
    room.move(HELD, model="somebody.elses")
    assert room.reconcile().changes == 0
    assert room.named("somebody.elses") == (HELD, None)


def test_a_version_that_was_deleted_in_mlflow_serves_on_without_an_alert_each_time(room: Room) -> None:
    room.registry.gone = {2}
    del room.registry.aliases[MODEL, "production"]
    assert room.reconcile().changes == 0
    assert room.alerts == []
    assert room.named() == (None, 1)
    assert room.newest().promotion.to_version == 2


def test_while_mlflow_is_away_nothing_changes_and_the_next_pass_hears_of_it(room: Room) -> None:
    room.move(HELD, "rita")
    room.registry.is_away = True
    with pytest.raises(ServerError, match="MLflow did not answer"):
        room.reconcile()
    assert (room.named(), room.alerts) == ((HELD, 1), [])
    assert room.newest().promotion.to_version == 2
    room.registry.is_away = False
    assert room.reconcile().put_back == [f"{MODEL} {HELD} -> 2"]


def test_what_was_cut_off_is_settled_first_and_not_taken_for_a_move_by_hand(
    room: Room, reviewer: Principal, monkeypatch: pytest.MonkeyPatch
) -> None:
    def ending(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(room.registry, "set_alias", ending)
        with pytest.raises(KeyboardInterrupt):
            room.promoter.promote(MODEL, PASSED, reviewer, "cut off")
    done = room.reconcile()
    assert (done.settled, done.adopted, done.put_back) == ([f"{MODEL} {PASSED} (undone)"], [], [])
    assert room.named() == (2, 1)


def test_what_a_promotion_moves_at_the_same_time_is_left_to_it(room: Room, reviewer: Principal) -> None:
    admin = Principal("ada", Role.ADMIN)
    room.move(PASSED, "rita")
    room.registry.before_reading = lambda: room.promoter.promote(MODEL, HELD, admin, "known leaks", override=True)
    done = room.reconcile()
    assert (done.adopted, done.put_back, done.waiting) == ([], [], [f"{MODEL} (precondition_failed)"])
    assert room.named() == (HELD, 2)
    room.move(UNGATED_VERSION)
    room.registry.before_reading = lambda: room.promoter.rollback(MODEL, reviewer, "worse")
    done = room.reconcile()
    assert (done.changes, room.alerts, room.refused(UNGATED_VERSION)) == (0, [], "")
    assert room.named() == (2, 1)


def test_an_alias_that_is_moved_on_before_it_is_adopted_is_looked_at_again(room: Room) -> None:
    room.move(PASSED, "rita")
    room.registry.before_reading = lambda: room.move(HELD)
    assert room.reconcile().waiting == [f"{MODEL} (precondition_failed)"]
    assert room.newest().promotion.to_version == 2
    assert room.reconcile().put_back == [f"{MODEL} {HELD} -> 2"]


def test_one_registered_model_that_cannot_be_compared_holds_no_other_up(room: Room) -> None:
    room.move(PASSED, "rita", OTHER)
    room.move(PASSED, "rita")
    room.registry.before_reading = lambda: room.move(HELD, model=OTHER)
    done = room.reconcile()
    assert (done.waiting, done.adopted) == ([f"{OTHER} (precondition_failed)"], [f"{MODEL} {PASSED}"])


def test_an_mlflow_that_does_not_let_us_in_is_said_and_nothing_is_put_back(
    room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object) -> Version:
        raise ConfigurationError("MLflow does not let us in")

    room.move(PASSED, "rita")
    monkeypatch.setattr(room.registry, "get_version", refused)
    with pytest.raises(ConfigurationError):
        room.reconcile()
    assert room.named() == (PASSED, 1)
