"""A promotion that is cut off anywhere is finished or undone, and never half of it is left."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from forecastle.access.principals import Principal
from forecastle.errors import PreconditionFailedError, ServerError
from forecastle.registry import promotions
from forecastle.registry.mlflow_rest import Version
from forecastle.registry.promotions import LEDGER_TAG, Promoter
from forecastle.registry.served import NEVER_MOVED, head_of
from forecastle.registry.verification import Witness, verify, witnesses_of
from forecastle.store import promotions as ledger
from forecastle.store.database import Database
from forecastle.store.objects import Objects

MODEL = "delivery.story_points"
PRODUCTION, PREVIOUS = (MODEL, "production"), (MODEL, "previous")


@pytest.fixture
def promoter(database: Database, objects: Objects, aliases: Any, reviewer: Principal) -> Promoter:
    """With version 2 in production, and 1 before it."""
    found = Promoter(database, objects, aliases, lambda name, found: None)
    for version in (1, 2):
        found.promote(MODEL, version, reviewer, "next")
    return found


def killed(found: Any, name: str, monkeypatch: pytest.MonkeyPatch, when: Callable[..., bool] = lambda *_: True) -> None:
    """Let the process end, as it were, when this would be called so the next time; nobody cleans up after it."""
    original = getattr(found, name)

    def ending(*arguments: Any) -> Any:
        if when(*arguments):
            monkeypatch.setattr(found, name, original)
            raise KeyboardInterrupt
        return original(*arguments)

    monkeypatch.setattr(found, name, ending)


def cut_off(step: str, aliases: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Arrange for the end of the process right before this step of the next move."""
    if step in ("intent", "confirmed"):
        killed(promotions.ledger, "add_step", monkeypatch, lambda connection, promotion, outcome: outcome == step)
    elif step == "tag":
        killed(aliases, "set_tag", monkeypatch)
    else:
        killed(aliases, "set_alias", monkeypatch, lambda name, alias, version: alias == step)


def state(database: Database, aliases: Any) -> tuple[int | None, int | None, int | None, list[str]]:
    """What serves, both aliases, and how what came after the first two promotions ended."""
    with database.transaction() as connection:
        serving = ledger.serving(connection, MODEL)[MODEL].promotion.to_version
        rows = connection.execute("select outcome from promotions where step > 4 order by step").fetchall()
    return serving, aliases.aliases.get(PRODUCTION), aliases.aliases.get(PREVIOUS), [row["outcome"] for row in rows]


@pytest.mark.parametrize("move", ["promote", "rollback"])
@pytest.mark.parametrize(
    "step, finished",
    [("intent", None), ("tag", False), ("production", False), ("previous", True), ("confirmed", True)],
)
def test_wherever_it_is_cut_off_it_is_finished_or_undone_once(
    promoter: Promoter, database: Database, aliases: Any, reviewer: Principal, monkeypatch: pytest.MonkeyPatch,
    move: str, step: str, finished: bool | None,
) -> None:  # fmt: skip
    if move == "rollback" and step == "previous":
        step = "confirmed"  # one version is left, so that no alias `previous` is set
    cut_off(step, aliases, monkeypatch)
    with pytest.raises(KeyboardInterrupt):
        _ = (
            promoter.promote(MODEL, 3, reviewer, "cut")
            if move == "promote"
            else promoter.rollback(MODEL, reviewer, "cut")
        )
    assert state(database, aliases)[0] == 2  # nothing serves that was not confirmed
    assert promoter.interrupted() == ([] if finished is None else [MODEL])

    settled = promoter.finish_or_undo(MODEL)
    after = (3, 3, 2) if move == "promote" else (1, 1, None)
    outcomes = {None: [], True: ["intent", "confirmed"], False: ["intent", "undone"]}[finished]
    expected = (*(after if finished else (2, 2, 1)), outcomes)
    assert [found.outcome for found in settled] == outcomes[1:]
    assert state(database, aliases) == expected
    assert promoter.finish_or_undo(MODEL) == []
    assert promoter.interrupted() == []
    assert state(database, aliases) == expected
    with database.transaction() as connection:
        assert verify(connection).broken is None


def test_what_was_finished_wakes_the_workers(
    promoter: Promoter, database: Database, aliases: Any, reviewer: Principal, monkeypatch: pytest.MonkeyPatch
) -> None:
    cut_off("confirmed", aliases, monkeypatch)
    with pytest.raises(KeyboardInterrupt):
        promoter.promote(MODEL, 3, reviewer, "cut off")
    with database.listening(ledger.CHANNEL) as connection:
        promoter.finish_or_undo(MODEL)
        (notice,) = connection.notifies(timeout=10, stop_after=1)
        assert notice.payload == MODEL


def test_what_was_cut_off_is_undone_where_the_alias_was_moved_elsewhere_meanwhile(
    promoter: Promoter, database: Database, aliases: Any, reviewer: Principal, monkeypatch: pytest.MonkeyPatch
) -> None:
    cut_off("confirmed", aliases, monkeypatch)
    with pytest.raises(KeyboardInterrupt):
        promoter.promote(MODEL, 3, reviewer, "cut off")
    aliases.aliases[PRODUCTION] = 5
    promoter.finish_or_undo(MODEL)
    assert state(database, aliases) == (2, 2, 1, ["intent", "undone"])


