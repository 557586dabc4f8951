"""The `forecastle` command over a real database: what it prints, what it leaves, how it refuses."""

from __future__ import annotations

import csv
import json
import os
import re
import socket
import sys
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql

from cli.data import say_left_out
from cli.main import main
from forecastle.errors import BrokenRow, ServerError
from forecastle.settings import Settings
from forecastle.store.database import Database
from projects import get_model_type

HEAD = "key,title,description,story_points\n"
MAP = (
    "--map",
    "key=key",
    "--map",
    "title=title",
    "--map",
    "description=description",
    "--map",
    "story_points=story_points",
)
FORECASTLE_VARIABLES = {item.metadata["variable"] for item in fields(Settings)}


@dataclass(frozen=True)
class Ended:
    code: int
    out: str
    err: str


Run = Callable[..., Ended]


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs the command with an empty home and no address given."""
    for name in [*os.environ]:
        if name.startswith(("FORECASTLE_", "AWS_")) or name in FORECASTLE_VARIABLES:
            monkeypatch.delenv(name)
    monkeypatch.setenv("FORECASTLE_HOME", str(tmp_path / "home"))

    def run(*arguments: object) -> Ended:
        monkeypatch.setattr(sys, "argv", ["forecastle", *map(str, arguments)])
        capsys.readouterr()
        code: Any = 0
        try:
            main()
        except SystemExit as leaving:
            code = leaving.code or 0
        out, err = capsys.readouterr()
        return Ended(code, out, err)

    return run


@pytest.fixture
def run(bare: Run, database_url: str, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs the command against a migrated database where nobody is known."""
    monkeypatch.setenv("DATABASE_URL", database_url)
    return bare


@pytest.fixture
def alone(run: Run) -> Run:
    """Runs the command where one admin is known, who needs no key."""
    assert run("users", "add", "ada", "--role", "admin").code == 0
    return run


def write(path: Path, *lines: str) -> Path:
    path.write_text(HEAD + "".join(f"{line}\n" for line in lines))
    return path


def assert_sentence(ended: Ended, *parts: str, code: int = 1) -> None:
    assert ended.code == code, ended
    assert ended.out == ""
    assert re.search(r"^error: ", ended.err, re.MULTILINE)
    assert "Traceback" not in ended.err
    for part in parts:
        assert part in ended.err


def issues(database: Database) -> int:
    with database.transaction() as connection:
        row = connection.execute("select count(*) as number from issues").fetchone()
    assert row is not None
    return int(row["number"])


def databases(url: str) -> set[str]:
    with psycopg.connect(url) as connection:
        return {str(row[0]) for row in connection.execute("select datname from pg_database")}


def test_broken_rows_are_named_by_file_and_line_and_nothing_is_written(
    alone: Run, database: Database, tmp_path: Path
) -> None:
    path = write(tmp_path / "issues.csv", "A-1,one,,3", "A-2,,,5", "A-3,three,,many", "A-4,four,,2000", "A-1,again,,1")
    ended = alone("import", "issues", path, *MAP)
    assert_sentence(
        ended,
        f"{path}:3: title: ",
        f"{path}:4: story_points: ",
        f"{path}:5: story_points: ",
        f"{path}:2: key: ",
        f"{path}:6: key: ",
        "nothing was kept",
        "--on-error skip",
    )
    assert issues(database) == 0


def test_broken_rows_can_be_left_out_and_are_named_then_too(alone: Run, database: Database, tmp_path: Path) -> None:
    path = write(tmp_path / "issues.csv", "A-1,one,,3", "A-2,,,many", "A-3,three,,5")
    ended = alone("import", "issues", path, *MAP, "--on-error", "skip")
    assert (ended.code, ended.out) == (0, "2 new, 0 changed, 0 unchanged, 1 skipped\n")
    assert f"left out: {path}:3: title: " in ended.err
    assert f"left out: {path}:3: story_points: " in ended.err
    assert issues(database) == 2


def test_of_many_rows_left_out_the_first_are_named_and_all_counted_by_rule(capsys: pytest.CaptureFixture[str]) -> None:
    say_left_out([BrokenRow("a.csv", line, "title", "the title is not empty") for line in range(2, 42)])
    said = capsys.readouterr().err.splitlines()
    assert sum("left out: a.csv:" in line for line in said) == 10
    assert said[-1].split() == ["40:", "the", "title", "is", "not", "empty"]


