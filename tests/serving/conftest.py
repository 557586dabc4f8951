"""The façade over a real database: synthetic issues, users of every role, and versions without MLflow."""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import psycopg
import pytest
from flask import Flask
from psycopg import sql
from questions import effort_question, question
from versions import EFFORT, MODEL_TYPE, Aliases, issues_of, make_version
from werkzeug.test import TestResponse

import projects
from forecastle.access.principals import Principal, Role, add_user
from forecastle.registry.aliases import VersionFiles
from forecastle.registry.promotions import Promoter
from forecastle.registry.serving import ServingModels
from forecastle.settings import Settings
from forecastle.store.database import Database, with_database
from forecastle.store.issues import import_issues
from forecastle.store.objects import Objects
from forecastle.store.promotions import LedgerStep
from serving.application import build

ISSUES = 150
EFFORT_VERSION = 3
REVIEWER = Principal("reviewer", Role.REVIEWER)


@dataclass(frozen=True)
class House:
    """A façade over a database of its own, and everything that a test asks it with."""

    url: str
    database: Database
    objects: Objects
    models: ServingModels
    app: Flask
    keys: Mapping[str, str]
    versions: Mapping[int, VersionFiles]
    promoter: Promoter

    def promote(self, version: int, name: str = MODEL_TYPE.name) -> LedgerStep:
        step = self.promoter.promote(name, version, REVIEWER, "tested")
        self.models.refresh()
        return step

    def rollback(self) -> LedgerStep:
        step = self.promoter.rollback(MODEL_TYPE.name, REVIEWER, "tested")
        self.models.refresh()
        return step

    def headers(self, role: str = "member") -> dict[str, str]:
        return {"Authorization": f"Bearer {self.keys[role]}"}

    def ask(self, body: Any = None, role: str = "member", **changed: Any) -> TestResponse:
        asked = {**question(), **changed} if body is None else body
        return self.app.test_client().post(MODEL_TYPE.route, json=asked, headers=self.headers(role))

    def ask_effort(self, query: str = "", role: str = "member", **changed: Any) -> TestResponse:
        asked = {**effort_question(), **changed}
        return self.app.test_client().post(f"{EFFORT.route}{query}", json=asked, headers=self.headers(role))

    def send(self, path: str, body: Any, role: str = "reviewer", **headers: str) -> TestResponse:
        return self.app.test_client().post(path, json=body, headers={**self.headers(role), **headers})

    def get(self, path: str, role: str = "member") -> TestResponse:
        return self.app.test_client().get(path, headers=self.headers(role))

    def put(self, path: str, body: Any, role: str = "member") -> TestResponse:
        return self.app.test_client().put(path, json=body, headers=self.headers(role))

    def passport(self, prediction_id: str) -> TestResponse:
        return self.get(f"/api/v1/ml/predictions/{prediction_id}/passport")

    def replay(self, prediction_id: str, role: str = "member") -> TestResponse:
        path = f"/api/v1/ml/predictions/{prediction_id}/replay"
        return self.app.test_client().post(path, headers=self.headers(role))

    def row(self, statement: str, *values: Any) -> Any:
        """The first row, read over a connection that has nothing to do with the façade's."""
        with psycopg.connect(self.url, row_factory=psycopg.rows.dict_row) as connection:
            return connection.execute(statement, values).fetchone()

    def predictions(self) -> int:
        return int(self.row("select count(*) as number from predictions")["number"])


@pytest.fixture(scope="session")
def versions() -> dict[int, VersionFiles]:
    """Two versions of story points, the second trained on more rows, and one of effort."""
    points = {number: make_version(number, issues) for number, issues in ((1, 80), (2, ISSUES))}
    return {**points, EFFORT_VERSION: make_version(EFFORT_VERSION, 80, EFFORT)}


@pytest.fixture(scope="session")
def stocked(postgresql: Settings, template: str) -> tuple[str, dict[str, str]]:
    """Name of a database with issues and one user a role, that others are copied from, and the users' keys."""
    url, name = postgresql.require_database_url(), "forecastle_stocked"
    _create(url, name, template)
    with Database(with_database(url, name)) as database, database.transaction() as connection:
        import_issues(connection, [issue for declared in (MODEL_TYPE, EFFORT) for issue in issues_of(declared, ISSUES)])
        keys = {role.value: add_user(connection, f"a {role.value}", role) for role in Role}
    return name, keys


@pytest.fixture
def empty_house(
    postgresql: Settings, stocked: tuple[str, dict[str, str]], versions: dict[int, VersionFiles], objects: Objects
) -> Iterator[House]:
    """A façade with issues and users, and nothing in production."""
    url, name = postgresql.require_database_url(), f"test_{secrets.token_hex(6)}"
    template, keys = stocked
    _create(url, name, template)
    own = with_database(url, name)
    with Database(own, 4) as database:
        models = ServingModels(database, objects, projects.discover())
        promoter = Promoter(database, objects, Aliases(versions), lambda name, found: None)
        yield House(own, database, objects, models, build(database, models, lambda: promoter), keys, versions, promoter)
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(sql.SQL("drop database {} with (force)").format(sql.Identifier(name)))


@pytest.fixture
def house(empty_house: House) -> House:
    """A façade with version 1 in production."""
    empty_house.promote(1)
    return replace(empty_house)


@pytest.fixture
def effort_house(house: House) -> House:
    """A façade with a version of story points and one of effort in production."""
    house.promote(EFFORT_VERSION, EFFORT.name)
    return house


def _create(url: str, name: str, template: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        statement = sql.SQL("create database {} template {}")
        connection.execute(statement.format(sql.Identifier(name), sql.Identifier(template)))
