"""MLflow's REST API, as it is used without MLflow's package: the same as what its own client says."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from mlflow import MlflowClient

from forecastle.errors import ConfigurationError, NotFoundError, ServerError
from forecastle.registry import mlflow_rest
from forecastle.registry.mlflow_rest import MlflowRest
from forecastle.settings import Settings

NAME = "delivery.of_test_mlflow_rest"
FILES = {
    "bundle/a.json": b"{}",
    "bundle/deep/b.bin": bytes(range(256)),
    "model/MLmodel": b"m",
    "model/data/c d.txt": b"\n",
}


@pytest.fixture(scope="module")
def client(servers: Settings) -> MlflowClient:
    return MlflowClient(servers.require_tracking_uri(), servers.require_tracking_uri())


@pytest.fixture(scope="module")
def rest(servers: Settings, client: MlflowClient, tmp_path_factory: pytest.TempPathFactory) -> MlflowRest:
    """With two versions of a registered model, the second with files, tags and the alias `staging`."""
    folder: Path = tmp_path_factory.mktemp("version")
    for name, content in FILES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    run = client.create_run(client.create_experiment(NAME)).info.run_id
    client.log_metric(run, "mae", 1.5)
    client.log_param(run, "candidate", "blend")
    client.log_artifacts(run, str(folder / "bundle"), "bundle")
    logged = client.create_logged_model(client.get_run(run).info.experiment_id, source_run_id=run)
    client.log_model_artifacts(logged.model_id, str(folder / "model"))
    client.create_registered_model(NAME)
    tags = {"data.digest": "d", "gate.verdict": "HOLD", "trained_by": "dana", "other": "Größe"}
    for given in ({}, tags):
        client.create_model_version(NAME, f"models:/{logged.model_id}", run, tags=given, model_id=logged.model_id)
    client.set_registered_model_alias(NAME, "staging", "2")
    return MlflowRest.of(servers)


def test_every_file_of_a_version_comes_with_where_it_is_from(rest: MlflowRest, client: MlflowClient) -> None:
    found = rest.version_files(NAME, 2)
    assert found.files == FILES
    assert found.provenance["run_id"] == client.get_model_version(NAME, "2").run_id
    assert {name: found.provenance.get(name) for name in ("data.digest", "gate.verdict", "trained_by")} == {
        "data.digest": "d", "gate.verdict": "HOLD", "trained_by": "dana",
    }  # fmt: skip
    first = rest.version_files(NAME, 1).provenance
    assert first["trained_by"] == "unknown"
    assert "gate.verdict" not in first


def test_versions_are_listed_with_tags_and_aliases_newest_first(rest: MlflowRest) -> None:
    found = rest.list_versions(NAME)
    assert [(version.version, version.aliases) for version in found] == [(2, ("staging",)), (1, ())]
    assert found[0].tags["other"] == "Größe"
    rest.set_tag(NAME, 1, "touched", "later")
    assert [version.version for version in rest.list_versions() if version.name == NAME] == [2, 1]
    assert rest.version_at_alias(NAME, "staging").version == 2
    assert rest.get_run(found[0].run_id) == mlflow_rest.RunRecord({"mae": 1.5}, {"candidate": "blend"})


def test_a_version_whose_tag_is_named_as_before_says_the_same_of_its_data(
    rest: MlflowRest, client: MlflowClient
) -> None:
    client.set_model_version_tag(NAME, "1", "dataset.digest", "older")
    assert rest.get_version(NAME, 1).tags["data.digest"] == "older"
    assert rest.version_files(NAME, 1).provenance["data.digest"] == "older"


def test_aliases_and_tags_are_set_and_taken_away(rest: MlflowRest, client: MlflowClient) -> None:
    rest.set_alias(NAME, "production", 1)
    assert client.get_model_version_by_alias(NAME, "production").version == "1"
    assert rest.find_alias(NAME, "production") == 1
    rest.remove_alias(NAME, "production")
    rest.remove_alias(NAME, "production")
    assert rest.find_alias(NAME, "production") is None
    rest.set_tag(NAME, 1, "a.tag", "1 ab")
    assert client.get_model_version(NAME, "1").tags["a.tag"] == "1 ab"


def test_what_does_not_exist_is_said_so(rest: MlflowRest) -> None:
    for asked in (
        lambda: rest.get_version(NAME, 9),
        lambda: rest.version_files(NAME, 9),
        lambda: rest.list_versions("no.such"),
        lambda: rest.set_alias(NAME, "production", 9),
        lambda: rest.set_alias("no.such", "production", 1),
        lambda: rest.remove_alias("no.such", "production"),
        lambda: rest.version_at_alias(NAME, "nobody"),
    ):
        with pytest.raises(NotFoundError, match="forecastle models list"):
            asked()
    assert rest.find_alias("no.such", "production") is None


class Recorded(ThreadingHTTPServer):
    """Answers what it was told to, and remembers what it was asked."""

    def __init__(self, *answers: tuple[int, bytes]) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.answers, self.asked = list(answers), list[str | None]()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        assert isinstance(self.server, Recorded)
        self.server.asked.append(self.headers.get("Authorization"))
        status, body = self.server.answers[min(len(self.server.asked), len(self.server.answers)) - 1]
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing."""


@pytest.fixture
def answering(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Recorded]]:
    monkeypatch.setattr(mlflow_rest.time, "sleep", lambda seconds: None)
    started: list[Recorded] = []

    class Started(Recorded):
        def __init__(self, *answers: tuple[int, bytes]) -> None:
            super().__init__(*answers)
            started.append(self)
            threading.Thread(target=self.serve_forever, daemon=True).start()

    yield Started
    for server in started:
        server.shutdown()
        server.server_close()


RUN = json.dumps({"run": {"data": {}}}).encode()


def test_it_asks_as_whom_the_settings_say(answering: type[Recorded]) -> None:
    server = answering((200, RUN))
    plain = Settings(mlflow_tracking_uri=server.address)
    named = replace(plain, mlflow_tracking_username="rita", mlflow_tracking_password="s:cret")
    address = replace(plain, mlflow_tracking_uri=server.address.replace("://", "://rita:s%3Acret@"))
    for settings in (plain, named, address, replace(named, mlflow_tracking_token="t")):
        MlflowRest.of(settings).get_run("r")
    basic = f"Basic {base64.b64encode(b'rita:s:cret').decode()}"
    assert server.asked == [None, basic, basic, "Bearer t"]


def test_a_server_that_fails_is_asked_again_and_one_that_refuses_is_not(answering: type[Recorded]) -> None:
    failing = answering((500, b"oops"), (503, b"{}"), (200, RUN))
    assert MlflowRest(failing.address, retries=2).get_run("r").metrics == {}
    assert len(failing.asked) == 3
    with pytest.raises(ServerError, match=r"refused or did not answer \(HTTP 500\)"):
        MlflowRest(answering((500, b"oops")).address, retries=1).get_run("r")
    refusing = answering((401, b"who are you?"))
    with pytest.raises(ConfigurationError, match="MLFLOW_TRACKING_USERNAME"):
        MlflowRest(refusing.address).get_run("r")
    assert len(refusing.asked) == 1
    with pytest.raises(ServerError, match="is no MLflow"):
        MlflowRest(answering((200, b"<html>")).address).get_run("r")


def test_an_address_without_a_server_is_a_sentence() -> None:
    with pytest.raises(ServerError, match="is it running"):
        MlflowRest("http://127.0.0.1:9", retries=0).list_versions()
    with pytest.raises(ConfigurationError, match="MLFLOW_TRACKING_URI"):
        MlflowRest("sqlite:///mlflow.db")
