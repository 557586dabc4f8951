"""Versions and promotions through the command line and the façade, with PostgreSQL, S3 and MLflow for real."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from predictions import a_prediction, some_project
from registrar import Registrar
from versions import MODEL_TYPE, forget_ledgers

import projects
from forecastle.access.principals import Role, add_user
from forecastle.registry.mlflow_rest import MlflowRest
from forecastle.registry.serving import ServingModels
from forecastle.settings import Settings
from forecastle.store.blast_radius import affected_projects
from forecastle.store.database import Database
from forecastle.store.objects import Objects
from forecastle.store.predictions import write_predictions
from serving.application import build, promoter_of

NAME = f"{MODEL_TYPE.name}.tests_of_models"
ROUTE = f"/api/v1/registry/{NAME}"


@dataclass(frozen=True)
class Ended:
    code: int
    out: str
    err: str

    @property
    def document(self) -> Any:
        assert self.code == 0, self.err
        return json.loads(self.out)


@dataclass(frozen=True)
class Desk:
    """Somebody at the command line, and everybody's keys."""

    settings: Settings
    database: Database
    keys: dict[str, str]
    run_with: Callable[..., tuple[int, str, str]]

    def run(self, who: str, *words: object) -> Ended:
        return Ended(*self.run_with(replace(self.settings, api_key=self.keys[who]), "models", *map(str, words)))

    def tamper(self, statement: str) -> None:
        with self.database.transaction() as connection:
            connection.execute("alter table promotions disable trigger user")
            connection.execute(statement.encode())
            connection.execute("alter table promotions enable trigger user")


