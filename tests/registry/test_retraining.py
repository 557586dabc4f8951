"""Retraining decisions on a real database: what is measured, what is written down, and what is planned, once."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from threading import Barrier

import pytest
from shop import DAY, EFFORT, Shop, issues, signal

import projects
from forecastle.errors import NotFoundError
from forecastle.monitoring.decision import Replacement
from forecastle.monitoring.signals import UNITS
from forecastle.monitoring.verdict import Verdict as GateVerdict
from forecastle.registry.decisions import list_decisions
from forecastle.registry.retraining import Asked, consider, decide, refusal_to_promote, replacement_for
from forecastle.store import job_runs
from forecastle.store.database import Database
from forecastle.store.identifiers import new_id
from forecastle.store.job_runs import Ending

DONE = Ending("succeeded", "MLflow run 1")
BROKEN = Ending("failed", "it could not", error_code="training")


@pytest.fixture
def empty(database: Database) -> Shop:
    return Shop(database)


@pytest.fixture
def shop(empty: Shop) -> Shop:
    """One whose version 1 was taught by 200 rows, and serves."""
    empty.bring(issues(200))
    empty.promote()
    return empty


def trainings(shop: Shop) -> list[job_runs.JobRun]:
    with shop.database.transaction() as connection:
        return job_runs.list_runs(connection, 30, "training.train")


def days_ago(shop: Shop, days: float, count: int, of: int = 1) -> list[datetime]:
    """Moments within one of these days before now."""
    last = shop.now() - days * DAY
    return [last - number * DAY / of / count for number in range(count)]


def test_where_nothing_serves_a_training_is_planned_as_soon_as_there_are_rows_enough(empty: Shop) -> None:
    empty.bring(issues(30))
    found = empty.decide()
    assert (found.verdict, found.flip) == ("CANNOT", "would retrain with 20 more rows")
    empty.bring(issues(50))
    found = empty.decide()
    assert (found.verdict, found.serves) == ("RETRAIN", None)
    (run,) = trainings(empty)
    assert (run.id, run.planned_by) == (found.training_run, "ada")
    assert run.arguments == {"model_type": EFFORT.name, "project": "all"}
    assert [one["name"] for one in found.signals if not one["measured"]] == [*UNITS][1:]


def test_a_fresh_version_waits_and_the_no_is_written_down_as_well(shop: Shop) -> None:
    found = shop.decide()
    assert (found.verdict, found.serves, found.training_run) == ("WAIT", 1, None)
    assert [one["name"] for one in found.signals] == [*UNITS]
    assert [one["name"] for one in found.signals if one["measured"]] == [
        "nothing serves", "age", "new rows", "feature code", "rows to be unlearned"
    ]  # fmt: skip
    assert list_decisions(shop.database, projects.discover(), EFFORT.name) == [found]
    assert trainings(shop) == []


def test_considering_says_the_same_and_writes_and_plans_nothing(empty: Shop) -> None:
    empty.bring(issues(60))
    found = consider(empty.database, projects.discover(), EFFORT.name, Asked("ada"))
    assert (found.verdict, found.training_run) == ("RETRAIN", None)
    assert list_decisions(empty.database, projects.discover(), EFFORT.name) == []
    assert trainings(empty) == []


def test_age_new_rows_and_changed_code_fire(shop: Shop) -> None:
    assert signal(shop.decide(29 * DAY), "age")["fired"] is False
    shop.bring(issues(1, shop.now()))
    assert replacement_for(shop.decide()) is None
    found = shop.decide(31 * DAY)
    assert replacement_for(found) is Replacement.AGE
    assert (found.verdict, signal(found, "age")["value"]) == ("RETRAIN", pytest.approx(31, abs=0.01))
    assert found.flip == "would wait without age > 30 days"
    shop.bring(issues(38, shop.now() + DAY))
    assert signal(shop.decide(), "new rows")["value"] == 39
    shop.bring(issues(1, shop.now() + 2 * DAY))
    assert signal(shop.decide(), "new rows")["fired"] is True  # 20 % of 200


def test_code_that_changed_since_the_training_fires(empty: Shop) -> None:
    empty.bring(issues(60))
    empty.promote(**{"feature.digest": "another"})
    empty.bring(issues(1, empty.now()))
    found = empty.decide()
    assert signal(found, "feature code")["fired"] is True
    assert replacement_for(found) is Replacement.FEATURE_CODE


def test_rows_that_taught_and_were_marked_since_fire_and_teach_no_more(shop: Shop) -> None:
    from forecastle.registry.dataset import read_rows
    from forecastle.store.unlearning import mark_period, withdraw_period

    first = issues(200)[0].created_at
    assert first is not None
    with shop.database.transaction() as connection:
        period = mark_period(connection, EFFORT.name, None, first, first + 5 * DAY, "the clock was wrong", "ada")
    rows = read_rows(shop.database, EFFORT)
    assert 0 < rows.unlearned < 100
    assert len(rows.rows) == 200 - rows.unlearned
    found = shop.decide(DAY)
    assert signal(found, "rows to be unlearned")["value"] == rows.unlearned
    assert (found.verdict, found.basis["rows"]) == ("RETRAIN", len(rows.rows))
    with shop.database.transaction() as connection:
        withdraw_period(connection, period.id, "ada")
    assert len(read_rows(shop.database, EFFORT).rows) == 200


def test_answers_that_err_more_than_at_the_promotion_fire_and_so_do_intervals_that_hold_too_little(shop: Shop) -> None:
    shop.answer(days_ago(shop, -10, 49), value=8, truth=8 + 3, width=1)
    assert signal(shop.decide(10 * DAY), "realised error")["measured"] is False
    shop.answer(days_ago(shop, -11, 20), value=8, truth=8 + 3, width=1)
    found = shop.decide(12 * DAY)
    error, held = signal(found, "realised error"), signal(found, "coverage")
    assert error["value"] == pytest.approx(0.5)  # 3 h beside 2 h on the rows held back
    assert "held back" in error["sentence"]
    assert (error["fired"], held["fired"]) == (True, True)
    assert "intervals held 0.0% of 69 outcomes" in held["sentence"]


def test_what_was_realised_after_the_promotion_is_compared_with_once_it_is_over(shop: Shop) -> None:
    shop.answer(days_ago(shop, -5, 60, of=4), value=8, truth=8 + 4)
    shop.answer(days_ago(shop, -70, 60, of=4), value=4, truth=4 + 4.1)
    found = shop.decide(71 * DAY)
    error = signal(found, "realised error")
    assert error["value"] == pytest.approx(0.025)
    assert "on 60 after its promotion" in error["sentence"]
    assert error["fired"] is False
    drifted = signal(found, "prediction PSI")
    assert drifted["fired"] is True
    assert drifted["sentence"].startswith("answers, 60 rows then and 60 now")


def test_a_correction_of_an_outcome_is_what_counts(shop: Shop) -> None:
    moments = days_ago(shop, -10, 60)
    shop.answer(moments, value=8, truth=80)
    with shop.database.transaction() as connection:
        connection.execute(
            "insert into ground_truth (family, prediction_id, id, value, source, known_at, recorded_by) "
            "select family, prediction_id, gen_random_uuid(), 9, 's', now(), 'ada' from ground_truth"
        )
    assert signal(shop.decide(12 * DAY), "realised error")["value"] == pytest.approx(-0.5)


def test_other_estimates_than_those_that_taught_are_input_drift(shop: Shop) -> None:
    start = shop.now() + DAY
    shop.bring(issues(150, start))
    calm = shop.decide(40 * DAY)
    assert signal(calm, "input PSI")["measured"] is True
    assert signal(calm, "input distance")["fired"] is False
    shop.bring(issues(400, start + 60 * DAY, median_hours=40.0))
    found = shop.decide(200 * DAY)
    assert signal(found, "input PSI")["fired"] is True
    assert replacement_for(found) is Replacement.AGE  # of several, the first that is certain
    assert signal(found, "input PSI")["sentence"].startswith("estimate_hours, 200 rows then and 550 now")


def test_a_version_that_was_trained_by_hand_a_moment_ago_is_left_to_cool_down(shop: Shop) -> None:
    shop.bring(issues(60, shop.now()))
    found = shop.decide()
    assert (found.verdict, found.basis["last_training"]["succeeded"]) == ("CANNOT", None)
    assert found.flip.startswith("would retrain after ")


def test_while_a_training_waits_or_has_just_ended_no_other_one_is_planned(shop: Shop) -> None:
    shop.bring(issues(60, shop.now()))
    first = shop.decide(DAY)
    assert first.verdict == "RETRAIN"
    second = shop.decide(DAY)
    assert (second.verdict, second.flip) == ("CANNOT", "would retrain once that training has ended")
    with shop.database.transaction() as connection:
        assert first.training_run is not None
        held = job_runs.take_lease(connection, first.training_run, "worker", 30)
    assert held is not None
    shop.save_data()
    shop.end(held, DONE)
    third = shop.decide()
    assert third.verdict == "CANNOT"
    assert third.flip.startswith("would retrain after 2")
    assert third.basis["last_training"]["succeeded"] is True
    assert len(trainings(shop)) == 1
    # Its version does not serve: it takes as many rows again, a fifth of 260, before another one is worth its cost.
    fourth = shop.decide(2 * DAY)
    assert fourth.flip == "would retrain with 50 more new rows"
    shop.bring(issues(50, shop.now() + DAY))
    assert shop.decide(2 * DAY).verdict == "RETRAIN"


def test_after_a_failure_it_takes_new_rows_or_other_code_and_a_server_that_was_away_does_not_count(shop: Shop) -> None:
    shop.bring(issues(60, shop.now()))
    shop.train(Ending("failed", "MLflow was away", error_code="server_unavailable"))
    assert shop.decide(DAY).verdict == "RETRAIN"
    with shop.database.transaction() as connection:
        connection.execute("delete from job_runs")
    failed = shop.train(BROKEN)
    found = shop.decide(DAY)
    assert found.verdict == "CANNOT"
    assert "nothing new: 0 rows since the last training, which failed; it takes 40" in found.reasons
    with shop.database.transaction() as connection:  # as if a decision with other code had planned it
        connection.execute(
            "update retraining_decisions set verdict = 'RETRAIN', feature_digest = 'x', training_run = %s "
            "where id = %s",
            (failed, found.id),
        )
    assert shop.decide(DAY).verdict == "RETRAIN"


def test_the_same_run_decides_once_and_plans_once(shop: Shop) -> None:
    shop.bring(issues(60, shop.now()))
    run = new_id()
    first, again = (shop.decide(DAY, run=run, due_key="tick") for _ in range(2))
    assert (first.id, first.training_run) == (again.id, again.training_run)
    (planned,) = trainings(shop)
    assert planned.due_key == "tick/delivery.effort"


def test_two_that_decide_at_once_plan_one_training(shop: Shop) -> None:
    shop.bring(issues(60, shop.now()))
    together, asked = Barrier(2), Asked("ada", moment=shop.now() + DAY)

    def one(_: int) -> str:
        together.wait()
        return decide(shop.database, projects.discover(), EFFORT.name, asked).verdict

    with ThreadPoolExecutor(2) as pool:
        assert sorted(pool.map(one, range(2))) == ["CANNOT", "RETRAIN"]
    assert len(trainings(shop)) == 1


@pytest.mark.parametrize("name", ["delivery.nothing", "delivery.effort.nobody", "x"])
def test_what_does_not_exist_is_not_decided_about(shop: Shop, name: str) -> None:
    with pytest.raises(NotFoundError):
        decide(shop.database, projects.discover(), name, Asked("ada"))


def test_a_projects_own_model_counts_its_own_rows_under_one_name(shop: Shop) -> None:
    by_key = decide(shop.database, projects.discover(), "delivery.effort.DEMO1", Asked("ada"))
    assert (by_key.verdict, by_key.basis["rows"]) == ("RETRAIN", 200)
    (run,) = trainings(shop)
    assert by_key.model_name == f"delivery.effort.{run.arguments['project']}"
    assert decide(shop.database, projects.discover(), by_key.model_name, Asked("ada")).verdict == "CANNOT"


@pytest.mark.parametrize(
    "version, model, refusal",
    [
        ({"gate.verdict": GateVerdict.PROMOTE.value}, {}, None),
        ({"gate.verdict": "HOLD"}, {}, "its gate says HOLD"),
        ({}, {}, "its gate says nothing"),
        ({"gate.verdict": "PROMOTE", "promotion.block": "not before the audit"}, {}, "somebody blocks it"),
        ({"gate.verdict": "PROMOTE"}, {"promotion.block": ""}, "somebody blocks it"),
    ],
)
def test_a_policy_promotes_what_the_gate_promotes_and_nobody_blocks(
    version: dict[str, str], model: dict[str, str], refusal: str | None
) -> None:
    found = refusal_to_promote(version, model)
    assert found is None if refusal is None else found is not None and found.startswith(refusal)


def test_times_of_the_last_training_are_its_cost(shop: Shop) -> None:
    shop.train(DONE)
    last = shop.decide().basis["last_training"]
    assert last["rows"] == 200
    assert 0 < last["seconds"] < timedelta(minutes=1).total_seconds()
    assert last["cost"].endswith(" s on 200 rows")
