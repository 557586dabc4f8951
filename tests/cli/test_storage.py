"""`forecastle storage test` says in words whether a bucket can be used, and leaves nothing in it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from forecastle.settings import Settings
from forecastle.store.objects import Objects

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(run_with: Run) -> Run:
    """Runs `forecastle storage test`."""
    return lambda settings, *options: run_with(settings, "storage", "test", *options)


def test_a_bucket_that_works_is_told_step_by_step(run: Run, own_storage: Settings, objects: Objects) -> None:
    code, out, err = run(own_storage)
    assert (code, err) == (0, "")
    head, *lines = out.splitlines()
    assert head == f"{own_storage.artifacts} at {own_storage.s3_endpoint_url}"
    assert [line.split()[:2] for line in lines] == [["put", "ok"], ["get", "ok"], ["list", "ok"], ["delete", "ok"]]
    assert list(objects.list()) == []


def test_json_is_one_document(run: Run, own_storage: Settings) -> None:
    code, out, _ = run(own_storage, "--json")
    found = json.loads(out)
    assert (code, found["ok"], found["bucket"]) == (0, True, own_storage.artifacts)
    assert [step["name"] for step in found["steps"]] == ["put", "get", "list", "delete"]
    assert all(step["problem"] is None and step["milliseconds"] > 0 for step in found["steps"])


@pytest.mark.parametrize(
    "changed, words",
    [
        ({"aws_access_key_id": "nobody"}, "does not know the access key: set AWS_ACCESS_KEY_ID"),
        ({"aws_secret_access_key": "s3cr3t"}, "AWS_SECRET_ACCESS_KEY is not its secret"),
        ({"artifacts": "s3://elsewhere/prefix"}, "has no bucket elsewhere: make it there"),
        ({"s3_endpoint_url": "http://127.0.0.1:1"}, "http://127.0.0.1:1 cannot be reached"),
        ({"aws_region": "not a region"}, "AWS_DEFAULT_REGION is not the name of a region"),
    ],
    ids=["key", "secret", "bucket", "endpoint", "region"],
)
def test_what_is_wrong_is_told_in_words(run: Run, storage: Settings, changed: dict[str, str], words: str) -> None:
    code, out, _ = run(replace(storage, **changed))
    assert code == 1
    (line,) = out.splitlines()[1:]
    assert line.split()[:2] == ["put", "FAILED"]
    assert words in line
    assert "s3cr3t" not in out
    code, out, _ = run(replace(storage, **changed), "--json")
    assert code == 1
    assert json.loads(out)["ok"] is False
    assert words in json.loads(out)["steps"][0]["problem"]


def test_with_no_bucket_given_the_embedded_server_is_tried(run: Run, tmp_path: Path) -> None:
    code, out, err = run(Settings())
    assert code == 0
    assert out.startswith("s3://forecastle at http://127.0.0.1:")
    assert err == "starting s3\nstopping s3\n"
    assert (tmp_path / "home" / "s3" / "data" / "forecastle").is_dir()
