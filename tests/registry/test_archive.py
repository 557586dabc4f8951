"""What is archived, and what must never be: pure decisions, and the one look at what the ledger and answers name."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st
from predictions import a_prediction, some_project

from forecastle.registry.archive import KEPT, KEPT_VERSIONS, Decision, decide
from forecastle.registry.cleanup import RunningRun
from forecastle.registry.lost_runs import FORGOTTEN_AFTER, job_of, lost_because, name_of
from forecastle.registry.mlflow_rest import Version
from forecastle.registry.verification import verify
from forecastle.store.database import Database
from forecastle.store.identifiers import new_id
from forecastle.store.predictions import write_predictions
from forecastle.store.promotions import Promotion, add_step
from forecastle.store.references import Logged, named_by_ledger, read_logged, unnamed_datasets

NOW = datetime(2026, 11, 20, 5, tzinfo=UTC)
MODEL = "delivery.effort"


def a_version(
    number: int, days: float = 100, name: str = MODEL, run: str = "", aliases: tuple[str, ...] = ()
) -> Version:
    made = (NOW - timedelta(days=days)).timestamp() * 1000
    return Version(name, number, run or f"run of {name}/{number}", aliases, {}, int(made))


def removed(decisions: list[Decision]) -> list[int]:
    return sorted(one.version.version for one in decisions if one.stays_because is None)


def reasons(decisions: list[Decision]) -> dict[int, str | None]:
    return {one.version.version: one.stays_because for one in decisions}


def test_versions_beyond_the_last_three_go_after_ninety_days() -> None:
    ages = {1: 400, 2: 91, 3: 90, 4: 89, 5: 100, 6: 100, 7: 100}
    found = decide([a_version(number, days) for number, days in ages.items()], set(), NOW)
    assert removed(found) == [1, 2]
    assert reasons(found)[4] == "made 89 days ago, 90 are kept"
    assert reasons(found)[5] == "one of the last 3"


def test_the_last_three_are_those_of_each_registered_model() -> None:
    found = decide(
        [a_version(n, name=name) for name in (MODEL, "delivery.story_points") for n in range(1, 5)], set(), NOW
    )
    assert removed(found) == [1, 1]


def test_what_has_an_alias_or_is_named_stays() -> None:
    versions = [a_version(n, aliases=("staging",) if n == 2 else ()) for n in range(1, 8)]
    found = decide(versions, {(MODEL, 1), ("delivery.story_points", 3)}, NOW)
    assert removed(found) == [3, 4]
    assert reasons(found)[1] == "the ledger or a logged prediction names it"
    assert reasons(found)[2] == "alias staging"


def test_a_run_with_a_version_that_stays_keeps_its_other_versions() -> None:
    shared = [a_version(1, run="shared"), a_version(1, name="own.copy", run="shared")]
    found = decide([*shared, *(a_version(n) for n in range(2, 6))], set(), NOW)
    assert [(one.version.name, one.version.version) for one in found if one.stays_because is None] == [(MODEL, 2)]
    assert reasons([one for one in found if one.version.name == MODEL])[1] == "its run has another version, which stays"


def test_versions_that_come_from_no_run_share_none() -> None:
    versions = [replace(a_version(n), run_id="") for n in range(1, 6)]
    assert removed(decide(versions, set(), NOW)) == [1, 2]


VERSIONS = st.lists(
    st.builds(
        a_version,
        st.integers(1, 12),
        st.floats(0, 400),
        st.sampled_from([MODEL, "delivery.story_points"]),
        st.sampled_from(["", "one", "two"]),
        st.sampled_from([(), ("staging",)]),
    ),
    max_size=20,
    unique_by=lambda version: (version.name, version.version),
)


@given(VERSIONS, st.sets(st.tuples(st.just(MODEL), st.integers(1, 12))))
def test_nothing_that_is_young_named_new_or_shared_ever_goes(
    versions: list[Version], named: set[tuple[str, int]]
) -> None:
    found = decide(versions, named, NOW)
    assert len(found) == len(versions)
    needed = {one.version.run_id for one in found if one.stays_because is not None}
    for version in (one.version for one in found if one.stays_because is None):
        newer = [one for one in versions if one.name == version.name and one.version > version.version]
        assert len(newer) >= KEPT_VERSIONS
        assert version.created_at_ms < (NOW - KEPT).timestamp() * 1000
        assert not version.aliases
        assert (version.name, version.version) not in named
        assert version.run_id not in needed


def test_the_ledger_and_logged_predictions_say_what_they_name(database: Database) -> None:
    files: tuple[()] = ()
    with database.transaction() as connection:
        project = some_project(connection)
        for outcome, before, after in (("undone", 1, 2), ("confirmed", None, 3)):
            moved = Promotion(
                new_id(), "promote", MODEL, before, after, "rita", "r", "HOLD", False, files, {"run_id": f"run {after}"}
            )
            add_step(connection, moved, outcome)  # type: ignore[arg-type]
    write_predictions(
        database, [a_prediction(project, model_type=MODEL, model_name=MODEL, model_version=4, run_id="run 4")]
    )
    asked = [(MODEL, number, f"run {number}") for number in range(1, 7)]
    others = [("another", 3, "run x"), ("another", 9, "run 3")]  # of the same run
    with database.transaction() as connection:
        assert named_by_ledger(connection, [*asked, *others]) == {*((MODEL, n) for n in (1, 2, 3)), ("another", 9)}
        assert named_by_ledger(connection, []) == set()
        logged = read_logged(connection)
    assert logged == Logged(frozenset({(MODEL, 4)}), frozenset({"run 4"}), frozenset({"d"}))
    assert [logged.names(*one) for one in ((MODEL, 4, "x"), ("another", 1, "run 4"), (MODEL, 5, "run 5"))] == [
        True, True, False
    ]  # fmt: skip


@pytest.mark.parametrize(
    "named_by", ["nobody", "a version", "the ledger", "the ledger of before", "a prediction", "its age"]
)
def test_a_dataset_version_goes_only_where_nobody_names_it(database: Database, named_by: str) -> None:
    days = 10 if named_by == "its age" else 100
    with database.transaction() as connection:
        project = some_project(connection)
        for number in (1, 2):
            connection.execute(
                "insert into dataset_versions (id, name, version, digest, object_name, rows, clusters, time_basis, "
                "span_from, span_until, created_at) values (%s, %s, %s, %s, %s, 1, 1, 'date', '', '', %s)",
                (new_id(), MODEL, number, f"digest {number}", f"datasets/{number}", NOW - timedelta(days=days)),
            )
        if "the ledger" in named_by:
            provenance = {"dataset.digest" if named_by.endswith("before") else "data.digest": "digest 1"}
            moved = Promotion(new_id(), "promote", MODEL, None, 9, "rita", "r", "HOLD", False, (), provenance)
            assert add_step(connection, moved, "confirmed").promotion.provenance == {"data.digest": "digest 1"}
            assert verify(connection).broken is None
    if named_by == "a prediction":
        write_predictions(database, [a_prediction(project, dataset_digest="digest 1")])
    named = {"digest 1"} if named_by == "a version" else {"another"}
    with database.transaction() as connection:
        found = unnamed_datasets(connection, NOW - KEPT, named | read_logged(connection).digests)
    assert [one.object_name for one in found] == (["datasets/1"] if named_by == "nobody" else [])


def a_run(name: str, hours: float = 1) -> RunningRun:
    return RunningRun("r", name, NOW - timedelta(hours=hours))


def test_a_run_is_lost_when_its_job_is_over_or_nothing_was_heard_of_it_for_a_day() -> None:
    job = uuid4()
    assert job_of(name_of(job)) == job
    assert lost_because(a_run(name_of(job), 1000), {job}, NOW) is None
    assert lost_because(a_run(name_of(job)), {uuid4()}, NOW) == f"its job {job} is over"
    assert lost_because(a_run("nimble-ant-7", 23.9), {job}, NOW) is None
    assert lost_because(a_run("job of mine", 25), {job}, NOW) == "nothing was heard of it for 24 hours"
    assert timedelta(hours=24) == FORGOTTEN_AFTER
