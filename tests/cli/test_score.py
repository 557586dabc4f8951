"""`forecastle score`: files and open issues of any size, whole results, and going on after kill -9."""

from __future__ import annotations

import csv
import io
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import psycopg
import pyarrow
import pytest
from mlflow import MlflowClient
from processes import await_that, environment_of
from psycopg import sql
from pyarrow import parquet
from versions import MODEL_TYPE, Aliases, issues_of, make_version

import projects
from forecastle.access.principals import Principal, Role, add_user
from forecastle.errors import ServerError
from forecastle.registry import scoring
from forecastle.registry.journal import Journal
from forecastle.registry.promotions import Promoter
from forecastle.registry.serving import ServingModels
from forecastle.settings import Settings
from forecastle.store.database import Database, with_database
from forecastle.store.issues import import_issues
from forecastle.store.objects import Objects

NAME = MODEL_TYPE.name
ASKED = [
    {"project_id": "DEMO1", "title": "Migrate the cluster in admin", "description": "again"},
    {"project_id": "NOWHERE", "title": "Fix the form in search", "description": "über"},
    {"project_id": "DEMO2", "title": "", "description": "no title"},
    {"project_id": "DEMO3", "title": "Rename the label in settings", "description": ""},
]
OPEN = 30


@dataclass(frozen=True)
class Stocked:
    """A store with issues, some of them open, and one version in production."""

    settings: Settings
    run_with: Any

    def score(self, *words: object) -> tuple[int, str, str]:
        code, output, errors = self.run_with(self.settings, "score", NAME, *map(str, words))
        return code, output, errors

    def summary(self, *words: object) -> dict[str, Any]:
        code, output, errors = self.score(*words, "--json")
        assert code in (0, 3), errors
        found: dict[str, Any] = json.loads(output)
        return found


