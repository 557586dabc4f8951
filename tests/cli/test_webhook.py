"""The webhook at the command line, with a real MLflow that delivers to a façade of this process."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest
from werkzeug.serving import make_server

from forecastle.access.principals import Role, add_user
from forecastle.registry.serving import ServingModels
from forecastle.settings import Settings
from forecastle.store.database import Database
from forecastle.store.objects import Objects
from projects import discover
from serving.application import build

SECRET = "0123456789abcdef" * 2
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def settings(servers: Settings, database_url: str, database: Database) -> Iterator[Settings]:
    """With a façade that hears webhooks, and one user, who is an admin."""
    with database.transaction() as connection:
        add_user(connection, "ada", Role.ADMIN)
    models = ServingModels(database, Objects.of(servers), discover())
    server = make_server("127.0.0.1", 0, build(database, models, webhook_secret=SECRET), threaded=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    address = f"http://127.0.0.1:{server.server_port}"
    yield replace(servers, database_url=database_url, facade_url=address, webhook_secret=SECRET)
    server.shutdown()
    thread.join()


def test_it_is_made_tried_shown_and_taken_away(settings: Settings, run_with: Run) -> None:
    assert "MLflow has no webhook of Forecastle" in run_with(settings, "models", "webhook", "show")[2]
    for _ in range(2):
        code, out, err = run_with(settings, "models", "webhook", "create", "--json")
        assert (code, "the façade took it" in err) == (0, True)
    (made,) = json.loads(out)
    assert made["url"] == f"{settings.facade_url}/api/v1/registry/webhook"
    code, out, _ = run_with(settings, "models", "webhook", "show")
    assert (code, out.split()) == (0, [made["url"], "active", made["id"]])
    assert SECRET not in out
    assert json.loads(run_with(settings, "models", "webhook", "delete", "--json")[1]) == [made]
    assert json.loads(run_with(settings, "models", "webhook", "show", "--json")[1]) == []


def test_a_facade_that_has_another_secret_or_is_away_is_said(settings: Settings, run_with: Run) -> None:
    other = replace(settings, webhook_secret="f" * 32)
    code, _, err = run_with(other, "models", "webhook", "create")
    assert (code, "the façade answered 401" in err) == (1, True)
    code, _, err = run_with(settings, "models", "webhook", "create", "--url", "ftp://facade")
    assert (code, "MLFLOW_WEBHOOK_ALLOWED_SCHEMES" in err) == (1, True)
    code, _, err = run_with(replace(settings, webhook_secret=None), "models", "webhook", "create")
    assert (code, "FORECASTLE_WEBHOOK_SECRET" in err) == (1, True)
    assert run_with(settings, "models", "webhook", "delete")[0] == 0
