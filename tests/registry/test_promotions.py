"""Moving production: every move is written down, and one that fails leaves production where it was."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from typing import Any

import psycopg
import pytest

from forecastle.access.principals import Principal, Role
from forecastle.errors import ConflictError, IntegrityError, NotAllowedError, NotFoundError, ServerError
from forecastle.registry.promotions import Promoter
from forecastle.registry.served import approved_files
from forecastle.settings import Settings
from forecastle.store import promotions as ledger
from forecastle.store.database import Database
from forecastle.store.objects import Objects, digest_of

MODEL = "delivery.story_points"


@pytest.fixture
def promoter(database: Database, objects: Objects, aliases: Any) -> Promoter:
    return Promoter(database, objects, aliases, lambda name, found: None)


def steps(database: Database) -> list[tuple[str, str, int | None, int]]:
    """Every step of the ledger: outcome, action, from, to."""
    with database.transaction() as connection:
        rows = connection.execute("select * from promotions order by step").fetchall()
    return [(row["outcome"], row["action"], row["from_version"], row["to_version"]) for row in rows]


def serving(database: Database) -> int | None:
    with database.transaction() as connection:
        found = ledger.serving(connection, MODEL)
    return found[MODEL].promotion.to_version if found else None


def test_a_promotion_writes_intent_and_confirmation_with_the_digest_of_every_file(
    database: Database, objects: Objects, make_aliases: Any, reviewer: Principal
) -> None:
    files = {"bundle/model.json": b"the model", "bundle/skill.json": b"{}", "model/MLmodel": b"for people"}
    aliases = make_aliases({1: files})
    step = Promoter(database, objects, aliases, lambda name, found: None).promote(
        MODEL, 1, reviewer, "better on later rows"
    )
    assert steps(database) == [("intent", "promote", None, 1), ("confirmed", "promote", None, 1)]
    moved = step.promotion
    assert (moved.actor, moved.reason, moved.verdict, moved.single_user_mode) == (
        "rita", "better on later rows", "PROMOTE", False,
    )  # fmt: skip
    assert {file.name: (file.sha256, file.size) for file in moved.files} == {
        name: (digest_of(content), len(content)) for name, content in files.items()
    }
    assert moved.provenance["run_id"] == "run1"
    assert approved_files(objects, step.promotion) == files
    assert aliases.aliases == {(MODEL, "production"): 1}


def test_the_next_promotion_names_the_version_before_as_previous(
    promoter: Promoter, aliases: Any, reviewer: Principal
) -> None:
    promoter.promote(MODEL, 1, reviewer, "first")
    step = promoter.promote(MODEL, 2, reviewer, "second")
    assert (step.promotion.from_version, step.promotion.to_version) == (1, 2)
    assert aliases.aliases == {(MODEL, "production"): 2, (MODEL, "previous"): 1}


def test_it_is_written_down_that_somebody_alone_promoted(promoter: Promoter) -> None:
    step = promoter.promote(MODEL, 1, Principal("ada", Role.ADMIN, alone=True), "nobody else is here")
    assert step.promotion.single_user_mode


@pytest.mark.parametrize("role", [Role.VIEWER, Role.MEMBER, Role.DATA_SCIENTIST, Role.OPERATOR])
def test_without_the_role_nothing_moves(promoter: Promoter, database: Database, aliases: Any, role: Role) -> None:
    somebody = Principal("sam", role)
    with pytest.raises(NotAllowedError, match="may not promote"):
        promoter.promote(MODEL, 1, somebody, "please")
    with pytest.raises(NotAllowedError):
        promoter.rollback(MODEL, somebody, "please")
    assert (steps(database), aliases.aliases) == ([], {})


def test_promoting_what_serves_already_is_a_conflict(
    promoter: Promoter, database: Database, reviewer: Principal
) -> None:
    promoter.promote(MODEL, 1, reviewer, "first")
    before = steps(database)
    with pytest.raises(ConflictError, match="serves already"):
        promoter.promote(MODEL, 1, reviewer, "again")
    assert steps(database) == before


def test_promoting_what_serves_puts_changed_files_back_whatever_the_gate_had_said_of_it(
    promoter: Promoter, objects: Objects, aliases: Any, reviewer: Principal
) -> None:
    aliases.provenance = {"gate.verdict": "NOT ENOUGH DATA"}
    (file,) = promoter.promote(MODEL, 1, reviewer, "first").promotion.files
    objects.put(file.object_name, b"tampered")
    with pytest.raises(ConflictError, match="its approved files were put back"):
        promoter.promote(MODEL, 1, reviewer, "again")
    assert digest_of(objects.get(file.object_name)) == file.sha256
    aliases.versions = {**aliases.versions, 1: {"bundle/model.json": b"tampered in MLflow too"}}
    with pytest.raises(IntegrityError, match="other files than those that were approved; roll back"):
        promoter.promote(MODEL, 1, reviewer, "again")


def test_rolling_back_twice_goes_back_two_versions(
    promoter: Promoter, database: Database, aliases: Any, reviewer: Principal
) -> None:
    for version in (1, 2, 3):
        promoter.promote(MODEL, version, reviewer, "next")
    approved = {step.promotion.to_version: step.promotion for step in _confirmed(database)}
    first = promoter.rollback(MODEL, reviewer, "wrong")
    assert (first.promotion.from_version, first.promotion.to_version) == (3, 2)
    assert (first.promotion.action, first.promotion.files) == ("rollback", approved[2].files)
    assert aliases.aliases[MODEL, "production"] == 2
    second = promoter.rollback(MODEL, reviewer, "wrong too")
    assert (second.promotion.from_version, second.promotion.to_version) == (2, 1)
    assert second.promotion.provenance == approved[1].provenance
    assert serving(database) == aliases.aliases[MODEL, "production"] == 1
    with pytest.raises(NotFoundError, match="nothing to go back to"):
        promoter.rollback(MODEL, reviewer, "and once more")


def test_after_a_rollback_a_promotion_and_a_rollback_lead_back_to_the_same_version(
    promoter: Promoter, database: Database, reviewer: Principal
) -> None:
    for version in (1, 2):
        promoter.promote(MODEL, version, reviewer, "next")
    promoter.rollback(MODEL, reviewer, "2 was wrong")
    promoter.promote(MODEL, 3, reviewer, "mended")
    assert promoter.rollback(MODEL, reviewer, "3 was wrong too").promotion.to_version == 1


def test_a_version_promoted_once_more_is_rolled_back_to_the_one_between(
    promoter: Promoter, reviewer: Principal
) -> None:
    for version in (1, 2, 1):
        promoter.promote(MODEL, version, reviewer, "next")
    assert promoter.rollback(MODEL, reviewer, "wrong").promotion.to_version == 2
    assert promoter.rollback(MODEL, reviewer, "wrong").promotion.to_version == 1


@pytest.mark.parametrize("versions", [(), (1,)])
def test_with_nothing_before_there_is_nothing_to_roll_back(
    promoter: Promoter, database: Database, reviewer: Principal, versions: tuple[int, ...]
) -> None:
    for version in versions:
        promoter.promote(MODEL, version, reviewer, "first")
    before = steps(database)
    with pytest.raises(NotFoundError, match="nothing to go back to"):
        promoter.rollback(MODEL, reviewer, "wrong")
    assert steps(database) == before


@pytest.mark.parametrize("failing", ["production", "previous"])
def test_an_alias_that_cannot_be_set_leaves_production_unchanged(
    promoter: Promoter, database: Database, aliases: Any, reviewer: Principal, failing: str
) -> None:
    for version in (1, 2):
        promoter.promote(MODEL, version, reviewer, "next")
    before = dict(aliases.aliases)
    fail_once(aliases, failing)
    with pytest.raises(ServerError):
        promoter.promote(MODEL, 3, reviewer, "in vain")
    assert serving(database) == 2
    assert aliases.aliases == before
    assert [outcome for outcome, _, _, to in steps(database) if to == 3] == ["intent", "undone"]


def test_while_the_aliases_cannot_be_reached_the_intent_stays_open_and_the_next_promotion_undoes_it(
    promoter: Promoter, database: Database, aliases: Any, reviewer: Principal
) -> None:
    promoter.promote(MODEL, 1, reviewer, "first")
    aliases.failing = {"production", "previous"}
    with pytest.raises(ServerError):
        promoter.promote(MODEL, 2, reviewer, "in vain")
    assert (serving(database), steps(database)[-1]) == (1, ("intent", "promote", 1, 2))
    aliases.failing = set()
    promoter.promote(MODEL, 3, reviewer, "it is back")
    assert steps(database)[-3:] == [
        ("undone", "promote", 1, 2),
        ("intent", "promote", 1, 3),
        ("confirmed", "promote", 1, 3),
    ]
    assert aliases.aliases == {(MODEL, "production"): 3, (MODEL, "previous"): 1}


def test_a_changed_object_is_an_integrity_error_that_names_the_file(
    promoter: Promoter, objects: Objects, reviewer: Principal
) -> None:
    step = promoter.promote(MODEL, 1, reviewer, "first")
    objects.put(step.promotion.files[0].object_name, b"something else")
    with pytest.raises(IntegrityError, match=r"version 1: bundle/model\.json was changed after its approval"):
        approved_files(objects, step.promotion)


def test_a_lost_object_is_an_integrity_error(
    promoter: Promoter, objects: Objects, reviewer: Principal, storage: Settings
) -> None:
    step = promoter.promote(MODEL, 1, reviewer, "first")
    with pytest.raises(IntegrityError, match="is missing"):
        approved_files(Objects.of(replace(storage, artifacts=f"{storage.artifacts}/elsewhere")), step.promotion)


def test_promoting_anew_mends_a_changed_object(promoter: Promoter, objects: Objects, reviewer: Principal) -> None:
    first = promoter.promote(MODEL, 1, reviewer, "first")
    objects.put(first.promotion.files[0].object_name, b"something else")
    promoter.promote(MODEL, 2, reviewer, "meanwhile")
    anew = promoter.promote(MODEL, 1, reviewer, "anew")
    assert approved_files(objects, anew.promotion) == {"bundle/model.json": b"1"}


@pytest.mark.parametrize(
    "statement",
    [
        "update promotions set reason = 'another'",
        "delete from promotions",
        "truncate promotions",
        "update promotions set reason = 'another' where false",
    ],
)
def test_the_database_refuses_to_change_the_ledger(
    promoter: Promoter, database: Database, reviewer: Principal, statement: Any
) -> None:
    promoter.promote(MODEL, 1, reviewer, "first")
    before = steps(database)
    with pytest.raises(psycopg.errors.RaiseException, match="append-only"), database.transaction() as connection:
        connection.execute(statement)
    assert steps(database) == before


def test_a_promotion_without_a_reason_is_refused(promoter: Promoter, database: Database, reviewer: Principal) -> None:
    with pytest.raises(psycopg.errors.CheckViolation):
        promoter.promote(MODEL, 1, reviewer, "")
    assert serving(database) is None


def test_a_listening_connection_hears_of_a_promotion(
    promoter: Promoter, database: Database, reviewer: Principal
) -> None:
    with database.listening(ledger.CHANNEL) as connection:
        promoter.promote(MODEL, 1, reviewer, "first")
        (notice,) = connection.notifies(timeout=10, stop_after=1)
        assert (notice.channel, notice.payload) == (ledger.CHANNEL, MODEL)


def test_nobody_hears_of_a_promotion_that_failed(
    promoter: Promoter, database: Database, aliases: Any, reviewer: Principal
) -> None:
    with database.listening(ledger.CHANNEL) as connection:
        fail_once(aliases, "production")
        with pytest.raises(ServerError):
            promoter.promote(MODEL, 1, reviewer, "in vain")
        promoter.promote("delivery.other", 2, reviewer, "heard")
        (notice,) = connection.notifies(timeout=10, stop_after=1)
        assert notice.payload == "delivery.other"


def test_two_promotions_at_once_of_one_model_happen_one_after_the_other(
    promoter: Promoter, database: Database, aliases: Any, reviewer: Principal
) -> None:
    promoter.promote(MODEL, 1, reviewer, "first")
    start, meeting = threading.Barrier(2, timeout=10), threading.Barrier(2)
    set_alias, versions_of = aliases.set_alias, aliases.version_files
    met = []

    def meet_in_the_middle(name: str, alias: str, version: int) -> None:
        try:  # where the lock holds, nobody else comes while one of them is here
            meeting.wait(timeout=0.4)
            met.append(version)
        except threading.BrokenBarrierError:
            meeting.reset()
        set_alias(name, alias, version)

    def together(name: str, version: int) -> Any:
        start.wait()
        return versions_of(name, version)

    aliases.set_alias, aliases.version_files = meet_in_the_middle, together
    with ThreadPoolExecutor(2) as pool:
        found = list(pool.map(lambda version: promoter.promote(MODEL, version, reviewer, "at once"), (2, 3)))
    assert not met
    assert {step.promotion.to_version for step in found} == {2, 3}
    first, second = sorted(found, key=lambda step: step.step)
    assert (first.promotion.from_version, second.promotion.from_version) == (1, first.promotion.to_version)
    assert [outcome for outcome, *_ in steps(database)] == ["intent", "confirmed"] * 3
    assert serving(database) == aliases.aliases[MODEL, "production"] == second.promotion.to_version


def test_the_same_version_promoted_twice_at_once_is_one_promotion_and_one_conflict(
    promoter: Promoter, database: Database, aliases: Any, reviewer: Principal
) -> None:
    start, versions_of = threading.Barrier(2, timeout=10), aliases.version_files

    def together(name: str, version: int) -> Any:
        start.wait()
        return versions_of(name, version)

    aliases.version_files = together
    with ThreadPoolExecutor(2) as pool:
        asked = [pool.submit(promoter.promote, MODEL, 1, reviewer, "at once") for _ in range(2)]
    failures = [type(each.exception()) for each in asked if each.exception()]
    assert failures == [ConflictError]
    assert steps(database) == [("intent", "promote", None, 1), ("confirmed", "promote", None, 1)]


def test_an_override_by_an_admin_is_written_down(promoter: Promoter, aliases: Any, reviewer: Principal) -> None:
    promoter.promote(MODEL, 1, reviewer, "first")
    aliases.provenance = {"gate.verdict": "HOLD", "trained_by": "dana"}
    with pytest.raises(NotAllowedError, match="HOLD"):
        promoter.promote(MODEL, 2, reviewer, "I like it")
    with pytest.raises(NotAllowedError, match="reviewer may not administer"):
        promoter.promote(MODEL, 2, reviewer, "I like it", override=True)
    moved = promoter.promote(MODEL, 2, Principal("ada", Role.ADMIN), "the old one leaks", override=True).promotion
    assert (moved.verdict, moved.overridden, moved.trained_by_actor) == ("HOLD", True, False)
    aliases.provenance = {"gate.verdict": "PROMOTE", "trained_by": "dana"}
    promoter.promote(MODEL, 3, reviewer, "better")
    back = promoter.rollback(MODEL, reviewer, "was better").promotion
    assert (back.to_version, back.verdict, back.overridden, back.trained_by_actor) == (2, "HOLD", False, False)
    promoter.promote(MODEL, 3, reviewer, "better")
    assert promoter.rollback(MODEL, Principal("dana", Role.REVIEWER), "mine was better").promotion.trained_by_actor


def test_who_trained_it_does_not_promote_it_and_nothing_is_written(
    promoter: Promoter, database: Database, aliases: Any, reviewer: Principal
) -> None:
    aliases.provenance = {"trained_by": "rita"}
    with pytest.raises(NotAllowedError, match="rita trained this version"):
        promoter.promote(MODEL, 1, reviewer, "mine")
    assert (steps(database), aliases.aliases, aliases.tags) == ([], {}, {})
    alone = promoter.promote(MODEL, 1, replace(reviewer, alone=True), "nobody else is here").promotion
    assert (alone.trained_by_actor, alone.single_user_mode) == (True, True)


def test_what_was_deleted_in_mlflow_does_not_hold_a_rollback_up(
    promoter: Promoter, database: Database, aliases: Any, reviewer: Principal
) -> None:
    for version in (1, 2):
        promoter.promote(MODEL, version, reviewer, "next")
    set_alias = aliases.set_alias

    def deleted(name: str, alias: str, version: int) -> None:
        if version == 1:
            raise NotFoundError("no such version")
        set_alias(name, alias, version)

    aliases.set_alias = deleted
    promoter.rollback(MODEL, reviewer, "2 is wrong")
    assert (serving(database), aliases.aliases) == (1, {})


def test_what_served_at_a_moment_is_told_for_every_moment(
    promoter: Promoter, database: Database, reviewer: Principal
) -> None:
    moved = [promoter.promote(MODEL, version, reviewer, "next") for version in (1, 2)]
    moved.append(promoter.rollback(MODEL, reviewer, "wrong"))
    other = promoter.promote("delivery.effort", 4, reviewer, "another model")
    instant = timedelta(microseconds=1)
    with database.transaction() as connection:
        for step in moved:
            at = ledger.serving(connection, MODEL, step.recorded_at)
            assert at[MODEL].promotion.to_version == step.promotion.to_version
        assert ledger.serving(connection, None, moved[0].recorded_at - instant) == {}
        assert set(ledger.serving(connection, None, other.recorded_at - instant)) == {MODEL}
        assert set(ledger.serving(connection, None, other.recorded_at)) == {MODEL, "delivery.effort"}


def test_other_models_are_not_touched(promoter: Promoter, database: Database, reviewer: Principal) -> None:
    promoter.promote(MODEL, 1, reviewer, "first")
    promoter.promote("delivery.other", 4, reviewer, "first")
    with database.transaction() as connection:
        found = ledger.serving(connection)
    assert {name: step.promotion.to_version for name, step in found.items()} == {MODEL: 1, "delivery.other": 4}


def test_the_newest_confirmed_step_of_every_model_or_of_one_is_known_by_its_number(
    promoter: Promoter, aliases: Any, database: Database, reviewer: Principal
) -> None:
    promoter.promote(MODEL, 1, reviewer, "first")
    promoter.promote("delivery.other", 4, reviewer, "first")
    newest = promoter.promote(MODEL, 2, reviewer, "second").step
    fail_once(aliases, "production")
    with pytest.raises(ServerError):
        promoter.promote(MODEL, 3, reviewer, "third")
    with database.transaction() as connection:
        every, one = ledger.newest_steps(connection), ledger.newest_steps(connection, MODEL)
        assert every == {name: step.step for name, step in ledger.serving(connection).items()}
    assert one == {MODEL: every[MODEL]} == {MODEL: newest}


def _confirmed(database: Database) -> list[ledger.LedgerStep]:
    with database.transaction() as connection:
        return ledger.confirmed_steps(connection, MODEL)


def fail_once(aliases: Any, failing: str) -> None:
    """Let the next attempt to set this alias fail; undoing it works."""
    aliases.set_alias = _once(aliases.set_alias, failing, ServerError("MLflow did not answer"))


def _once(set_alias: Callable[..., None], failing: str, error: BaseException) -> Callable[..., None]:
    pending = [error]

    def maybe(name: str, alias: str, version: int) -> None:
        if alias == failing and pending:
            raise pending.pop()
        set_alias(name, alias, version)

    return maybe
