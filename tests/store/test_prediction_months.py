"""Predictions stand in a partition a family and month, which nobody has to wait for."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from threading import Barrier
from typing import Any
from uuid import UUID

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from predictions import a_prediction, id_at, some_project, write_truth

import projects
from forecastle.errors import ConflictError, ServerError
from forecastle.store import prediction_months
from forecastle.store.database import Connection, Database
from forecastle.store.identifiers import new_id
from forecastle.store.prediction_months import Month, drop_month, list_months, make_months_ahead, make_months_of
from forecastle.store.predictions import StoredPrediction, get_prediction, insert_predictions, write_predictions

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)
LATER = NOON + timedelta(days=10_000)
MODEL_TYPES = {family: f"{family}.something" for family in projects.FAMILIES}


@pytest.fixture
def project(database: Database) -> UUID:
    with database.transaction() as connection:
        return some_project(connection)


@pytest.fixture
def other(database_url: str) -> Iterator[psycopg.Connection[Any]]:
    """A connection of somebody else, who may hold locks until the test is over."""
    with psycopg.connect(database_url) as connection:
        yield connection
        connection.rollback()


def made_at(project: UUID, moment: datetime, family: str = "delivery") -> StoredPrediction:
    return a_prediction(project, id=id_at(moment), model_type=MODEL_TYPES[family])


def months(database: Database, family: str = "delivery") -> list[str]:
    with database.transaction() as connection:
        return [month.name for month in list_months(connection, family)]


def count(connection: Connection, table: str) -> int:
    row = connection.execute(f"select count(*) as n from {table}").fetchone()
    assert row is not None
    return int(row["n"])


def tables_read(connection: Connection, query: str, *values: object) -> set[str]:
    lines = [str(next(iter(row.values()))) for row in connection.execute(f"explain (analyze) {query}", values)]
    return {line.split(" on ")[1].split()[0] for line in lines if "Scan" in line and "never executed" not in line}


def test_this_month_and_two_more_are_made_ahead_for_every_family_and_the_second_time_none(database: Database) -> None:
    with database.transaction() as connection:
        assert make_months_ahead(connection, NOON + timedelta(days=900)) == 3 * len(projects.FAMILIES)
        assert make_months_ahead(connection, NOON + timedelta(days=900)) == 0
    for family in projects.FAMILIES:
        assert months(database, family)[-3:] == ["2029_05", "2029_06", "2029_07"]


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    moment=st.timedeltas(timedelta(days=365), timedelta(days=375_000)).map(lambda age: EPOCH + age),
    family=st.sampled_from(projects.FAMILIES),
)
def test_a_prediction_of_any_moment_is_written_into_its_month_and_found(
    database: Database, project: UUID, moment: datetime, family: str
) -> None:
    prediction = made_at(project, moment, family)
    write_predictions(database, [prediction])
    with database.transaction() as connection:
        assert get_prediction(connection, prediction.id) == prediction
        table = connection.execute("select tableoid::regclass::text from predictions where id = %s", (prediction.id,))
        assert table.fetchall() == [{"tableoid": f"predictions_{family}_{moment:%Y_%m}"}]


def test_the_last_and_the_first_millisecond_of_a_month_stand_in_their_own(database: Database, project: UUID) -> None:
    first = datetime(2031, 1, 1, tzinfo=UTC)
    write_predictions(database, [made_at(project, first - timedelta(milliseconds=1)), made_at(project, first)])
    with database.transaction() as connection:
        assert count(connection, "predictions_delivery_2030_12") == 1
        assert count(connection, "predictions_delivery_2031_01") == 1


def test_the_moment_in_an_id_is_when_it_was_made(database: Database) -> None:
    with database.transaction() as connection:
        found = connection.execute("select moment_of_id(%s) - clock_timestamp() as apart", (new_id(),)).fetchone()
    assert found is not None
    assert abs(found["apart"]) < timedelta(minutes=1)


def test_many_who_write_into_a_month_that_is_not_there_all_succeed(database: Database, project: UUID) -> None:
    together = Barrier(4, timeout=30)

    def write(second: int) -> None:
        together.wait()
        write_predictions(database, [made_at(project, LATER + timedelta(seconds=second))])

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(write, range(4)))
    with database.transaction() as connection:
        assert count(connection, f"predictions_delivery_{LATER:%Y_%m}") == 4


def test_a_row_that_breaks_a_rule_is_refused_and_makes_no_month(database: Database, project: UUID) -> None:
    before = months(database)
    with pytest.raises(psycopg.errors.CheckViolation), database.transaction() as connection:
        insert_predictions(connection, [made_at(project, LATER)])
    with pytest.raises(psycopg.errors.NotNullViolation):
        write_predictions(database, [a_prediction(project, method=None)])
    assert months(database) == before


@pytest.mark.parametrize("plan", ["force_custom_plan", "force_generic_plan"])
def test_a_look_up_by_id_reads_one_month_of_each_family(database: Database, project: UUID, plan: str) -> None:
    predictions = [
        made_at(project, datetime(2027 + month // 12, month % 12 + 1, 15, tzinfo=UTC), family)
        for month in range(24)
        for family in projects.FAMILIES
    ]
    write_predictions(database, predictions)
    with database.transaction() as connection:
        connection.execute("select set_config('plan_cache_mode', %s, true)", (plan,))
        connection.execute("prepare look_up (uuid) as select * from predictions where id = $1")
        read = tables_read(connection, f"execute look_up ('{predictions[0].id}')")
    assert read == {"predictions_delivery_2027_01", "predictions_reliability_2027_01"}


def test_ground_truth_is_of_a_prediction_that_is_there(database: Database, project: UUID) -> None:
    prediction = a_prediction(project)
    with pytest.raises(psycopg.errors.ForeignKeyViolation), database.transaction() as connection:
        write_truth(connection, prediction)
    with database.transaction() as connection:
        insert_predictions(connection, [prediction])
        write_truth(connection, prediction)
    with pytest.raises(psycopg.errors.ForeignKeyViolation), database.transaction() as connection:
        connection.execute("delete from predictions")


@pytest.mark.parametrize("writes", [True, False])
def test_a_month_is_made_while_others_read_and_write_predictions(
    database: Database, project: UUID, other: psycopg.Connection[Any], writes: bool
) -> None:
    prediction = a_prediction(project)
    write_predictions(database, [prediction])
    other.execute("select * from predictions cross join ground_truth cross join projects")
    if writes:
        other.execute("update predictions set method = 'other'")
    with database.transaction() as connection:
        make_months_of(connection, [("delivery", id_at(LATER))])
    assert months(database)[-1] == f"{LATER:%Y_%m}"


def test_a_month_that_cannot_be_made_while_an_import_runs_is_a_server_error_that_may_be_tried_again(
    database: Database, project: UUID, other: psycopg.Connection[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prediction_months, "MAKING_TIMEOUT_MS", 50)
    other.execute("update projects set key = key")
    prediction = made_at(project, LATER)
    with pytest.raises(ServerError, match="try again"):
        write_predictions(database, [prediction])
    other.rollback()
    write_predictions(database, [prediction])


def test_a_dropped_month_takes_its_ground_truth_along_and_nothing_else(database: Database, project: UUID) -> None:
    old = [made_at(project, LATER, family) for family in projects.FAMILIES]
    write_predictions(database, [*old, a_prediction(project)])
    with database.transaction() as connection:
        for prediction in old:
            write_truth(connection, prediction)
        month = Month("delivery", f"{LATER:%Y_%m}")
        assert drop_month(connection, month, datetime.now(UTC) + timedelta(minutes=1)) == 1
        assert [count(connection, table) for table in ("predictions", "ground_truth")] == [2, 1]
    assert month.name not in months(database)


def test_a_month_that_holds_a_prediction_made_lately_by_the_databases_clock_stays(
    database: Database, project: UUID
) -> None:
    write_predictions(database, [made_at(project, NOON - timedelta(days=4000))])
    with database.transaction() as connection:
        (month,) = list_months(connection, "delivery", NOON - timedelta(days=365))
        assert drop_month(connection, month, NOON - timedelta(days=365)) is None
        assert count(connection, "predictions") == 1


def test_a_month_that_somebody_reads_is_left_and_predictions_are_written_meanwhile(
    database: Database, project: UUID, other: psycopg.Connection[Any]
) -> None:
    write_predictions(database, [made_at(project, LATER)])
    other.execute(f"select * from predictions_delivery_{LATER:%Y_%m} cross join ground_truth")
    with pytest.raises(ConflictError, match="in use"), database.transaction() as connection:
        drop_month(connection, Month("delivery", f"{LATER:%Y_%m}"), datetime.now(UTC) + timedelta(minutes=1))
    write_predictions(database, [a_prediction(project)])
    with database.transaction() as connection:
        assert count(connection, "predictions") == 2


def test_months_that_end_by_a_moment_are_listed_the_oldest_first(database: Database) -> None:
    with database.transaction() as connection:
        for moment in (datetime(2001, 2, 1, tzinfo=UTC), datetime(2000, 12, 31, tzinfo=UTC)):
            make_months_of(connection, [("reliability", id_at(moment))])
        march = datetime(2001, 3, 1, tzinfo=UTC)
        assert [m.name for m in list_months(connection, "reliability", march)] == ["2000_12", "2001_02"]
        assert [m.name for m in list_months(connection, "reliability", march - timedelta(seconds=1))] == ["2000_12"]
        assert list_months(connection, "delivery", march) == []


def test_months_are_listed_whatever_the_server_knows_of_its_tables(database: Database) -> None:
    with database.transaction() as connection:
        for number in range(48):
            first = datetime(2000 + number // 12, number % 12 + 1, 1, tzinfo=UTC)
            make_months_of(connection, [(family, id_at(first)) for family in projects.FAMILIES])
    for statement in ("select 1", "analyze"):  # what is known decides in which order PostgreSQL works
        with database.transaction() as connection:
            connection.execute(statement)
            assert len(list_months(connection, "reliability", datetime(2004, 1, 1, tzinfo=UTC))) == 48
