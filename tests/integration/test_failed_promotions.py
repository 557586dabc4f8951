"""What goes wrong during a promotion, at a real façade with a real MLflow: it says so, and the old version serves."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from proxy import Proxy, proxied
from registrar import Logged, Registrar
from versions import MODEL_TYPE, forget_ledgers, issues_of

from forecastle.access.principals import Role, add_user
from forecastle.embedded.servers import running
from forecastle.registry.aliases import PREVIOUS, PRODUCTION
from forecastle.registry.mlflow_rest import MlflowRest
from forecastle.registry.promotions import Promoter
from forecastle.registry.reconciling import Reconciler
from forecastle.registry.verification import verify
from forecastle.settings import Settings
from forecastle.store import promotions as ledger
from forecastle.store.database import Database, temporary_database
from forecastle.store.issues import import_issues
from forecastle.store.migrate import migrate
from forecastle.store.objects import Objects

NAME = MODEL_TYPE.name
PEOPLE = {"rita": Role.REVIEWER, "max": Role.MEMBER}
ROUTE = f"/api/v1/registry/{NAME}"
REMEMBERED, ALIAS = "model-versions/set-tag", "registered-models/alias"
"""What a promotion asks MLflow for right after its intent, and next."""

pytestmark = pytest.mark.slow


@dataclass(frozen=True)
class Place:
    """A façade whose way to MLflow can be cut, with a version that serves."""

    settings: Settings
    database: Database
    proxy: Proxy
    registrar: Registrar
    experiment: str
    keys: dict[str, str]
    asking: Any
    serving: int

    def register(self) -> tuple[int, Logged]:
        logged = self.registrar.log(self.experiment)
        return self.registrar.register(NAME, logged), logged

    def promote(self, version: int) -> tuple[int, dict[str, Any]]:
        """What the façade says to a reviewer who has looked at what serves."""
        headers = {"Authorization": f"Bearer {self.keys['rita']}", "Content-Type": "application/json"}
        with urllib.request.urlopen(urllib.request.Request(self.url(ROUTE), headers=headers), timeout=30) as seen:
            headers["If-Match"] = seen.headers["ETag"]
        body = json.dumps({"version": version, "reason": "tested"}).encode()
        try:
            request = urllib.request.Request(self.url(f"{ROUTE}/promotions"), body, headers)
            with urllib.request.urlopen(request, timeout=60) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as error:
            return error.code, json.load(error)

    def url(self, route: str) -> str:
        return f"{self.settings.facade_url}{route}"

    def answers_with(self) -> str:
        status, answer = self.asking.ask()
        assert status == 200, answer
        return str(answer["model_version"]).removeprefix(f"{NAME}/")

    def reconcile(self) -> list[str]:
        rest = MlflowRest.of(self.settings)
        promoter = Promoter(self.database, Objects.of(self.settings), rest, lambda name, found: None)
        done = Reconciler(promoter, rest, NAME.__eq__, lambda name, said: None).reconcile()
        assert (done.put_back, done.waiting) == ([], [])
        return done.settled

    def is_sound(self, serving: int, previous: int | None) -> bool:
        rest = MlflowRest.of(self.settings)
        aliases = [rest.find_alias(NAME, alias) for alias in (PRODUCTION, PREVIOUS)]
        with self.database.transaction() as connection:
            assert ledger.open_intents(connection) == []
            found = ledger.serving(connection, NAME)[NAME].promotion.to_version
            whole = verify(connection).broken is None
        return whole and [found, *aliases] == [serving, serving, previous]


@pytest.fixture
def place(
    servers: Settings, own_storage: Settings, tmp_path: Path, client: Callable[[str | None, str], Any],
    await_that: Callable[[Callable[[], bool], float], None],
) -> Iterator[Place]:  # fmt: skip
    registrar = Registrar.at(servers.require_tracking_uri(), tmp_path / "version")
    if not registrar.client.search_registered_models(f"name = '{NAME}'"):
        registrar.client.create_registered_model(NAME)
    forget_ledgers(MlflowRest.of(servers))
    with (
        temporary_database(servers.require_database_url(), "failed_promotions") as url,
        Database(url, 4) as database,
        proxied(servers.require_tracking_uri()) as proxy,
    ):
        migrate(database)
        with database.transaction() as connection:
            import_issues(connection, issues_of(MODEL_TYPE, 60))
            keys = {name: add_user(connection, name, role) for name, role in PEOPLE.items()}
        settings = replace(own_storage, database_url=url, mlflow_tracking_uri=proxy.address, home=tmp_path, http_port=0)
        experiment = registrar.client.create_experiment(f"failed promotions {tmp_path.name}")
        with running(settings, ("facade",)) as given:
            asking = client(given.facade_url, keys["max"])
            first = registrar.register(NAME, registrar.log(experiment))
            place = Place(given, database, proxy, registrar, experiment, keys, asking, first)
            assert place.promote(first)[0] == 201
            await_that(lambda: asking.ask()[0] == 200, 10)
            yield place
        for alias in (PRODUCTION, PREVIOUS):
            MlflowRest.of(servers).remove_alias(NAME, alias)
    forget_ledgers(MlflowRest.of(servers))


@pytest.mark.parametrize(
    "at, hears, becomes",
    [
        (REMEMBERED, False, "undone"),
        (REMEMBERED, True, "undone"),
        (ALIAS, False, "undone"),
        (ALIAS, True, "confirmed"),
    ],
    ids=["behind its intent", "before its answer to the tag", "before the alias", "before its answer to the alias"],
)
def test_an_mlflow_that_goes_away_during_a_promotion_is_said_and_the_reconciler_settles_it_once_it_is_back(
    place: Place, await_that: Callable[[Callable[[], bool], float], None], at: str, hears: bool, becomes: str
) -> None:
    second, _ = place.register()
    place.proxy.leave_at(at, hears)
    status, problem = place.promote(second)
    assert (status, problem["code"]) == (503, "server_unavailable")
    with place.database.transaction() as connection:
        (intent,) = ledger.open_intents(connection)
        assert intent.promotion.to_version == second
    assert place.answers_with() == str(place.serving)

    place.proxy.come_back()
    assert place.reconcile() == [f"{NAME} {second} ({becomes})"]
    now, before = (second, place.serving) if becomes == "confirmed" else (place.serving, None)
    assert place.is_sound(now, before)
    await_that(lambda: place.answers_with() == str(now), 10)
    if becomes == "undone":
        assert place.promote(second)[0] == 201
        await_that(lambda: place.answers_with() == str(second), 10)
        assert place.is_sound(second, place.serving)


def test_a_version_that_lacks_a_file_or_was_changed_since_its_training_is_not_promoted(
    place: Place, servers: Settings
) -> None:
    changed, logged = place.register()
    skill = (place.registrar.folder / "bundle" / "skill.json").read_text()
    place.registrar.client.log_text(logged.run_id, skill.replace("rolling_median", "mean"), "bundle/skill.json")
    lacking, logged = place.register()
    files = Objects.of(replace(servers, artifacts=f"{servers.artifacts}/mlflow"))
    (stored,) = (name for name in files.list() if name.endswith(f"{logged.run_id}/artifacts/bundle/skill.json"))
    files.delete(stored)
    for version, said in ((changed, "its bundle was changed after the training"), (lacking, "it lacks skill.json")):
        status, problem = place.promote(version)
        assert (status, problem["code"]) == (409, "integrity")
        assert said in problem["detail"]
    assert place.answers_with() == str(place.serving)
    assert place.is_sound(place.serving, None)
