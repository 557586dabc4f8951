"""What the tests of both logs of predictions share."""

from __future__ import annotations

import asyncio

import pytest
import uvloop
from loop_logs import NewLoop
from predictions import a_prediction, some_project

from forecastle.store.database import Database
from forecastle.store.predictions import StoredPrediction


@pytest.fixture(params=[asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def new_loop(request: pytest.FixtureRequest) -> NewLoop:
    made: NewLoop = request.param
    return made


@pytest.fixture
def prediction(database: Database) -> StoredPrediction:
    with database.transaction() as connection:
        return a_prediction(some_project(connection))
