"""`forecastle retrain` over a real database: decided, said why, unlearned; nobody trains here."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from shop import EFFORT, Shop, issues

from forecastle.access.principals import Role, add_user
from forecastle.settings import Settings
from forecastle.store import job_runs
from forecastle.store.database import Database


@pytest.fixture
def shop(database: Database) -> Shop:
    with database.transaction() as connection:
        add_user(connection, "ada", Role.ADMIN)
    shop = Shop(database)
    shop.bring(issues(60))
    return shop


@pytest.fixture
def run(run_with: Any, shop: Shop, database_url: str) -> Any:
    return lambda *words: run_with(Settings(database_url=database_url), "retrain", *words)


def test_a_decision_is_made_plans_a_training_and_is_said_again_as_a_table(run: Any, shop: Shop) -> None:
    assert run("why", EFFORT.name)[2] == (
        "error: nothing was decided about delivery.effort yet: `forecastle retrain decide delivery.effort` does\n"
    )
    code, out, _ = run("decide", EFFORT.name)
    assert code == 0
    assert out.startswith("RETRAIN: delivery.effort, nothing serves; ")
    assert "| nothing serves " in out
    with shop.database.transaction() as connection:
        (planned,) = job_runs.list_runs(connection)
    assert (planned.name, planned.planned_by) == ("training.train", "ada")
    assert f"training planned: forecastle jobs tail {planned.id}" in out
    assert run("why", EFFORT.name)[1] == out
    told = json.loads(run("why", EFFORT.name, "--json")[1])
    assert (told["verdict"], told["training_run"], told["serves"]) == ("RETRAIN", str(planned.id), None)


def test_a_dry_run_needs_no_right_to_train_and_leaves_nothing_behind(
    run: Any, run_with: Any, shop: Shop, database_url: str
) -> None:
    with shop.database.transaction() as connection:
        key = add_user(connection, "vera", Role.VIEWER)
    vera = Settings(database_url=database_url, api_key=key)
    code, out, _ = run_with(vera, "retrain", "decide", EFFORT.name, "--dry-run", "--json")
    assert (code, json.loads(out)["verdict"]) == (0, "RETRAIN")
    code, _, err = run_with(vera, "retrain", "decide", EFFORT.name)
    assert (code, "viewer may not train" in err) == (1, True)
    with shop.database.transaction() as connection:
        assert job_runs.list_runs(connection) == []
        assert connection.execute("select * from retraining_decisions").fetchall() == []


def test_every_signal_stands_in_the_table_and_what_was_not_measured_is_said(run: Any, shop: Shop) -> None:
    shop.promote()
    out = run("decide", EFFORT.name)[1]
    assert out.startswith("WAIT: delivery.effort, version 1 serves; ")
    assert "- realised error could not be measured: 0 outcomes" in out
    lines = [line for line in out.splitlines() if line.startswith("| ")]
    assert len(lines) == 2 + 11
    assert next(line for line in lines if "| age " in line).split("|")[2:5] == [
        f" {'0 days':<12} ", f" {'> 30 days':<9} ", f" {'no':<12} "
    ]  # fmt: skip
    assert "last training: an unknown time on 60 rows" in out


def test_a_period_is_marked_listed_and_withdrawn(run: Any, shop: Shop) -> None:
    period = ("--from", "2026-01-01", "--until", "2026-01-03T12:00")
    code, out, err = run("unlearn", EFFORT.name, *period, "--reason", "the clock was wrong")
    assert code == 0
    left = int(err.split()[0])
    assert 0 < left < 60
    (listed,) = json.loads(run("periods", "--json")[1])
    assert (listed["id"], listed["reason"], listed["marked_by"]) == (out.strip(), "the clock was wrong", "ada")
    assert "2026-01-03 12:00" in run("periods")[1]
    assert json.loads(run("decide", EFFORT.name, "--json")[1])["basis"]["rows"] == 60 - left
    assert run("relearn", out.strip())[0] == 0
    assert run("periods")[2] == "no period is marked\n"
    assert run("relearn", out.strip())[0] == 1


@pytest.mark.parametrize(
    "words, code, sentence",
    [
        (("decide", "delivery.nothing"), 1, "belongs to no model type; there are: delivery.effort"),
        (("unlearn", "x", "--from", "2026-01-01", "--until", "2026-01-02", "-m", "r"), 1, "no model type x"),
        (
            ("unlearn", EFFORT.name, "--from", "2026-01-02", "--until", "2026-01-01", "-m", "r"),
            1,
            "begins before it ends",
        ),
        (("unlearn", EFFORT.name, "--from", "2026-01-01", "--until", "2026-01-02", "-m", " "), 2, "say why"),
        (("unlearn", EFFORT.name, "--from", "yesterday", "--until", "2026-01-02", "-m", "r"), 2, "--from"),
    ],
)
def test_wrong_use_is_answered_with_a_sentence(
    run: Any, words: tuple[str, ...], code: int, sentence: str, tmp_path: Path
) -> None:
    ended = run(*words)
    assert ended[0] == code
    assert sentence in ended[2]
    assert "Traceback" not in ended[2]
