"""Aliases that people move on a real MLflow server with basic-auth, plugin and webhook, and what comes of it."""

from __future__ import annotations

import json
import os
import secrets
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from registrar import Registrar
from versions import MODEL_TYPE
from werkzeug.serving import make_server

from forecastle.access.principals import Role, add_user
from forecastle.embedded import mlflow_server
from forecastle.embedded.home import Home
from forecastle.embedded.postgresql import ensure_database
from forecastle.embedded.process import Server
from forecastle.embedded.session import Session
from forecastle.errors import ConfigurationError, InputError
from forecastle.registry.mlflow_rest import MlflowRest, basic
from forecastle.registry.mlflow_webhooks import Webhooks
from forecastle.registry.review import MOVED_BY_TAG, REFUSED_TAG
from forecastle.registry.serving import ServingModels
from forecastle.settings import Settings
from forecastle.store import job_runs
from forecastle.store import promotions as ledger
from forecastle.store.database import Database
from forecastle.store.objects import Objects
from jobs.child import call
from projects import discover
from serving.application import build

pytestmark = pytest.mark.slow

NAME, PASSED, HELD, OTHERS = MODEL_TYPE.name, 1, 2, 3
SERVICE, ADMIN, REVIEWER, TRAINER = "forecastle", "boss", "rita", "dana"
PASSWORD = "a password of 1 test"
SECRET = secrets.token_hex(32)
ALIAS, TAG = "registered-models/alias", "model-versions/set-tag"


@dataclass(frozen=True)
class Answer:
    status: int
    message: str


@dataclass(frozen=True)
class Guarded:
    """An MLflow server with the plugin, and Forecastle's settings for it."""

    settings: Settings

    def ask(self, who: str, method: str, path: str, page: str = "api/2.0", **body: Any) -> Answer:
        """What the UI (a page of `ajax-api`) or a client of this person sends."""
        address = f"{self.settings.mlflow_tracking_uri}/{page}/mlflow/{path}"
        headers = {"Content-Type": "application/json", "Authorization": basic(who, PASSWORD)}
        request = urllib.request.Request(address, json.dumps(body).encode(), headers, method=method)
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return Answer(answer.status, "")
        except urllib.error.HTTPError as error:
            content = error.read().decode()
            return Answer(error.code, json.loads(content)["message"] if content.startswith("{") else content)

    def move(self, who: str, version: int, alias: str = "production", page: str = "api/2.0") -> Answer:
        return self.ask(who, "POST", ALIAS, page, name=NAME, alias=alias, version=str(version))

    def remove(self, who: str, alias: str = "production") -> Answer:
        return self.ask(who, "DELETE", ALIAS, name=NAME, alias=alias)

    @property
    def rest(self) -> MlflowRest:
        return MlflowRest.of(self.settings)


