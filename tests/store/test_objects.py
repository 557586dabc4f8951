"""Objects are written whole or not at all, and their names stay inside the folder."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forecastle.errors import NotFoundError
from forecastle.store.objects import Objects, digest_of


def test_an_object_comes_back_as_it_was_put(objects: Objects) -> None:
    objects.put("datasets/a/b.parquet", b"\x00content")
    assert objects.get("datasets/a/b.parquet") == b"\x00content"
    assert objects.exists("datasets/a/b.parquet")
    objects.put("datasets/a/b.parquet", b"other")
    assert objects.get("datasets/a/b.parquet") == b"other"


def test_an_object_that_is_not_there_is_not_found(objects: Objects) -> None:
    assert not objects.exists("nothing")
    with pytest.raises(NotFoundError, match="no object nothing"):
        objects.get("nothing")


@pytest.mark.parametrize("name", ["../outside", "a/../../outside", "/etc/hostname", "", ".", "a/.."])
def test_names_that_climb_out_are_refused(objects: Objects, name: str) -> None:
    for use in (objects.get, objects.exists, lambda found: objects.put(found, b"x")):
        with pytest.raises(ValueError, match="not the name of an object"):
            use(name)


def test_a_link_that_leads_out_is_refused(tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "inside").mkdir()
    (tmp_path / "inside" / "link").symlink_to(tmp_path / "outside")
    with pytest.raises(ValueError, match="not the name of an object"):
        Objects(tmp_path / "inside").put("link/file", b"x")
    assert list((tmp_path / "outside").iterdir()) == []


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_writing_that_fails_leaves_the_object_as_it_was_and_no_rest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    objects = Objects(tmp_path)
    objects.put("a/object", b"before")

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os if step == "fsync" else Path, step, fail)
        with pytest.raises(OSError, match="No space left"):
            objects.put("a/object", b"after")
    assert objects.get("a/object") == b"before"
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["object"]


@given(st.binary(max_size=50), st.binary(max_size=50))
def test_equal_digests_mean_equal_contents(first: bytes, second: bytes) -> None:
    assert (digest_of(first) == digest_of(second)) == (first == second)
    assert len(digest_of(first)) == 64