def test_the_same_file_again_changes_nothing_and_a_changed_row_is_counted(
    alone: Run, database: Database, tmp_path: Path
) -> None:
    path = write(tmp_path / "issues.csv", "A-1,one,,3", "A-2,two,,5")
    assert alone("import", "issues", path, *MAP).out == "2 new, 0 changed, 0 unchanged, 0 skipped\n"
    assert alone("import", "issues", path, *MAP).out == "0 new, 0 changed, 2 unchanged, 0 skipped\n"
    write(path, "A-1,one,,3", "A-2,two,,8", "A-3,three,,1")
    assert alone("import", "issues", path, *MAP).out == "1 new, 1 changed, 1 unchanged, 0 skipped\n"
    assert issues(database) == 3


def test_an_import_tells_what_it_did_as_json(alone: Run, tmp_path: Path) -> None:
    path = write(tmp_path / "issues.csv", "A-1,one,,3", "A-2,,,5")
    ended = alone("import", "issues", path, *MAP, "--on-error", "skip", "--json")
    told = json.loads(ended.out)
    assert {name: told[name] for name in ("new", "changed", "unchanged", "skipped")} == {
        "new": 1,
        "changed": 0,
        "unchanged": 0,
        "skipped": 1,
    }
    assert [(row["file"], row["line"], row["column"]) for row in told["broken"]] == [(str(path), 3, "title")]


@pytest.mark.parametrize(
    "options",
    [(), ("--preset", "deepse", *MAP), ("--preset", "deepse", "--mapping", "m.json"), (*MAP, "--mapping", "m.json")],
    ids=["none", "preset and map", "preset and mapping", "map and mapping"],
)
def test_there_is_exactly_one_way_to_read_a_file(alone: Run, tmp_path: Path, options: tuple[str, ...]) -> None:
    path = write(tmp_path / "issues.csv", "A-1,one,,3")
    ended = alone("import", "issues", path, *options)
    assert ended.code == 2
    assert "one of --preset NAME, --map FIELD=COLUMN" in ended.err


def test_a_mapping_of_an_unknown_field_or_column_is_named(alone: Run, tmp_path: Path) -> None:
    path = write(tmp_path / "issues.csv", "A-1,one,,3")
    assert_sentence(alone("import", "issues", path, "--map", "key=key", "--map", "titel=title"), "titel")
    assert_sentence(alone("import", "issues", path, "--map", "key=key", "--map", "title=Summary"), "no column Summary")


def test_a_missing_file_is_a_sentence(alone: Run, database: Database, tmp_path: Path) -> None:
    there = write(tmp_path / "there.csv", "A-1,one,,3")
    missing = tmp_path / "missing.csv"
    assert_sentence(alone("import", "issues", there, missing, *MAP), str(missing))
    assert issues(database) == 0


def test_a_folder_for_a_file_is_a_sentence(alone: Run, tmp_path: Path) -> None:
    assert_sentence(alone("import", "issues", tmp_path, *MAP), str(tmp_path))


def test_wrong_usage_is_exit_code_2(bare: Run) -> None:
    for arguments in (("nothing",), ("import", "issues"), ("users", "add", "x", "--role", "king"), ("train",)):
        ended = bare(*arguments)
        assert ended.code == 2
        assert "Usage:" in ended.err


def test_the_first_user_is_added_without_a_key_whose_own_is_printed_once(run: Run, database: Database) -> None:
    ended = run("users", "add", "ada", "--role", "admin")
    assert ended.code == 0
    (key,) = ended.out.splitlines()
    assert re.fullmatch(r"fck_[\w-]{43}", key)
    assert key not in ended.err
    listed = run("users", "list", "--json")
    assert json.loads(listed.out) == [{"name": "ada", "role": "admin"}]
    assert key not in run("users", "list").out + listed.out
    with database.transaction() as connection:
        stored = [*connection.execute("select * from api_keys, principals").fetchall()]
    assert key not in repr(stored)


