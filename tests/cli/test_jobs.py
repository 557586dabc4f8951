"""`forecastle jobs` over a real database; nobody does the jobs here."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from cli.main import main
from forecastle.settings import Settings
from forecastle.store import job_runs
from forecastle.store.database import Database
from forecastle.store.job_runs import Ending

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(database_url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs the command against a database where one admin is known."""
    for name in {item.metadata["variable"] for item in fields(Settings)} & set(os.environ):
        monkeypatch.delenv(name)
    monkeypatch.setenv("FORECASTLE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("DATABASE_URL", database_url)

    def run(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["forecastle", *arguments])
        capsys.readouterr()
        code: Any = 0
        try:
            main()
        except SystemExit as leaving:
            code = leaving.code or 0
        out, err = capsys.readouterr()
        return code, out, err

    run("users", "add", "ada", "--role", "admin")
    return run


def end(database: Database, run_id: str, ending: Ending) -> None:
    with database.transaction() as connection:
        assert job_runs.end_unheld(connection, job_runs.find_id(connection, run_id), ending)


def test_a_run_is_planned_listed_cancelled_and_retried(run: Run, database: Database) -> None:
    assert run("jobs", "ls")[2].startswith("no run yet")
    code, out, _ = run("jobs", "run", "training.train", "--arg", "model_type=delivery.story_points")
    assert code == 0
    run_id = out.strip()
    (listed,) = json.loads(run("jobs", "ls", "--json")[1])
    assert (listed["id"], listed["state"], listed["planned_by"]) == (run_id, "planned", "ada")
    assert listed["arguments"] == {"model_type": "delivery.story_points"}
    assert "lease_token" not in listed
    code, _, err = run("jobs", "retry", run_id)
    assert (code, "has not ended; cancel it first" in err) == (1, True)
    assert run("jobs", "cancel", run_id)[:2] == (0, "cancelled\n")
    code, again, _ = run("jobs", "retry", run_id)
    assert code == 0
    table = run("jobs", "ls")[1]
    assert again.strip() in table
    assert "cancelled by ada before it ran" in table


def test_tail_tells_how_a_run_ended_and_its_exit_code_says_whether_it_succeeded(run: Run, database: Database) -> None:
    good, bad = (run("jobs", "run", "a.job")[1].strip() for _ in range(2))
    end(database, good, Ending("succeeded", "all of it", items=2))
    end(database, bad, Ending("failed", "it could not", error_code="internal"))
    assert run("jobs", "tail", good) == (0, "all of it\n", "a.job: succeeded\n")
    assert run("jobs", "tail", bad) == (1, "it could not\n", "a.job: failed\n")


@pytest.mark.parametrize(
    "arguments, code, sentence",
    [
        (("jobs", "tail", "0000"), 1, "no run with this id"),
        (("jobs", "cancel", "%"), 1, "no run with this id"),
        (("jobs", "run", "a.job", "--arg", "nothing"), 2, "nothing is not NAME=VALUE"),
    ],
)
def test_wrong_use_is_answered_with_a_sentence(run: Run, arguments: tuple[str, ...], code: int, sentence: str) -> None:
    ended = run(*arguments)
    assert ended[0] == code
    assert sentence in ended[2]
    assert "Traceback" not in ended[2]


def test_whoever_may_not_train_may_not_run_jobs(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    key = run("users", "add", "max", "--role", "member")[1].strip()
    monkeypatch.setenv("FORECASTLE_API_KEY", key)
    code, _, err = run("jobs", "run", "a.job")
    assert (code, "member may not train" in err) == (1, True)