@pytest.fixture(scope="module")
def guarded(postgresql: Settings, storage: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    home = Home(tmp_path_factory.mktemp("guarded"))
    folder = home.folder("mlflow")
    store = ensure_database(postgresql.require_database_url(), "mlflow_guarded")

    def recipe(port: int) -> Server:
        plain = mlflow_server.server(folder, store, storage, port)
        environment = {**plain.environment, **basic_auth(folder)}
        return replace(plain, command=[*plain.command, "--app-name", "forecastle"], environment=environment)

    with ExitStack() as resources:
        session = Session(home, lambda message: None, resources)
        try:
            with session.locked():
                address = session.start("mlflow", recipe, 0)
            settings = replace(
                storage,
                mlflow_tracking_uri=address,
                mlflow_tracking_username=SERVICE,
                mlflow_tracking_password=PASSWORD,
            )
            yield populated(Guarded(settings), tmp_path_factory.mktemp("version"))
        finally:
            session.stop_all(("mlflow",))


def basic_auth(folder: Path) -> dict[str, str]:
    example = Path(__file__).parents[2] / "deploy" / "mlflow_auth.ini"
    return {
        "PYTHONPATH": os.environ.get("PYTHONPATH", ""),
        "MLFLOW_AUTH_CONFIG_PATH": str(example),
        "MLFLOW_AUTH_ADMIN_USERNAME": ADMIN,
        "MLFLOW_AUTH_ADMIN_PASSWORD": PASSWORD,
        "MLFLOW_FLASK_SERVER_SECRET_KEY": secrets.token_hex(16),
        "MLFLOW_TRACKING_USERNAME": SERVICE,
        "FORECASTLE_REVIEWERS": f"{REVIEWER}, rolf",
        "MLFLOW_WEBHOOK_CACHE_TTL": "0",
    }


def populated(guarded: Guarded, folder: Path) -> Guarded:
    """With the people, and versions of one bundle: one that passed its gate, one that was held, one untagged."""
    for name in (SERVICE, REVIEWER, TRAINER):
        assert guarded.ask(ADMIN, "POST", "users/create", username=name, password=PASSWORD).status == 200
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("MLFLOW_TRACKING_USERNAME", TRAINER)
        patched.setenv("MLFLOW_TRACKING_PASSWORD", PASSWORD)
        registrar = Registrar.at(guarded.settings.require_tracking_uri(), folder)
        registrar.client.create_registered_model(NAME)
        experiment = registrar.client.create_experiment(NAME)
        for verdict in ("PROMOTE", "HOLD", None):
            registrar.register(NAME, registrar.log(experiment), verdict)
    for name in (SERVICE, REVIEWER):
        grant = {"username": name, "resource_type": "registered_model", "resource_id": NAME, "permission": "MANAGE"}
        answer = guarded.ask(ADMIN, "POST", "users/permissions/grant", "api/3.0", **grant)
        assert answer.status == 200, answer
    return guarded


@dataclass(frozen=True)
class House:
    """A ledger of this test's own beside the server, with a reviewer and a trainer who may review others."""

    guarded: Guarded
    settings: Settings
    database: Database

    def reconcile(self) -> str:
        """Run the job as a worker would."""
        with self.database.transaction() as connection:
            run = job_runs.plan(connection, "registry.reconcile", {}, "tester")
        assert run is not None
        ending = call("jobs.reconciling:reconcile", self.settings, run.id)
        assert ending.outcome == "succeeded", ending
        return ending.detail

    def history(self) -> list[tuple[str, str, int | None, int]]:
        with self.database.transaction() as connection:
            steps = ledger.history(connection, NAME)
        return [
            (s.promotion.action, s.promotion.actor, s.promotion.from_version, s.promotion.to_version) for s in steps
        ]


@pytest.fixture
def house(guarded: Guarded, own_storage: Settings, database_url: str, database: Database) -> Iterator[House]:
    settings = replace(guarded.settings, artifacts=own_storage.artifacts, database_url=database_url)
    with database.transaction() as connection:
        for name in (REVIEWER, TRAINER):
            add_user(connection, name, Role.REVIEWER)
    yield House(guarded, settings, database)
    for alias in ("production", "previous"):
        guarded.rest.remove_alias(NAME, alias)


@pytest.mark.parametrize("page", ["api/2.0", "ajax-api/2.0"])
def test_only_reviewers_and_forecastle_itself_move_production_and_previous(house: House, page: str) -> None:
    guarded = house.guarded
    for who in (TRAINER, ADMIN):  # the owner of the registered model, and who may do everything else
        for alias in ("production", "previous"):
            answer = guarded.move(who, PASSED, alias, page)
            assert (answer.status, f"only reviewers set the alias {alias}" in answer.message) == (403, True), answer
            assert guarded.remove(who, alias).status == 403
    assert guarded.move(TRAINER, PASSED, "staging", page).status == 200
    assert guarded.remove(TRAINER, "staging").status == 200
    assert guarded.move(REVIEWER, PASSED, page=page).status == 200
    assert guarded.rest.get_version(NAME, PASSED).tags[MOVED_BY_TAG] == REVIEWER
    assert guarded.remove(REVIEWER).status == 200
    assert guarded.rest.find_alias(NAME, "production") is None


def test_a_version_whose_gate_did_not_pass_is_refused_with_what_to_do(house: House) -> None:
    guarded = house.guarded
    for version, verdict in ((HELD, "HOLD"), (OTHERS, "UNGATED")):
        answer = guarded.move(REVIEWER, version)
        assert answer.status == 403
        assert f"verdict on {NAME} version {version} is {verdict}" in answer.message
        assert f"forecastle models promote {NAME} {version} --reason TEXT --override" in answer.message
        assert MOVED_BY_TAG not in guarded.rest.get_version(NAME, version).tags
    assert guarded.rest.find_alias(NAME, "production") is None
    guarded.rest.set_alias(NAME, "production", HELD)  # Forecastle asked an admin
    assert guarded.rest.find_alias(NAME, "production") == HELD


def test_an_alias_is_not_lost_with_its_version_and_nobody_else_says_who_moved_it(house: House) -> None:
    guarded = house.guarded
    assert guarded.move(REVIEWER, PASSED).status == 200
    for path, method, body in (
        ("model-versions/delete", "DELETE", {"version": str(PASSED)}),
        ("registered-models/delete", "DELETE", {}),
        ("registered-models/rename", "POST", {"new_name": "mine"}),
    ):
        answer = guarded.ask(TRAINER, method, path, name=NAME, **body)
        assert (answer.status, "in production" in answer.message or "is production" in answer.message) == (403, True)
    forged = {"name": NAME, "version": str(HELD), "key": MOVED_BY_TAG}
    assert guarded.ask(TRAINER, "POST", TAG, value=REVIEWER, **forged).status == 403
    assert guarded.ask(TRAINER, "DELETE", "model-versions/delete-tag", **forged).status == 403
    assert guarded.ask(TRAINER, "POST", TAG, value="x", **{**forged, "key": "mine"}).status == 200


def test_who_does_not_say_their_password_gets_nowhere(house: House) -> None:
    wrong = replace(house.settings, mlflow_tracking_password="wrong")
    with pytest.raises(ConfigurationError, match="MLflow does not let us in"):
        MlflowRest.of(wrong).list_aliases()


def test_a_move_of_a_reviewer_reaches_the_ledger_in_their_name_and_a_wrong_one_is_put_back(house: House) -> None:
    guarded = house.guarded
    assert guarded.move(REVIEWER, PASSED).status == 200
    assert house.reconcile() == f"adopted: {NAME} {PASSED}"
    assert house.history() == [("promote", REVIEWER, None, PASSED)]
    guarded.rest.set_alias(NAME, "production", HELD)  # past the plugin
    assert house.reconcile() == f"put back: {NAME} {HELD} -> {PASSED}"
    assert house.history() == [("promote", REVIEWER, None, PASSED)]
    assert guarded.rest.find_alias(NAME, "production") == PASSED
    assert f"verdict on {NAME} version {HELD} is HOLD" in guarded.rest.get_version(NAME, HELD).tags[REFUSED_TAG]
    with house.database.transaction() as connection:
        row = connection.execute("select kind, subject from notifications").fetchone()
    assert row == {"kind": "alias_put_back", "subject": NAME}
    assert guarded.remove(REVIEWER).status == 200
    assert house.reconcile() == f"put back: {NAME} nothing -> {PASSED}"
    assert house.reconcile() == "MLflow agrees with the ledger"


@pytest.fixture
def facade(house: House) -> Iterator[str]:
    """The address of a façade that hears webhooks."""
    models = ServingModels(house.database, Objects.of(house.settings), discover())
    server = make_server("127.0.0.1", 0, build(house.database, models, webhook_secret=SECRET), threaded=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/api/v1/registry/webhook"
    server.shutdown()
    thread.join()


def test_the_webhook_tells_of_a_move_at_once(house: House, facade: str) -> None:
    admin = replace(house.settings, mlflow_tracking_username=ADMIN)
    webhooks = Webhooks(MlflowRest.of(admin))
    with house.database.listening(job_runs.CHANNEL) as connection:
        made = webhooks.create(facade, "another secret of thirty-two characters")
        assert webhooks.test(made).status == 401
        made = webhooks.create(facade, SECRET)
        assert [found.url for found in webhooks.find()] == [facade]
        assert webhooks.test(made).status == 202
        heard(connection.notifies)
        assert house.guarded.move(REVIEWER, PASSED).status == 200
        heard(connection.notifies)
    with house.database.transaction() as connection:
        runs = job_runs.list_runs(connection)
    assert [(run.name, run.planned_by, run.state) for run in runs] == [("registry.reconcile", "webhook", "planned")] * 2
    assert webhooks.delete() == [made]
    assert webhooks.find() == []
    with pytest.raises(InputError, match="MLFLOW_WEBHOOK_ALLOWED_SCHEMES"):
        webhooks.create("ftp://somewhere", SECRET)


def heard(notifies: Callable[..., Any]) -> None:
    assert list(notifies(timeout=30, stop_after=1))