@pytest.fixture(scope="module")
def stocked_settings(servers: Settings, template: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    url, name = servers.require_database_url(), "forecastle_scoring"
    with psycopg.connect(url, autocommit=True) as connection:
        statement = sql.SQL("create database {} template {}")
        connection.execute(statement.format(sql.Identifier(name), sql.Identifier(template)))
    home = tmp_path_factory.mktemp("scoring") / "home"
    settings = replace(
        servers, home=home, database_url=with_database(url, name), artifacts=f"{servers.artifacts}/scoring"
    )
    with Database(with_database(url, name)) as database:
        with database.transaction() as connection:
            issues = issues_of(MODEL_TYPE, 80)
            import_issues(connection, [replace(i, story_points=None) if i.ordinal < OPEN // 3 else i for i in issues])
            key = add_user(connection, "ada", Role.ADMIN)
        aliases = Aliases({1: make_version(1, 80)})
        promoter = Promoter(database, Objects.of(settings), aliases, lambda name, found: None)
        promoter.promote(NAME, 1, Principal("rita", Role.REVIEWER), "tested")
        yield replace(settings, api_key=key)


@pytest.fixture
def stocked(stocked_settings: Settings, run_with: Any, tmp_path: Path) -> Stocked:
    return Stocked(replace(stocked_settings, home=tmp_path / "home"), run_with)


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    if path.suffix == ".parquet":
        parquet.write_table(pyarrow.Table.from_pylist(rows), path)
    elif path.suffix == ".csv":
        with path.open("w", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
    else:
        path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    return path


def cells(content: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(content, newline="")))


def test_every_kind_of_file_has_the_same_answers_wherever_they_go(stocked: Stocked, tmp_path: Path) -> None:
    address = f"{stocked.settings.artifacts}/scored/answers.csv"
    for name, output in (("a.csv", tmp_path / "1.csv"), ("a.ndjson", tmp_path / "2.parquet"), ("a.parquet", address)):
        done = stocked.summary(write(tmp_path / name, ASKED), "--output", output)
        assert (done["rows"], done["failed"], done["resumed"]) == (4, 2, 0)
        assert done["versions"] == {f"{NAME}/1": 2}
    local = cells((tmp_path / "1.csv").read_text())
    assert local == cells(Objects.of(stocked.settings).get("scored/answers.csv").decode())
    table = parquet.read_table(tmp_path / "2.parquet").to_pylist()
    points = [row["recommended_points"] for row in table]
    assert points == [float(row["recommended_points"]) if row["recommended_points"] else None for row in local]
    assert [row["row"] for row in table] == [1, 2, 3, 4]
    assert [row["title"] or "" for row in table] == [row["title"] for row in ASKED]
    assert ["no project" in local[1]["error"], "title" in local[2]["error"]] == [True, True]
    assert [row["model_version"] for row in local] == [f"{NAME}/1", "", "", f"{NAME}/1"]
    assert list((stocked.settings.home / "scoring").iterdir()) == []


def test_exit_codes_tell_whole_results_from_those_with_errors_and_from_none(stocked: Stocked, tmp_path: Path) -> None:
    output = tmp_path / "answers.csv"
    code, said, _ = stocked.score(write(tmp_path / "good.csv", ASKED[:1]), "-o", output)
    assert (code, said) == (0, f"1 rows answered, 0 of them with an error: {output}\n")
    assert stocked.score(write(tmp_path / "some.csv", ASKED), "-o", output)[0] == 3
    before = output.read_text()
    for words, sentence in (
        ((write(tmp_path / "lacking.csv", [{"title": "Fix"}]), "-o", output), "no column project_id"),
        ((tmp_path / "not-there.csv", "-o", output), "No such file"),
        ((tmp_path / "good.csv", "-o", tmp_path / "a.xlsx"), "ends in .csv or .parquet"),
        (("-o", output), "say what to answer"),
        ((tmp_path / "good.csv", "--project", "DEMO1", "-o", output), "say what to answer"),
        (("--project", "NOWHERE", "-o", output), "no project"),
    ):
        code, _, errors = stocked.score(*words)
        assert (code, sentence in errors) == (1, True), errors
        assert "Traceback" not in errors
    assert output.read_text() == before


def test_the_open_issues_of_a_project_or_of_all_are_answered(stocked: Stocked, tmp_path: Path) -> None:
    output = tmp_path / "answers.csv"
    assert stocked.summary("--project", "all", "-o", output)["rows"] == OPEN
    assert stocked.summary("--project", "DEMO2", "-o", output)["failed"] == 0
    found = cells(output.read_text())
    assert {row["key"] for row in found} == {f"DEMO2-{number}" for number in range(1, OPEN // 3 + 1)}
    assert {row["project_id"] for row in found} == {"DEMO2"}
    assert all(float(row["recommended_points"]) > 0 for row in found)


def test_the_run_says_what_was_answered_by_which_version_and_how_long_it_took(stocked: Stocked, tmp_path: Path) -> None:
    stocked.summary(write(tmp_path / "a.csv", ASKED), "-o", tmp_path / "answers.csv")
    client = MlflowClient(tracking_uri=stocked.settings.mlflow_tracking_uri)
    experiment = client.get_experiment_by_name(NAME)
    run, *_ = client.search_runs([experiment.experiment_id], order_by=["attributes.start_time DESC"])
    assert run.info.status == "FINISHED"
    assert run.data.tags["score.versions"] == f"{NAME}/1"
    figures = {name: run.data.metrics[f"score.{name}"] for name in ("rows", "failed", "resumed")}
    assert figures == {"rows": 4, "failed": 2, "resumed": 0}
    assert run.data.metrics["score.seconds"] > 0


def test_the_entry_point_answers_the_same_in_a_run_of_mlflow(stocked: Stocked, tmp_path: Path) -> None:
    outputs = [tmp_path / "by-mlflow.csv", tmp_path / "by-command.csv"]
    parameters = (f"model_type={NAME}", "project=DEMO2", f"output={outputs[0]}")
    command = [sys.executable, "-m", "mlflow", "run", ".", "-e", "score", "--env-manager", "local"]
    environment = environment_with(stocked)
    environment["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), environment["PATH"]])
    ran = subprocess.run(
        [*command, *(part for each in parameters for part in ("-P", each))],
        env=environment,
        cwd=projects.ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    assert f"{OPEN // 3} rows answered, 0 of them with an error" in ran.stderr
    stocked.summary("--project", "DEMO2", "-o", outputs[1])
    assert outputs[0].read_text() == outputs[1].read_text()


def test_killed_half_way_the_same_command_goes_on_and_every_row_is_there_once(stocked: Stocked, tmp_path: Path) -> None:
    number, output = 6_000, tmp_path / "answers.csv"
    asked = write(tmp_path / "a.csv", [{**ASKED[0], "title": f"Fix form {each}"} for each in range(number)])
    words = (NAME, str(asked), "--output", str(output))
    started = subprocess.Popen(
        [sys.executable, "-m", "cli.main", "score", *words],
        env=environment_with(stocked),
        cwd=projects.ROOT,
        stderr=subprocess.DEVNULL,
    )
    folder = stocked.settings.home / "scoring"
    await_that(lambda: any(path.stat().st_size > 200_000 for path in folder.glob("*.ndjson")), 60, 0.005)
    started.send_signal(signal.SIGKILL)
    started.wait()
    assert not output.exists()
    done = stocked.summary(*words[1:])
    assert done["rows"] == number
    assert 0 < done["resumed"] < number
    found = cells(output.read_text())
    assert [int(row["row"]) for row in found] == list(range(1, number + 1))
    assert [row["title"] for row in found] == [f"Fix form {each}" for each in range(number)]
    assert all(row["recommended_points"] for row in found)
    assert stocked.summary(*words[1:])["resumed"] == 0


def test_what_was_answered_is_kept_where_the_result_could_not_be_written_unless_the_file_changed(
    stocked: Stocked, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: Any) -> None:
        raise ServerError("S3 went away")

    def fail() -> None:
        with monkeypatch.context() as patched:
            patched.setattr("forecastle.registry.scoring.write_result", away)
            code, _, errors = stocked.score(asked, "-o", output)
            assert (code, "S3 went away" in errors) == (1, True)

    asked, output = write(tmp_path / "a.csv", ASKED), tmp_path / "answers.csv"
    fail()
    assert stocked.summary(asked, "-o", output)["resumed"] == 4
    fail()
    write(asked, ASKED[:3])
    assert (stocked.summary(asked, "-o", output)["resumed"], len(cells(output.read_text()))) == (0, 3)
    fail()
    assert stocked.summary(asked, "-o", output, "--restart")["resumed"] == 0


def test_two_of_the_same_at_once_are_refused(stocked: Stocked, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked, paths = write(tmp_path / "a.csv", ASKED), []
    original = Journal.opened
    monkeypatch.setattr(Journal, "opened", lambda path, *rest: paths.append(path) or original(path, *rest))
    stocked.score(asked, "-o", tmp_path / "answers.csv")
    with original(paths[0], {}):
        code, _, errors = stocked.score(asked, "-o", tmp_path / "answers.csv")
    assert (code, "another process is answering the same" in errors) == (1, True)


def test_a_version_that_cannot_be_loaded_now_ends_it_and_is_no_error_of_a_row(
    stocked: Stocked, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: Any) -> None:
        raise ServerError("S3 does not answer")

    asked, output = write(tmp_path / "a.csv", ASKED), tmp_path / "answers.csv"
    with monkeypatch.context() as patched:
        patched.setattr(scoring, "LOADING_SECONDS", 0.1)
        patched.setattr(ServingModels, "for_cluster", away)
        code, _, errors = stocked.score(asked, "-o", output)
    assert (code, "S3 does not answer" in errors, output.exists()) == (1, True, False)
    assert stocked.summary(asked, "-o", output)["failed"] == 2


@pytest.mark.slow
def test_ten_times_the_rows_take_the_same_memory(
    stocked: Stocked, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    most: dict[int, int] = {}
    for number in (5_000, 50_000):
        asked = write(tmp_path / f"{number}.csv", [{**ASKED[0], "title": f"Fix form {each}"} for each in range(number)])
        command = [
            sys.executable,
            "-c",
            MEASURED,
            "score",
            NAME,
            str(asked),
            "-o",
            str(tmp_path / "a.parquet"),
            "--json",
        ]
        ran = subprocess.run(
            command, env=environment_with(stocked), cwd=projects.ROOT, capture_output=True, text=True, check=True
        )
        done, most[number] = json.loads(ran.stdout), int(ran.stderr.split()[-1]) // 1024
        record_property(f"{number:,} rows", f"{number / done['seconds']:,.0f} rows/s, {most[number]} MB")
    assert most[50_000] < most[5_000] + 40


# The command, and at its end the most memory that it held, in KiB.
MEASURED = """
import resource, sys
from cli.main import main
try:
    main()
finally:
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, file=sys.stderr)
"""


def environment_with(stocked: Stocked) -> dict[str, str]:
    return {**environment_of(stocked.settings.home), **stocked.settings.as_environment()}
