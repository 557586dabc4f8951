"""Objects are written whole or not at all, and their names stay below the prefix."""

from __future__ import annotations

import os
import secrets
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forecastle.errors import ConfigurationError, IntegrityError, NotFoundError
from forecastle.settings import Settings
from forecastle.store import objects as objects_module
from forecastle.store.objects import Objects, digest_of
from forecastle.store.probe import STEPS, run_storage_test


def test_an_object_comes_back_as_it_was_put(objects: Objects) -> None:
    objects.put("datasets/a/b.parquet", b"\x00content")
    assert objects.get("datasets/a/b.parquet") == b"\x00content"
    assert objects.exists("datasets/a/b.parquet")
    objects.put("datasets/a/b.parquet", b"other")
    assert objects.get("datasets/a/b.parquet") == b"other"


@pytest.mark.parametrize("content", [b"", b"\r\n" * 5, secrets.token_bytes(9_000_000)], ids=["empty", "lines", "9 MB"])
def test_any_content_comes_back(objects: Objects, content: bytes) -> None:
    objects.put("some/content", content)
    assert objects.get("some/content") == content


@pytest.mark.parametrize("name", ["a b/c+d", "ä/é", "100%/x", "a.b/..c", "q?x=1&y#z", "files/" + "0" * 64])
def test_any_ordinary_name_can_be_used(objects: Objects, name: str) -> None:
    objects.put(name, name.encode())
    assert objects.get(name) == name.encode()
    assert list(objects.list()) == [name]


def test_an_object_that_is_not_there_is_not_found(objects: Objects) -> None:
    assert not objects.exists("nothing")
    with pytest.raises(NotFoundError, match="no object nothing"):
        objects.get("nothing")


def test_objects_are_listed_by_the_beginning_of_their_names_and_go_when_they_are_deleted(objects: Objects) -> None:
    for name in ("files/b", "files/a", "filesystem/c", "other"):
        objects.put(name, b"x")
    assert list(objects.list("files/")) == ["files/a", "files/b"]
    assert list(objects.list("files")) == ["files/a", "files/b", "filesystem/c"]
    assert list(objects.list("nothing/")) == []
    objects.delete("files/a")
    objects.delete("files/a")
    assert not objects.exists("files/a")
    assert list(objects.list()) == ["files/b", "filesystem/c", "other"]


def test_a_list_goes_on_behind_the_first_page(objects: Objects) -> None:
    names = [f"many/{number:04d}" for number in range(1_003)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda name: objects.put(name, b"x"), names))
    assert list(objects.list("many/")) == names


def test_objects_of_one_prefix_are_none_of_another(objects: Objects, storage: Settings) -> None:
    objects.put("a", b"x")
    other = Objects.of(replace(storage, artifacts=f"{objects.address}-other"))
    assert not other.exists("a")
    assert list(other.list()) == []


@pytest.mark.parametrize(
    "name", ["../outside", "a/../../outside", "/etc/hostname", "", ".", "a/..", "a//b", "a/", "a\\b", "a\nb", "é" * 500]
)
def test_names_that_climb_out_are_refused(objects: Objects, name: str) -> None:
    for use in (objects.get, objects.exists, objects.delete, lambda found: objects.put(found, b"x")):
        with pytest.raises(ValueError, match="not the name of an object"):
            use(name)


def test_a_prefix_that_climbs_out_is_refused(objects: Objects) -> None:
    for prefix in ("../", "a//", "/"):
        with pytest.raises(ValueError, match="not the name of an object"):
            list(objects.list(prefix))


def test_a_put_that_arrives_changed_leaves_the_object_as_it_was(
    objects: Objects, monkeypatch: pytest.MonkeyPatch
) -> None:
    objects.put("a", b"before")
    monkeypatch.setattr(objects_module, "_base64", lambda digest: "1B2M2Y8AsgTpgAmY7PhCfg==")  # the MD5 of nothing
    with pytest.raises(Exception, match=r"arrived changed|did not write"):
        objects.put("a", b"after")
    assert objects.get("a") == b"before"


def test_an_object_that_was_changed_behind_the_back_of_the_server_is_told(objects: Objects, storage: Settings) -> None:
    objects.put("a/b", b"content")
    file = Path(storage.home, "s3", "data", objects.bucket, objects.prefix, "a", "b")
    written_at = file.stat().st_mtime_ns
    file.write_bytes(b"changed")
    os.utime(file, ns=(written_at, written_at))  # else rclone forgets the checksum, and the ledger's tells
    with pytest.raises(IntegrityError, match="the object a/b was changed"):
        objects.get("a/b")
    objects.put("a/b", b"content")
    assert objects.get("a/b") == b"content"


def test_threads_share_one_client_and_a_child_process_makes_its_own(objects: Objects) -> None:
    with ThreadPoolExecutor(8) as pool:
        barrier = threading.Barrier(8)

        def use(number: int) -> bytes:
            barrier.wait()
            objects.put(f"a/{number}", str(number).encode())
            return objects.get(f"a/{number}")

        assert list(pool.map(use, range(8))) == [str(number).encode() for number in range(8)]
    mine = objects._client()
    assert objects._client() is mine
    child = os.fork()
    if child == 0:
        os._exit(0 if objects._client() is not mine and objects.exists("a/1") else 1)
    assert os.waitpid(child, 0)[1] == 0


def test_without_a_bucket_it_says_what_to_type() -> None:
    with pytest.raises(ConfigurationError, match=r"FORECASTLE_ARTIFACTS.*forecastle env"):
        Objects.of(Settings())


def test_the_storage_test_leaves_nothing_behind(objects: Objects, own_storage: Settings, storage: Settings) -> None:
    steps = list(run_storage_test(objects))
    assert [(step.name, step.problem) for step in steps] == [(name, None) for name in STEPS]
    assert list(objects.list()) == []
    assert objects.address == own_storage.artifacts
    assert not Path(storage.home, "s3", "data", "forecastle", objects.prefix).exists()


@given(st.binary(max_size=50), st.binary(max_size=50))
def test_equal_digests_mean_equal_contents(first: bytes, second: bytes) -> None:
    assert (digest_of(first) == digest_of(second)) == (first == second)
    assert len(digest_of(first)) == 64
