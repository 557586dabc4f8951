"""The whole way once: data, validation, training, promotion, answers."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from dataclasses import replace
from http import HTTPStatus
from pathlib import Path
from typing import Any

import click

from cli.data import GENERATED_COLUMNS, import_with_progress, write_issues
from cli.promotions import promoter
from cli.rooms import FACADE, MLFLOW, POSTGRESQL, S3, Room, opened, say
from cli.servers import show_addresses, wait_for_interrupt
from cli.tables import table
from cli.training import run_training
from forecastle.access.principals import Permission, Role, add_user
from forecastle.errors import ConflictError, ServerError
from forecastle.generator.issues import Portfolio, generate_issues
from forecastle.registry.aliases import STAGING
from forecastle.registry.mlflow_rest import MlflowRest
from forecastle.sources.importing import IssueImport
from forecastle.sources.mapping import Mapping
from forecastle.store.principals import list_enabled
from projects import EXPECTATIONS, get_model_type
from projects.entry import ALL

MODEL_TYPE = "delivery.story_points"
USER = "demo"
SWAP_SECONDS = 15.0
COLUMNS = ("project", "issue", "points", "rolling median", "interval", "confidence", "method", "version")
QUESTIONS = (
    ("DEMO1", "Rename the label in settings", ""),
    ("DEMO1", "Migrate the cluster in admin", "older data should be seen again"),
    ("DEMO2", "Add the form in checkout", "users should see the page"),
    ("DEMO2", "Rewrite the scheduler in dashboard", ""),
    ("DEMO3", "Fix the tooltip in search", "when the team releases"),
    ("DEMO3", "Extend the permissions in profile", ""),
)


@click.command()
@click.option("--once", is_flag=True, help="End after the table instead of staying up.")
def demo(once: bool) -> None:
    """Generate synthetic issues, validate, train, promote, ask the façade, and stay up until Ctrl-C."""
    started = time.monotonic()

    def stage(message: str) -> None:
        say(f"[{time.monotonic() - started:5.1f} s] {message}")

    with opened((POSTGRESQL,)), opened((POSTGRESQL, S3, MLFLOW, FACADE)) as found:
        room = _as_demo_user(found)
        stage("generating synthetic issues, validating and importing them")
        _import(room)
        stage("training")
        run_training(room.settings, MODEL_TYPE, ALL)
        stage("promoting")
        version = _promote(room)
        stage("asking the façade")
        rows = [_ask(room, version, *question) for question in QUESTIONS]
        click.echo("\n".join(["", *table(COLUMNS, rows), ""]))
        stage("done; the data are synthetic")
        show_addresses(room.settings)
        if not once:
            say(f"  API key  {_key_file(room)}")
            say("Ctrl-C stops everything.")
            wait_for_interrupt()


def _key_file(room: Room) -> Path:
    return room.settings.home.resolve() / "demo.key"


def _as_demo_user(room: Room) -> Room:
    """The room with the demo user's key; the user is made the first time, the only one and hence an admin."""
    file = _key_file(room)
    if not file.is_file():
        with room.database.transaction() as connection:
            if list_enabled(connection):
                raise ConflictError(
                    "this home has users of its own; let the demo have another one: FORECASTLE_HOME=… make demo"
                )
            key = add_user(connection, USER, Role.ADMIN)
        file.touch(mode=0o600)
        file.write_text(key)
    return replace(room, settings=replace(room.settings, api_key=file.read_text()))


def _import(room: Room) -> None:
    path = room.settings.home.resolve() / "demo" / "issues.csv"
    # Enough for the gate to decide on what is held back.
    write_issues(path, generate_issues(Portfolio(issues=240)))
    mapping = Mapping({name: name for name in GENERATED_COLUMNS}, time_basis="ordinal")
    counts = import_with_progress(room.database, IssueImport([path], mapping, EXPECTATIONS / "issues.json")).counts
    say(f"{counts.new:,} new, {counts.changed:,} changed, {counts.unchanged:,} unchanged")


def _promote(room: Room) -> str:
    rest = MlflowRest.of(room.settings)
    newest = rest.version_at_alias(MODEL_TYPE, STAGING)
    principal = room.principal(Permission.PROMOTE)
    step = promoter(room, rest).promote(
        MODEL_TYPE, newest.version, principal, "demonstration: the newest version, reviewed by nobody"
    )
    mode = "single-user mode" if step.promotion.single_user_mode else "several users"
    say(f"{MODEL_TYPE} version {newest.version} serves; the ledger says: {mode}")
    return f"{MODEL_TYPE}/{newest.version}"


def _ask(room: Room, version: str, project: str, title: str, description: str) -> list[str]:
    question = {"project_id": project, "title": title, "description": description, "issue_type": "Task"}
    deadline = time.monotonic() + SWAP_SECONDS
    answer = _post(room, question)
    while answer["model_version"] != version:  # the façade hears of the promotion in a moment
        if time.monotonic() > deadline:
            raise ServerError(f"the façade answers with {answer['model_version']}, not with {version}; see its log")
        time.sleep(0.1)
        answer = _post(room, question)
    low, high, target = (answer["interval"][name] for name in ("low", "high", "target"))
    return [
        project,
        title,
        f"{answer['recommended_points']:g}",
        f"{answer['baseline']['points']:g}",
        f"{low:g} to {high:g} ({target:.0%})",
        f"{answer['confidence']:.0%}",
        answer["method"],
        answer["model_version"],
    ]


def _post(room: Room, question: dict[str, str]) -> dict[str, Any]:
    """The façade's answer; while nothing serves yet, an answer of no version."""
    url = f"{room.settings.facade_url}{get_model_type(MODEL_TYPE).route}"
    request = urllib.request.Request(  # noqa: S310 - the address is the façade's
        url,
        json.dumps(question).encode(),
        {"Content-Type": "application/json", "Authorization": f"Bearer {room.settings.api_key}"},
    )
    try:
        with urllib.request.urlopen(request, timeout=10) as response:  # noqa: S310 - the façade, as above
            answer: dict[str, Any] = json.load(response)
            return answer
    except urllib.error.HTTPError as error:
        problem = json.load(error)
        if error.code == HTTPStatus.SERVICE_UNAVAILABLE:  # nothing serves yet, or it is being loaded
            return {"model_version": f"nothing ({problem['detail']})"}
        raise ServerError(f"the façade refused: {problem['detail']}") from None
