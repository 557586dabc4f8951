"""`forecastle forget`: the text is gone from every table and file, and what stays goes on working."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from predictions import a_prediction
from psycopg.types.json import Jsonb

from forecastle.access.principals import Role, add_user
from forecastle.errors import IntegrityError
from forecastle.records.issues import IssueRecord
from forecastle.records.redaction import OMITTED
from forecastle.registry import dataset, forgetting
from forecastle.registry.dataset import load_version, read_rows, save_version
from forecastle.registry.serving import ServingModels
from forecastle.settings import Settings
from forecastle.store.database import Database
from forecastle.store.datasets import DatasetVersion, list_versions
from forecastle.store.issues import import_issues
from forecastle.store.objects import Objects
from forecastle.store.predictions import insert_predictions
from forecastle.store.tenants import get_project
from projects import discover, get_model_type
from serving.application import build

EFFORT = get_model_type("delivery.effort")
ADA, TITLE, SECRET = "Ada Lovelace", "Payroll of Zanzibar", "the zebra account"
START = datetime(2024, 1, 1, tzinfo=UTC)

Forget = Callable[..., Any]


def issue(number: int, **changed: Any) -> IssueRecord:
    fields: dict[str, Any] = {
        "project_key": "A", "key": f"A-{number}", "ordinal": number, "time_basis": "date",
        "created_at": START + timedelta(days=number), "completed_at": START + timedelta(days=number, hours=8),
        "title": f"Issue {number}", "description": "", "effort_hours": 2.0 + number, "assignee": "Bob",
    }  # fmt: skip
    return IssueRecord(**fields | changed)


def stock(database: Database) -> list[IssueRecord]:
    """Issues, an edit, and predictions: Ada does number 1 and is mentioned in number 2; number 3 has a secret."""
    issues = [
        issue(1, assignee=ADA),
        issue(2, reporter=ADA, description=f"as {ADA.upper()} said"),
        issue(3, title=TITLE, description=SECRET),
        issue(4),
    ]
    with database.transaction() as connection:
        import_issues(connection, [replace(each, title=f"{each.title} at first") for each in issues])
    with database.transaction() as connection:
        import_issues(connection, issues)
        project = get_project(connection, "A").id
        asked = [
            {"title": "Issue 1", "assignee": ADA, "description": f"tell {ADA}"},
            {"title": TITLE, "description": SECRET, "issue_key": "A-3"},
            {"title": TITLE, "description": SECRET, "issue_key": None},
            {"title": TITLE, "description": "of another issue", "issue_key": "A-9"},
        ]
        insert_predictions(
            connection,
            [
                a_prediction(project, request=request, issue_key=request.get("issue_key"), answer={"like": [TITLE]})
                for request in asked
            ],
        )
        add_user(connection, "root", Role.ADMIN)
    return issues


@pytest.fixture
def settings(own_storage: Settings, database_url: str) -> Settings:
    return replace(own_storage, database_url=database_url)


@pytest.fixture
def saved(database: Database, objects: Objects) -> DatasetVersion:
    """A dataset version of what is stocked."""
    stock(database)
    return save_version(database, objects, EFFORT.name, read_rows(database, EFFORT))


@pytest.fixture
def forget(run_with: Any, settings: Settings) -> Forget:
    def run(*words: str, code: int = 0) -> Any:
        ended, out, err = run_with(settings, "forget", *words)
        assert ended == code, err
        return json.loads(out) if "--json" in words and code == 0 else out + err

    return run


def everything(database: Database, objects: Objects) -> str:
    """All that the tables and files hold, as one text."""
    tables = ("people", "issues", "issue_changes", "predictions", "forgettings")
    with database.transaction() as connection:
        texts = [
            str(row["text"])
            for table in tables
            for row in connection.execute(f"select to_jsonb(t)::text as text from {table} as t")  # type: ignore[arg-type]
        ]
        versions = list_versions(connection)
    rows = [row for version in versions for row in load_version(objects, version).rows]
    return "\n".join([*texts, *map(repr, rows)])


def test_a_person_is_gone_from_every_table_and_file_and_their_history_stays_together(
    forget: Forget, database: Database, objects: Objects, saved: DatasetVersion
) -> None:
    assert ADA.lower() in everything(database, objects).lower()
    found = forget("person", ADA, "--yes", "--json")
    assert found["erased"] == {
        "people": 1, "issues": 2, "issue_texts": 1, "issue_changes": 0, "predictions": 1, "dataset_files": 1,
    }  # fmt: skip
    assert ADA.lower() not in everything(database, objects).lower()
    with database.transaction() as connection:
        people = connection.execute("select name from people where name <> 'Bob'").fetchall()
        prediction = connection.execute("select * from predictions where redacted_at is not null").fetchone()
    pseudonym = people[0]["name"]
    rows = {row.key: row for row in read_rows(database, EFFORT).rows}
    # Who did an issue is known once it is completed.
    assert rows["A-1"].edits[0].fields["assignee"] == pseudonym
    assert (rows["A-2"].request["reporter"], rows["A-2"].request["description"]) == (pseudonym, f"as {pseudonym} said")
    assert prediction is not None
    assert prediction["request"] == {"title": "Issue 1", "assignee": pseudonym, "description": f"tell {pseudonym}"}


def test_an_issue_is_gone_from_every_table_and_file_and_its_numbers_stay(
    forget: Forget, database: Database, objects: Objects, saved: DatasetVersion
) -> None:
    found = forget("issue", "A", "A-3", "--yes", "--json")
    assert found["erased"] == {"issues": 1, "issue_changes": 1, "predictions": 4, "dataset_files": 1}
    text = everything(database, objects)
    assert SECRET not in text
    assert f"{TITLE} at first" not in text
    assert text.count(TITLE) == 0
    assert "of another issue" in text
    (row,) = (row for row in read_rows(database, EFFORT).rows if row.key == "A-3")
    assert (row.request["title"], row.target) == (OMITTED, 5.0)


def test_a_dataset_version_keeps_its_digest_and_says_that_text_was_erased(
    forget: Forget, database: Database, objects: Objects, saved: DatasetVersion
) -> None:
    before = load_version(objects, saved)
    forget("person", ADA, "--yes")
    with database.transaction() as connection:
        (after,) = list_versions(connection)
    assert (after.digest, after.version, after.pending_digest) == (saved.digest, saved.version, None)
    assert after.redacted_at is not None
    rows = load_version(objects, after)
    assert dataset.digest_of_rows(rows) == after.redacted_digest != saved.digest
    assert [(row.key, row.target, row.asked_at) for row in rows.rows] == [
        (row.key, row.target, row.asked_at) for row in before.rows
    ]
    with pytest.raises(IntegrityError):  # who knows only the digest of before is told that the rows are others
        load_version(objects, saved)
    forget("issue", "A", "A-3", "--yes")  # and once more over what is redacted
    assert SECRET not in everything(database, objects)


def test_a_dry_run_counts_the_same_and_changes_nothing(
    forget: Forget, database: Database, objects: Objects, saved: DatasetVersion
) -> None:
    before = everything(database, objects)
    for words in (("person", ADA), ("issue", "A", "A-3")):
        counted = forget(*words, "--dry-run", "--json")
        assert counted["dry_run"]
        assert everything(database, objects) == before
    erased = forget("person", ADA, "--yes", "--json")
    assert forget("issue", "A", "A-3", "--yes", "--json")["erased"] == counted["erased"]
    assert erased["stays"]


def test_what_is_recorded_says_who_and_when_and_nothing_of_the_text(
    forget: Forget, database: Database, saved: DatasetVersion
) -> None:
    forget("person", ADA, "--yes")
    with database.transaction() as connection:
        (row,) = connection.execute("select * from forgettings").fetchall()
    assert (row["kind"], row["requested_by"], row["subject"]) == ("person", "root", None)
    assert row["finished_at"] >= row["started_at"]
    assert "Lovelace" not in repr(row)


def test_nothing_is_erased_without_a_yes(
    forget: Forget, database: Database, objects: Objects, saved: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = everything(database, objects)
    monkeypatch.setattr("sys.stdin", io.StringIO("n\n"))
    shown = forget("person", ADA, code=130)
    assert "would be erased from:" in shown
    assert everything(database, objects) == before
    assert "--json asks nothing" in forget("person", ADA, "--json", code=2)


def test_a_name_that_stands_nowhere_is_an_error_and_leaves_no_record(
    forget: Forget, database: Database, saved: Any
) -> None:
    shown = forget("person", "Ada Lovelance", "--yes", code=1)
    assert "no text of such person is stored" in shown
    assert "Lovelance" not in shown
    assert "no project" in forget("issue", "B", "B-1", "--yes", code=1)
    with database.transaction() as connection:
        assert connection.execute("select * from forgettings").fetchall() == []


def test_only_an_admin_forgets(run_with: Any, settings: Settings, database: Database, saved: Any) -> None:
    with database.transaction() as connection:
        key = add_user(connection, "op", Role.OPERATOR)
    for words in (("person", ADA), ("issue", "A", "A-3")):
        code, _, err = run_with(replace(settings, api_key=key), "forget", *words, "--yes")
        assert (code, "operator may not administer" in err) == (1, True)


@pytest.mark.parametrize("dies_at", ["begin_redaction", "put", "end_redaction"])
def test_what_was_stopped_while_files_are_done_is_finished_by_the_next_and_every_version_loads_meanwhile(
    dies_at: str,
    forget: Forget,
    database: Database,
    objects: Objects,
    saved: DatasetVersion,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Killed(BaseException):
        pass

    def die(*_: Any) -> None:
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(*((Objects, "put") if dies_at == "put" else (dataset, dies_at)), die)
        with pytest.raises(Killed):
            forgetting.forget_person(database, objects, ADA, "root", dry_run=False)
    with database.transaction() as connection:
        assert connection.execute("select subject from forgettings where finished_at is null").fetchone() is not None
        (version,) = list_versions(connection)
    load_version(objects, version)
    assert "1 finished" in forget("resume")
    assert ADA.lower() not in everything(database, objects).lower()
    assert "0 finished" in forget("resume")


def test_a_file_that_was_tampered_with_is_named_and_the_forgetting_stays_open(
    forget: Forget, database: Database, objects: Objects, saved: DatasetVersion
) -> None:
    other = save_version(database, objects, f"{EFFORT.name}.own", dataset.TrainingRows("date", ()))
    objects.put(saved.object_name, objects.get(other.object_name))
    assert saved.object_name in forget("person", ADA, "--yes", code=1)
    objects.delete(saved.object_name)
    assert "1 finished" in forget("resume")


def test_importing_the_same_again_brings_the_text_back_and_a_training_saves_it_whole(
    forget: Forget, database: Database, objects: Objects, saved: DatasetVersion
) -> None:
    forget("issue", "A", "A-3", "--yes")
    with database.transaction() as connection:
        counts = import_issues(connection, [issue(3, title=TITLE, description=SECRET), issue(4)])
    assert (counts.changed, counts.unchanged) == (1, 1)
    assert SECRET in everything(database, objects)
    found = load_version(objects, _current(database))
    again = save_version(database, objects, EFFORT.name, read_rows(database, EFFORT))
    assert load_version(objects, again).rows != found.rows


def _current(database: Database) -> DatasetVersion:
    with database.transaction() as connection:
        return list_versions(connection)[-1]


def test_the_same_rows_saved_again_are_whole_again(database: Database, objects: Objects, saved: DatasetVersion) -> None:
    rows = load_version(objects, saved)
    forgetting.forget_person(database, objects, ADA, "root", dry_run=False)
    again = save_version(database, objects, EFFORT.name, rows)
    assert (again.version, again.redacted_at, again.digests) == (saved.version, None, {saved.digest})
    assert load_version(objects, _current(database)).rows == rows.rows


def test_texts_that_json_escapes_are_found(forget: Forget, database: Database, saved: DatasetVersion) -> None:
    name = 'Jean "JJ" O\\Neil\tÅngström'
    with database.transaction() as connection:
        connection.execute(
            "update predictions set request = %s where request ->> 'title' = 'Issue 1'",
            (Jsonb({"title": f"for {name}!", "reporter": name}),),
        )
    assert forget("person", name, "--yes", "--json")["erased"]["predictions"] == 1
    with database.transaction() as connection:
        row = connection.execute("select request from predictions where redacted_at is not null").fetchone()
    assert row is not None
    assert "JJ" not in str(row["request"])


def test_the_passport_says_that_text_was_erased(database: Database, objects: Objects, saved: DatasetVersion) -> None:
    with database.transaction() as connection:
        project = get_project(connection, "A").id
        prediction = a_prediction(project, dataset_digest=saved.digest, request={"title": f"for {ADA}"})
        insert_predictions(connection, [prediction])
        key = add_user(connection, "vera", Role.VIEWER)
    client = build(database, ServingModels(database, objects, discover())).test_client()

    def passport() -> Any:
        path = f"/api/v1/ml/predictions/{prediction.id}/passport"
        return client.get(path, headers={"Authorization": f"Bearer {key}"}).get_json()

    assert (passport()["redacted_at"], passport()["dataset_redacted_at"]) == (None, None)
    forgetting.forget_person(database, objects, ADA, "root", dry_run=False)
    found = passport()
    assert found["redacted_at"]
    assert found["dataset_redacted_at"]
    assert found["dataset_digest"] == saved.digest
