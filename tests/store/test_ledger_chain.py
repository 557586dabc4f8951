"""The chain of the ledger: whatever is done to a step is found, and named."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from forecastle.settings import Settings
from forecastle.store import migrate as migrate_module
from forecastle.store import promotions as ledger
from forecastle.store.database import Connection, Database, temporary_database
from forecastle.store.identifiers import new_id
from forecastle.store.ledger_chain import GENESIS, Break, ChainedStep, find_break, hash_of, read_chain
from forecastle.store.migrate import migrate, migrations
from forecastle.store.promotions import ApprovedFile, Promotion

MODEL = "delivery.story_points"
NUMBER = 9


def a_promotion(**changed: Any) -> Promotion:
    fields: dict[str, Any] = {
        "promotion_id": new_id(),
        "action": "promote",
        "model_name": MODEL,
        "from_version": None,
        "to_version": 1,
        "actor": "rita",
        "reason": "better",
        "verdict": "PROMOTE",
        "single_user_mode": False,
        "files": (ApprovedFile("bundle/model.json", "ab" * 32, 7),),
        "provenance": {"run_id": "r", "git.commit": "c"},
    }
    return Promotion(**fields | changed)


def write(database: Database, *promotions: Promotion) -> None:
    with database.transaction() as connection:
        for promotion in promotions:
            ledger.add_step(connection, promotion, "intent")
            ledger.add_step(connection, promotion, "confirmed")


def broken(connection: Connection) -> Break | None:
    return find_break(read_chain(connection))


@contextmanager
def tampered(database: Database, *statements: str) -> Iterator[Connection]:
    """What somebody leaves who may drop the trigger; rolled back afterwards."""
    with database.transaction() as connection:
        connection.execute("alter table promotions disable trigger user")
        for statement in statements:
            connection.execute(statement.encode())
        yield connection
        connection.rollback()


def chain(contents: list[str]) -> list[ChainedStep]:
    steps: list[ChainedStep] = []
    for number, content in enumerate(contents, 1):
        previous = steps[-1].hash if steps else GENESIS
        steps.append(ChainedStep(number, previous, hash_of(previous, content), content))
    return steps


chains = st.lists(st.text(), min_size=2, max_size=12).map(chain)


@given(chains)
def test_a_chain_as_it_was_written_holds(steps: list[ChainedStep]) -> None:
    assert find_break(steps) is None


@given(chains, st.data())
def test_one_changed_step_is_named(steps: list[ChainedStep], data: st.DataObject) -> None:
    place = data.draw(st.integers(0, len(steps) - 1))
    content = data.draw(st.text().filter(lambda text: text != steps[place].content))
    found = find_break([*steps[:place], replace(steps[place], content=content), *steps[place + 1 :]])
    assert found is not None
    assert (found.step, found.damage) == (steps[place].step, "changed")


@given(chains, st.data())
def test_a_changed_step_whose_own_hash_was_made_to_fit_breaks_at_the_next(
    steps: list[ChainedStep], data: st.DataObject
) -> None:
    place = data.draw(st.integers(0, len(steps) - 2))
    forged = steps[place].content + "forged"
    there = replace(steps[place], content=forged, hash=hash_of(steps[place].previous, forged))
    found = find_break([*steps[:place], there, *steps[place + 1 :]])
    assert found is not None
    assert (found.step, found.damage) == (steps[place + 1].step, "out of order")


@given(chains, st.data())
def test_steps_that_were_removed_are_named_unless_they_are_the_newest(
    steps: list[ChainedStep], data: st.DataObject
) -> None:
    first = data.draw(st.integers(0, len(steps) - 2))
    last = data.draw(st.integers(first, len(steps) - 2))
    found = find_break([*steps[:first], *steps[last + 1 :]])
    assert found is not None
    assert (found.step, found.damage) == (steps[first].step, "removed")


@given(chains, st.data())
def test_two_steps_that_changed_places_are_found(steps: list[ChainedStep], data: st.DataObject) -> None:
    one = data.draw(st.integers(0, len(steps) - 2))
    other = data.draw(st.integers(one + 1, len(steps) - 1))
    swapped = [*steps]
    swapped[one], swapped[other] = replace(steps[other], step=one + 1), replace(steps[one], step=other + 1)
    found = find_break(swapped)
    assert found is not None
    assert found.step <= other + 1


@given(chains, st.data())
def test_a_step_that_was_put_in_is_found(steps: list[ChainedStep], data: st.DataObject) -> None:
    place = data.draw(st.integers(0, len(steps) - 1))
    previous = data.draw(st.sampled_from([GENESIS, *(step.hash for step in steps)]))
    forged = ChainedStep(place + 1, previous, hash_of(previous, "forged"), "forged")
    later = [replace(step, step=step.step + 1) for step in steps[place:]]
    assert find_break([*steps[:place], forged, *later]) is not None


def test_the_database_hashes_what_python_hashes_whatever_the_text(database: Database) -> None:
    texts = (
        "plain",
        'quote " back \\ slash',
        "new\nline\ttab\r\x01\x7f\x80",
        "Größe 漢字 \U0001f600 \u2028",
        "{}[],:",
        " ",
    )
    write(database, *(a_promotion(reason=text, provenance={text: text, "run_id": "r"}) for text in texts))
    with database.transaction() as connection:
        steps = list(read_chain(connection))
    assert find_break(steps) is None
    assert [step.step for step in steps] == list(range(1, 2 * len(texts) + 1))
    assert [step.previous for step in steps] == [GENESIS, *(step.hash for step in steps[:-1])]


@pytest.mark.parametrize(
    "change",
    [
        "promotion_id = gen_random_uuid()",
        "action = 'rollback'",
        "model_name = 'delivery.effort'",
        "from_version = 7",
        "to_version = 7",
        "actor = 'mallory'",
        "reason = 'another'",
        "verdict = 'REJECT'",
        "overridden = true",
        "trained_by_actor = true",
        "single_user_mode = true",
        "files = '[]'",
        'provenance = provenance || \'{"git.commit": "d"}\'',
        "recorded_at = recorded_at - interval '1 microsecond'",
        "chained_afterwards = true",
        "hash = repeat('0', 64)",
        "previous_hash = ''",
    ],
)
def test_whatever_is_changed_in_a_row_is_named(database: Database, change: str) -> None:
    write(database, a_promotion(), a_promotion(to_version=2, from_version=1))
    with tampered(database, f"update promotions set {change} where step = 4") as connection:
        assert broken(connection) == Break(4, "changed", "step 4 is not what was written: somebody changed it")


def test_a_row_that_was_removed_or_moved_is_named(database: Database) -> None:
    write(database, *(a_promotion(to_version=version) for version in (1, 2, 3)))
    with tampered(database, "delete from promotions where step = 3") as connection:
        assert broken(connection) == Break(3, "removed", "step 3 is missing: somebody removed what stood there")
    with tampered(database, "delete from promotions where step in (1, 2)") as connection:
        assert broken(connection) == Break(1, "removed", "steps 1 to 2 are missing: somebody removed what stood there")
    swap = "update promotions set step = {} where step = {}"
    with tampered(database, swap.format(99, 2), swap.format(2, 3), swap.format(3, 99)) as connection:
        found = broken(connection)
        assert found is not None
        assert (found.step, found.damage) == (2, "changed")


def test_steps_of_several_models_at_once_make_one_chain_without_a_gap(database: Database) -> None:
    def promote(number: int) -> None:
        for version in range(1, 6):
            write(database, a_promotion(model_name=f"delivery.m{number}", to_version=version))

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(promote, range(4)))
    with database.transaction() as connection:
        assert [step.step for step in read_chain(connection)] == list(range(1, 41))
        assert broken(connection) is None


def test_a_transaction_that_fails_leaves_no_gap(database: Database) -> None:
    write(database, a_promotion())
    with pytest.raises(psycopg.errors.CheckViolation):
        write(database, a_promotion(reason=""))
    write(database, a_promotion(to_version=2))
    with database.transaction() as connection:
        assert [step.step for step in read_chain(connection)] == [1, 2, 3, 4]


@pytest.fixture
def before_the_chain(postgresql: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[Database]:
    """A database as it was before the ledger was chained."""
    with (
        temporary_database(postgresql.require_database_url(), f"unchained_{new_id().hex}") as url,
        Database(url, 2) as database,
    ):
        with monkeypatch.context() as before:
            older = [migration for migration in migrations() if migration.number < NUMBER]
            before.setattr(migrate_module, "migrations", lambda: older)
            migrate(database)
        yield database


def insert_unchained(connection: Connection, version: int) -> None:
    connection.execute(
        "insert into promotions (promotion_id, outcome, action, model_name, to_version, actor, reason, verdict, "
        "single_user_mode, files, provenance) values (%s, 'confirmed', 'promote', %s, %s, 'ada', 'Größe', 'UNGATED', "
        "true, '[]', '{\"run_id\": \"r\"}')",
        (new_id(), MODEL, version),
    )


def test_steps_of_before_the_chain_are_chained_afterwards_and_say_so(before_the_chain: Database) -> None:
    database = before_the_chain
    with database.transaction() as connection:
        insert_unchained(connection, 1)
        connection.execute("select nextval('promotions_step_seq')")  # a number that nobody used
        insert_unchained(connection, 2)
    assert NUMBER in [migration.number for migration in migrate(database)]
    write(database, a_promotion(to_version=3))
    with database.transaction() as connection:
        assert [(step.step, step.chained_afterwards) for step in read_chain(connection)] == [
            (1, True), (3, True), (4, False), (5, False),
        ]  # fmt: skip
        assert broken(connection) is None
        assert [step.promotion.to_version for step in ledger.confirmed_steps(connection, MODEL)] == [1, 2, 3]
    with tampered(database, "update promotions set actor = 'mallory' where step = 3") as connection:
        found = broken(connection)
        assert found is not None
        assert (found.step, found.damage) == (3, "changed")
    with pytest.raises(psycopg.errors.RaiseException, match="append-only"), database.transaction() as connection:
        connection.execute("delete from promotions")


def test_a_head_names_the_newest_step(database: Database) -> None:
    write(database, a_promotion())
    with database.transaction() as connection:
        (newest,) = ledger.history(connection, MODEL)
        assert [step.hash for step in read_chain(connection)][-1] == newest.hash