def test_where_one_user_is_known_further_ones_are_added_and_then_everybody_needs_a_key(
    run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    key = run("users", "add", "ada", "--role", "admin").out.strip()
    other = run("users", "add", "bob", "--role", "viewer").out.strip()
    assert_sentence(run("users", "add", "eve", "--role", "admin"), "several users exist", "FORECASTLE_API_KEY")
    path = write(tmp_path / "issues.csv", "A-1,one,,3")
    assert_sentence(run("import", "issues", path, *MAP), "several users exist", "FORECASTLE_API_KEY")
    monkeypatch.setenv("FORECASTLE_API_KEY", other)
    assert_sentence(run("users", "add", "eve", "--role", "admin"), "viewer may not administer")
    assert_sentence(run("import", "issues", path, *MAP), "viewer may not import")
    monkeypatch.setenv("FORECASTLE_API_KEY", "fck_wrong")
    refused = run("import", "issues", path, *MAP)
    assert_sentence(refused, "not known")
    assert "fck_wrong" not in refused.err
    monkeypatch.setenv("FORECASTLE_API_KEY", key)
    assert run("users", "add", "eve", "--role", "admin").code == 0
    assert run("import", "issues", path, *MAP).code == 0


def test_a_disabled_user_is_gone_and_its_key_is_refused(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    key = run("users", "add", "ada", "--role", "admin").out.strip()
    other = run("users", "add", "bob", "--role", "admin").out.strip()
    monkeypatch.setenv("FORECASTLE_API_KEY", key)
    assert run("users", "disable", "bob").code == 0
    assert [user["name"] for user in json.loads(run("users", "list", "--json").out)] == ["ada"]
    monkeypatch.setenv("FORECASTLE_API_KEY", other)
    assert_sentence(run("users", "add", "eve", "--role", "viewer"), "not known")


def test_a_name_that_is_taken_is_refused(alone: Run) -> None:
    assert_sentence(alone("users", "add", "ada", "--role", "viewer"), "already a user ada")


def test_with_nobody_known_an_import_says_how_to_add_the_first_user(run: Run, tmp_path: Path) -> None:
    path = write(tmp_path / "issues.csv", "A-1,one,,3")
    assert_sentence(run("import", "issues", path, *MAP), "forecastle users add NAME --role admin")


def test_projects_are_listed_with_ids_and_numbers_of_issues(alone: Run, tmp_path: Path) -> None:
    path = write(tmp_path / "issues.csv", "A-1,one,,3", "A-2,two,,5", "B-1,one,,1")
    alone("import", "issues", path, *MAP)
    listed = json.loads(alone("projects", "--json").out)
    assert [(project["key"], project["issues"]) for project in listed] == [("A", 2), ("B", 1)]
    lines = alone("projects").out.splitlines()
    assert [line.split() for line in lines] == [[p["id"], str(p["issues"]), p["key"]] for p in listed]


def test_generated_issues_are_the_same_for_the_same_seed_and_can_be_imported(alone: Run, tmp_path: Path) -> None:
    paths = [tmp_path / "deep" / name for name in ("a.csv", "b.csv", "c.csv")]
    for path, seed in zip(paths, (7, 7, 8), strict=True):
        ended = alone("generate", "issues", path, "--projects", 2, "--issues", 30, "--seed", seed)
        assert ended.out == f"60 synthetic issues in {path}\n"
    assert paths[0].read_bytes() == paths[1].read_bytes() != paths[2].read_bytes()
    with paths[0].open(newline="") as file:
        assert len(list(csv.DictReader(file))) == 60
    assert alone("import", "issues", paths[0], *MAP).out.startswith("60 new,")


def test_dated_issues_with_hours_are_generated_and_imported_and_again_change_nothing(
    alone: Run, database: Database, tmp_path: Path
) -> None:
    path = tmp_path / "dated.csv"
    assert alone("generate", "issues", path, "--dated", "--projects", 2, "--issues", 30).out.startswith("60 synthetic")
    for told in ("60 new, 0 changed, 0 unchanged", "0 new, 0 changed, 60 unchanged"):
        assert alone("import", "issues", path, "--preset", "forecastle").out.startswith(told)
    with database.transaction() as connection:
        row = connection.execute("select bool_and(time_basis = 'date') as dated, count(effort_hours) as n from issues")
        assert (found := row.fetchone()) is not None
    assert found["dated"]
    assert 40 < found["n"] < 60


def test_dates_may_stand_in_a_second_file_and_in_a_format_that_is_named(alone: Run, tmp_path: Path) -> None:
    issues, dates, mapping = (tmp_path / name for name in ("issues.csv", "dates.csv", "mapping.json"))
    issues.write_text("task,title\n1,one\n")
    dates.write_text("task,asked\n1,31.12.2024\n")
    named = {"key": "task", "title": "title"}
    mapping.write_text(json.dumps({"columns": named, "dates": {"by": "task", "columns": {"created_at": "asked"}}}))
    options = ("--mapping", mapping, "--project", "P")
    assert_sentence(alone("import", "issues", issues, *options), "name it with --dates FILE")
    assert_sentence(alone("import", "issues", issues, *options, "--dates", dates), "issues.csv:2: asked: the creation")
    options = (*options, "--dates", dates, "--date-format", "%d.%m.%Y")
    assert alone("import", "issues", issues, *options).out.startswith("1 new")
    undated = ("--map", "key=task", "--map", "title=title")
    assert_sentence(alone("import", "issues", issues, *undated, "--dates", dates), "takes no file of dates")


def test_an_evaluation_prints_a_table_or_json_and_leaves_no_database_behind(
    run: Run, database_url: str, tmp_path: Path
) -> None:
    before = databases(database_url)
    path = tmp_path / "issues.csv"
    run("generate", "issues", path, "--projects", 2, "--issues", 80)
    ended = run("evaluate", "delivery.story_points", path, *MAP)
    assert ended.code == 0, ended.err
    lines = ended.out.splitlines()
    head, rows = [cell.strip() for cell in lines[0].split("|")[1:-1]], lines[2:5]
    assert head[:6] == ["project", "rows", "served", "rolling_median", "median", "mean"]
    assert [row.split("|")[1].strip() for row in rows] == ["DEMO1", "DEMO2", "macro"]
    assert "clearly worse than the best baseline" in lines[-2]
    assert "relative positions" in lines[-1]

    told = json.loads(run("evaluate", "delivery.story_points", path, *MAP, "--json").out)
    assert set(told) == {
        *("model_type", "time_basis", "refits", "coverage_target", "macro", "projects"),
        *("skipped", "left_out_unknown_when", "left_out_older", "without_baseline", "overall", "reliability"),
    }
    assert (told["time_basis"], told["coverage_target"]) == ("ordinal", 0.8)
    assert told["model_type"] == "delivery.story_points"
    assert told["refits"] > 0
    baselines = get_model_type("delivery.story_points").baselines
    assert set(told["macro"]) == {*("served", *baselines, "coverage", "rank_correlation", "estimate_rank_correlation")}
    assert [(project["project"], project["rows"]) for project in told["projects"]] == [("DEMO1", 30), ("DEMO2", 30)]
    for project in told["projects"]:
        assert set(project) == {
            *("project", "cluster", "rows", "served", "baselines", "best_baseline", "against_best", "p_worse"),
            *(
                "coverage",
                "rank_correlation",
                "estimate_rank_correlation",
                "served_by",
                "clearly_worse",
                "hits",
                "confidence",
            ),
            *("within_2", "baselines_within_2"),
        }
        assert sum(project["served_by"].values()) == pytest.approx(1)
    for name in ("served", "rolling_median"):
        cell = float(rows[-1].split("|")[head.index(name) + 1])
        assert cell == pytest.approx(told["macro"][name], abs=5e-4)
    assert databases(database_url) == before


@pytest.mark.parametrize("where", ["forecastle.registry.dataset.read_rows", "forecastle.registry.evaluation.evaluate"])
def test_an_evaluation_that_fails_half_way_leaves_no_database_behind(
    run: Run, database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    seen: list[set[str]] = []

    def fail(*_: Any, **__: Any) -> None:
        seen.append(databases(database_url))
        raise ServerError("went away half-way")

    before = databases(database_url)
    path = write(tmp_path / "issues.csv", "A-1,one,,3")
    monkeypatch.setattr(where, fail)
    assert_sentence(run("evaluate", "delivery.story_points", path, *MAP), "went away half-way")
    assert [len(during - before) for during in seen] == [1]
    assert databases(database_url) == before


def test_an_evaluation_of_broken_rows_names_them_and_leaves_no_database_behind(
    run: Run, database_url: str, tmp_path: Path
) -> None:
    before = databases(database_url)
    path = write(tmp_path / "issues.csv", "A-1,,,3")
    assert_sentence(run("evaluate", "delivery.story_points", path, *MAP), f"{path}:2: title: ")
    assert databases(database_url) == before


def test_an_evaluation_of_few_rows_says_that_nothing_was_scored(run: Run, tmp_path: Path) -> None:
    path = write(tmp_path / "issues.csv", "A-1,one,,3", "A-2,two,,5")
    ended = run("evaluate", "delivery.story_points", path, *MAP)
    assert (ended.code, ended.out) == (0, "no project has more than 50 rows: nothing was scored\n")


@pytest.mark.parametrize("command", ["train", "evaluate"])
def test_a_model_type_that_does_not_exist_is_answered_with_those_that_do(
    alone: Run, tmp_path: Path, command: str
) -> None:
    path = write(tmp_path / "issues.csv", "A-1,one,,3")
    arguments = (path, *MAP) if command == "evaluate" else ()
    ended = alone(command, "delivery.guesses", *arguments)
    assert_sentence(ended, "no model type delivery.guesses", "delivery.story_points")


def test_env_without_running_servers_is_a_sentence_and_prints_nothing(bare: Run, tmp_path: Path) -> None:
    assert_sentence(bare("env"), "forecastle up")
    assert not (tmp_path / "home" / "postgresql").exists()


def test_env_with_addresses_given_prints_exports_that_a_shell_reads(
    run: Run, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    monkeypatch.setenv("FORECASTLE_ARTIFACTS", "s3://bucket/prefix")
    ended = run("env")
    assert ended.code == 0
    lines = dict(line.removeprefix("export ").split("=", 1) for line in ended.out.splitlines())
    assert set(lines) == {"DATABASE_URL", "MLFLOW_TRACKING_URI", "FORECASTLE_ARTIFACTS", "FORECASTLE_HOME", "PATH"}
    assert lines["MLFLOW_TRACKING_URI"] == "http://127.0.0.1:9"
    assert lines["PATH"].split(":")[0] == str(Path(sys.executable).parent)


def test_an_external_database_that_is_not_migrated_is_refused_with_what_to_type(
    bare: Run, postgresql: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url, name = postgresql.require_database_url(), f"unmigrated_{os.getpid()}"
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(sql.SQL("create database {}").format(sql.Identifier(name)))
        try:
            monkeypatch.setenv("DATABASE_URL", f"{url.rpartition('/')[0]}/{name}")
            path = write(tmp_path / "issues.csv", "A-1,one,,3")
            for arguments in (("projects",), ("users", "list"), ("import", "issues", path, *MAP)):
                assert_sentence(bare(*arguments), "forecastle migrate")
            applied = bare("migrate")
            assert applied.code == 0
            assert applied.out.startswith("applied 0001 foundation\n")
            assert bare("migrate").out == "the database is up to date\n"
            assert bare("projects").code == 0
        finally:
            connection.execute(sql.SQL("drop database {} with (force)").format(sql.Identifier(name)))


def test_a_database_of_a_newer_version_is_refused_by_every_command_and_left_as_it_is(
    alone: Run, database: Database, tmp_path: Path
) -> None:
    def applied() -> list[object]:
        with database.transaction() as connection:
            return connection.execute("select * from schema_migrations order by number").fetchall()

    with database.transaction() as connection:
        connection.execute("insert into schema_migrations (number, name) values (9999, 'of_tomorrow')")
    before = applied()
    path = write(tmp_path / "issues.csv", "A-1,one,,3")
    for arguments in (
        *(("projects",), ("migrate",), ("up", "--only", "facade")),
        *(("import", "issues", path, *MAP), ("train", "delivery.story_points")),
    ):
        assert_sentence(alone(*arguments), "use the newer version of Forecastle, or restore a backup")
    looked = alone("doctor")
    assert looked.code == 1
    assert "; next: use the newer version of Forecastle, or restore a backup\n" in looked.out
    assert "forecastle migrate" not in looked.out
    assert (applied(), issues(database)) == (before, 0)


def test_a_database_that_does_not_answer_is_a_sentence_without_the_password(
    bare: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as unheard:
        unheard.bind(("127.0.0.1", 0))
        monkeypatch.setattr("forecastle.store.database.POOL_TIMEOUT_SECONDS", 0.3)
        monkeypatch.setenv("DATABASE_URL", f"postgresql://u:s3cr3t@127.0.0.1:{unheard.getsockname()[1]}/x")
        ended = bare("projects")
    assert_sentence(ended, "is it running?")
    assert "s3cr3t" not in ended.err


def test_models_against_an_mlflow_that_does_not_answer_is_a_sentence(
    alone: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as unheard:
        unheard.bind(("127.0.0.1", 0))
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{unheard.getsockname()[1]}")
        ended = alone("models", "list")
    assert_sentence(ended, "is it running?")


def test_a_model_that_does_not_exist_is_a_sentence(
    alone: Run, servers: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", servers.require_tracking_uri())
    assert_sentence(alone("models", "list", "no.such_model"), "forecastle models list")
    assert_sentence(alone("models", "show", "no.such_model"), "no.such_model")
    assert_sentence(alone("models", "show", "no.such_model", 1), "forecastle models list")
    assert_sentence(alone("models", "promote", "no.such_model", 1, "-m", "why"), "forecastle models list")
    assert_sentence(alone("models", "rollback", "no.such_model", "-m", "why"), "nothing to go back to")


def test_a_move_without_a_reason_is_wrong_usage(alone: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    assert alone("models", "promote", "delivery.story_points", 1).code == 2
    blank = alone("models", "promote", "delivery.story_points", 1, "-m", "  ")
    assert blank.code == 2
    assert "say why" in blank.err


def test_the_first_user_has_to_be_an_admin(run: Run) -> None:
    assert_sentence(run("users", "add", "bob", "--role", "viewer"), "the first user has to be an admin")
    assert run("users", "list").out == ""