def test_what_was_cut_off_is_undone_where_its_files_are_no_longer_what_was_approved(
    promoter: Promoter, database: Database, objects: Objects, aliases: Any, reviewer: Principal,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    cut_off("confirmed", aliases, monkeypatch)
    with pytest.raises(KeyboardInterrupt):
        promoter.promote(MODEL, 3, reviewer, "cut off")
    with database.transaction() as connection:
        (intent,) = ledger.open_intents(connection)
    objects.put(intent.promotion.files[0].object_name, b"tampered")
    promoter.finish_or_undo(MODEL)
    assert state(database, aliases) == (2, 2, 1, ["intent", "undone"])


def test_while_mlflow_is_away_it_stays_open_and_is_settled_later(
    promoter: Promoter, database: Database, aliases: Any, reviewer: Principal, monkeypatch: pytest.MonkeyPatch
) -> None:
    cut_off("production", aliases, monkeypatch)
    with pytest.raises(KeyboardInterrupt):
        promoter.promote(MODEL, 3, reviewer, "cut off")
    aliases.failing = {"production", "previous", "tag"}
    with pytest.raises(ServerError):
        promoter.finish_or_undo(MODEL)
    with pytest.raises(ServerError):
        promoter.promote(MODEL, 4, reviewer, "in vain")
    assert state(database, aliases) == (2, 2, 1, ["intent"])
    aliases.failing = set()
    promoter.promote(MODEL, 4, reviewer, "it is back")
    assert state(database, aliases) == (4, 4, 2, ["intent", "undone", "intent", "confirmed"])


def test_the_next_move_settles_what_was_cut_off_and_is_refused_where_it_was_meant_for_before(
    promoter: Promoter, database: Database, aliases: Any, reviewer: Principal, monkeypatch: pytest.MonkeyPatch
) -> None:
    with database.transaction() as connection:
        seen = head_of(ledger.confirmed_steps(connection, MODEL))
    cut_off("confirmed", aliases, monkeypatch)
    with pytest.raises(KeyboardInterrupt):
        promoter.promote(MODEL, 3, reviewer, "cut off")
    with pytest.raises(PreconditionFailedError, match="was moved meanwhile"):
        promoter.promote(MODEL, 4, reviewer, "what I saw was 2", head=seen)
    assert state(database, aliases) == (3, 3, 2, ["intent", "confirmed"])


def test_a_move_is_made_where_production_is_what_was_seen(
    promoter: Promoter, database: Database, reviewer: Principal
) -> None:
    with pytest.raises(PreconditionFailedError):
        promoter.promote(MODEL, 3, reviewer, "nothing was there yet", head=NEVER_MOVED)
    with database.transaction() as connection:
        seen = head_of(ledger.confirmed_steps(connection, MODEL))
    moved = promoter.promote(MODEL, 3, reviewer, "seen", head=seen)
    assert promoter.rollback(MODEL, reviewer, "seen too", head=moved.hash).promotion.to_version == 2
    with pytest.raises(PreconditionFailedError):
        promoter.rollback(MODEL, reviewer, "seen before", head=moved.hash)
    first = promoter.promote("delivery.effort", 1, reviewer, "the first", head=NEVER_MOVED)
    assert first.promotion.from_version is None


def test_aliases_that_somebody_moved_are_put_back(promoter: Promoter, aliases: Any) -> None:
    aliases.aliases.update({PRODUCTION: 5, PREVIOUS: 4})
    promoter.restore_aliases(MODEL)
    assert aliases.aliases == {PRODUCTION: 2, PREVIOUS: 1}


def test_the_version_remembers_the_step_so_that_an_end_that_was_cut_off_is_noticed(
    promoter: Promoter, database: Database, aliases: Any
) -> None:
    versions = [listed(version, {LEDGER_TAG: aliases.tags[MODEL, version, LEDGER_TAG]}) for version in (1, 2)]
    witnesses = witnesses_of([*versions, listed(3, {}), listed(4, {LEDGER_TAG: "nonsense"})])
    assert [witness.step for witness in witnesses] == [1, 3]
    with database.transaction() as connection:
        whole = verify(connection, witnesses)
        assert (whole.steps, whole.broken, whole.witnesses) == (4, None, 2)
        connection.execute("alter table promotions disable trigger user")
        connection.execute("delete from promotions where step >= 3")
        assert verify(connection).broken is None  # a chain alone says nothing of its end
        found = verify(connection, witnesses).broken
        assert found is not None
        assert (found.step, found.damage) == (3, "removed")
        assert "delivery.story_points version 2 in MLflow" in found.detail
        connection.execute("delete from promotions")
        assert verify(connection, [Witness("who noted it down", 0, whole.head)]).broken is not None
        connection.rollback()


def listed(version: int, tags: dict[str, str]) -> Version:
    return Version(MODEL, version, "run", (), tags, 0)