@pytest.fixture(scope="module")
def registered(servers: Settings, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Three versions in MLflow with the same bundle: one that met no gate, one that passed it, one that was held."""
    registrar = Registrar.at(servers.require_tracking_uri(), tmp_path_factory.mktemp("version"))
    experiment = registrar.client.create_experiment(NAME)
    registrar.client.create_registered_model(NAME)
    for mae, verdict in ((2.0, None), (1.5, "PROMOTE"), (1.7, "HOLD")):
        logged = registrar.log(experiment)
        registrar.client.log_metric(logged.run_id, "mae", mae)
        registrar.client.log_metric(logged.run_id, "mae.rolling_median", 2.5)
        registrar.client.log_param(logged.run_id, "candidate", "blend")
        registrar.register(NAME, logged, verdict)


@pytest.fixture
def desk(
    registered: None, servers: Settings, own_storage: Settings, database_url: str, database: Database,
    run_with: Callable[..., tuple[int, str, str]],
) -> Iterator[Desk]:  # fmt: skip
    settings = replace(own_storage, database_url=database_url, mlflow_tracking_uri=servers.mlflow_tracking_uri)
    roles = {"ada": Role.ADMIN, "rita": Role.REVIEWER, "rolf": Role.REVIEWER, "dana": Role.REVIEWER}
    with database.transaction() as connection:
        keys = {name: add_user(connection, name, role) for name, role in roles.items()}
    rest = MlflowRest.of(settings)
    forget_ledgers(rest)
    yield Desk(settings, database, keys, run_with)
    for alias in ("production", "previous"):
        rest.remove_alias(NAME, alias)
    forget_ledgers(rest)


def test_a_version_lives_through_reviews_promotions_and_a_rollback_and_the_ledger_tells_it_all(desk: Desk) -> None:
    own = desk.run("dana", "promote", NAME, 1, "-m", "mine")
    assert (own.code, own.out) == (1, "")
    assert "dana trained this version and does not promote it: ask another reviewer" in own.err
    first = desk.run("rita", "promote", NAME, 1, "-m", "the first", "--json").document
    assert (first["to_version"], first["verdict"], first["actor"]) == (1, "UNGATED", "rita")
    second = desk.run("rolf", "promote", NAME, 2, "-m", "better", "--head", first["hash"], "--json").document
    late = desk.run("rita", "promote", NAME, 3, "-m", "late", "--head", first["hash"])
    assert (late.code, "was moved meanwhile" in late.err) == (1, True)
    held = desk.run("rita", "promote", NAME, 3, "-m", "I like it", "--override")
    assert (held.code, "reviewer may not administer" in held.err) == (1, True)
    overridden = desk.run("ada", "promote", NAME, 3, "-m", "2 leaks", "--override")
    assert overridden.code == 0
    assert f"promote {NAME} 2 -> 3 by ada, HOLD, overridden: 2 leaks" in overridden.out
    assert desk.run("rita", "rollback", NAME, "-m", "3 is worse").code == 0

    history = desk.run("rita", "history", NAME, "--json").document
    told = [(s["action"], s["from_version"], s["to_version"], s["verdict"], s["overridden"]) for s in history]
    assert told == [
        ("rollback", 3, 2, "PROMOTE", False),
        ("promote", 2, 3, "HOLD", True),
        ("promote", 1, 2, "PROMOTE", False),
        ("promote", None, 1, "UNGATED", False),
    ]
    shown = desk.run("rita", "history", NAME)
    assert "overridden" in shown.out
    assert f"head: {history[0]['hash']}" in shown.err
    for step, version in ((first, 1), (second, 2), (history[1], 3), (history[0], 2)):
        (found,) = desk.run("rita", "at", step["recorded_at"], NAME, "--json").document["production"]
        assert found["to_version"] == version
    version = desk.run("rita", "show", NAME, "--json").document
    assert (version["version"], version["verdict"], version["aliases"]) == (2, "PROMOTE", ["production"])
    assert version["files"] == history[0]["files"] != {}
    listed = desk.run("rita", "list", NAME, "--json").document
    assert [(v["version"], v["serves"], v["verdict"]) for v in listed] == [
        (3, False, "HOLD"), (2, True, "PROMOTE"), (1, False, "UNGATED"),
    ]  # fmt: skip
    assert desk.run("rita", "verify", "--json").document["broken"] is None


def test_one_row_that_somebody_altered_is_named_and_so_is_an_end_that_was_cut_off(desk: Desk) -> None:
    for version in (1, 2):
        assert desk.run("rita", "promote", NAME, version, "-m", "next").code == 0
    whole = desk.run("rita", "verify")
    assert whole.code == 0
    assert "the ledger is whole: 4 steps, as remembered outside of it 2 times" in whole.out
    head = desk.run("rita", "verify", "--offline", "--json").document["head"]

    desk.tamper("update promotions set reason = 'because mallory said so' where step = 2")
    altered = desk.run("rita", "verify", "--offline")
    assert (altered.code, altered.out) == (1, "")
    assert "step 2 is not what was written: somebody changed it" in altered.err
    as_json = desk.run("rita", "verify", "--offline", "--json")
    assert as_json.code == 1
    assert json.loads(as_json.out)["broken"]["step"] == 2
    desk.tamper("update promotions set reason = 'next' where step = 2")
    assert desk.run("rita", "verify").code == 0

    desk.tamper("delete from promotions where step >= 3")
    assert desk.run("rita", "verify", "--offline").code == 0  # a chain alone says nothing of its end
    noted = desk.run("rita", "verify", "--offline", "--head", head)
    assert (noted.code, "as who noted it down remembers it" in noted.err) == (1, True)
    remembered = desk.run("rita", "verify")
    assert remembered.code == 1
    assert f"step 3 is not in the ledger as {NAME} version 2 in MLflow remembers it" in remembered.err


def test_two_reviewers_at_once_through_the_facade_move_production_once(desk: Desk) -> None:
    app = build(
        desk.database,
        ServingModels(desk.database, Objects.of(desk.settings), projects.discover()),
        lambda: promoter_of(desk.settings, desk.database, projects.discover()),
    )
    start = threading.Barrier(2, timeout=20)

    def headers(who: str, **more: str) -> dict[str, str]:
        return {"Authorization": f"Bearer {desk.keys[who]}", **more}

    seen = app.test_client().get(ROUTE, headers=headers("rita")).headers["ETag"]

    def promote(who: str, version: int) -> Any:
        client = app.test_client()
        start.wait()
        body = {"version": version, "reason": "at once"}
        return client.post(f"{ROUTE}/promotions", json=body, headers=headers(who, **{"If-Match": seen}))

    with ThreadPoolExecutor(2) as pool:
        answers = [asked.result() for asked in (pool.submit(promote, "rita", 1), pool.submit(promote, "rolf", 2))]
    assert sorted(answer.status_code for answer in answers) == [201, 412]
    (won,) = (answer.get_json() for answer in answers if answer.status_code == 201)
    history = desk.run("ada", "history", NAME, "--json").document
    assert [step["hash"] for step in history] == [won["hash"]]
    assert MlflowRest.of(desk.settings).find_alias(NAME, "production") == won["to_version"]
    assert desk.run("ada", "verify").code == 0


def test_two_versions_stand_side_by_side(desk: Desk) -> None:
    found = desk.run("rita", "diff", NAME, 1, 2, "--json").document
    assert (found["1"]["metrics"], found["2"]["metrics"]) == ({"mae": 2.0}, {"mae": 1.5})
    assert found["1"]["baselines"] == {"mae.rolling_median": 2.5}
    assert found["1"]["params"] == {"candidate": "blend"}
    assert {"data.digest", "feature.digest", "git.commit"} <= set(found["2"]["origin"])
    table = desk.run("rita", "diff", NAME, 1, 2)
    assert [line.split("|")[2].strip() for line in table.out.splitlines()[2:]] == ["gate.verdict", "mae"]
    assert "more are equal" in table.err
    assert "rolling_median" in desk.run("rita", "diff", NAME, 1, 2, "--all").out
    assert desk.run("rita", "diff", NAME, 1, 9).code == 1


def test_what_a_version_answered_is_counted_by_project(desk: Desk) -> None:
    nothing = desk.run("rita", "affected", NAME, 2)
    assert (nothing.code, nothing.out) == (0, "")
    assert "made no prediction" in nothing.err
    assert desk.run("rita", "promote", NAME, 2, "-m", "better").code == 0
    moments = [datetime(2026, 1, day, tzinfo=UTC) for day in (1, 2, 3)]
    with desk.database.transaction() as connection:
        project = some_project(connection)
    made = [a_prediction(project, model_name=NAME, model_version=2, moment=moment) for moment in moments]
    others = [a_prediction(project, model_name=NAME, model_version=1), a_prediction(project, model_version=2)]
    write_predictions(desk.database, [*made, *others])
    (row,) = desk.run("rita", "affected", NAME, 2, "--json").document
    assert (row["project_key"], row["predictions"]) == ("A", 3)
    assert (row["first_at"], row["last_at"]) == (moments[0].isoformat(), moments[-1].isoformat())
    assert "3 predictions" in desk.run("rita", "affected", NAME, 2).err
    with desk.database.transaction() as connection:
        later = datetime.now(UTC) + timedelta(days=1)
        assert affected_projects(connection, NAME, 2, later) == []


def test_wrong_usage_and_nothing_there_are_sentences(desk: Desk) -> None:
    assert desk.run("rita", "at", "yesterday").code == 2
    for words, said in (
        (("at", "2999-01-01"), "has not come yet"),
        (("history", "delivery.effort"), "was ever in production"),
        (("show", NAME), "name a version"),
        (("rollback", NAME, "-m", "why"), "nothing to go back to"),
    ):
        ended = desk.run("rita", *words)
        assert (ended.code, ended.out) == (1, "")
        assert said in ended.err
    nothing = desk.run("rita", "at", "2020-01-01")
    assert (nothing.code, nothing.out) == (0, "")
    assert "nothing was in production at 2020-01-01 00:00:00Z" in nothing.err
