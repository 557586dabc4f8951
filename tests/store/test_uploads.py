"""Results in S3: whole or not at all, whatever their size."""

from __future__ import annotations

import secrets
from dataclasses import replace
from pathlib import Path

import pytest

from forecastle.errors import ConfigurationError, InputError
from forecastle.settings import Settings
from forecastle.store.objects import Objects
from forecastle.store.uploads import is_s3, upload


@pytest.mark.parametrize("size", [0, 10, 20 * 1024 * 1024])
def test_a_file_of_any_size_becomes_an_object(own_storage: Settings, tmp_path: Path, size: int) -> None:
    content = secrets.token_bytes(size)
    (tmp_path / "file").write_bytes(content)
    upload(own_storage, tmp_path / "file", f"{own_storage.artifacts}/scored/a.csv")
    assert Objects.of(own_storage).get("scored/a.csv") == content


def test_an_upload_that_is_cut_off_leaves_what_was_there(
    own_storage: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = f"{own_storage.artifacts}/a.csv"
    (tmp_path / "file").write_bytes(b"before")
    upload(own_storage, tmp_path / "file", address)
    large = tmp_path / "large"
    large.write_bytes(secrets.token_bytes(20 * 1024 * 1024))
    monkeypatch.setattr("botocore.client.BaseClient._make_api_call", _failing_at("UploadPart"))
    with pytest.raises(RuntimeError, match="cut off"):
        upload(own_storage, large, address)
    monkeypatch.undo()
    assert Objects.of(own_storage).get("a.csv") == b"before"


@pytest.mark.parametrize("address", ["s3://bucket", "s3://bucket/", "s3:///key", "s3://bucket/folder/"])
def test_an_address_that_names_no_object_is_a_sentence(own_storage: Settings, tmp_path: Path, address: str) -> None:
    (tmp_path / "file").write_bytes(b"x")
    assert is_s3(address)
    with pytest.raises(InputError, match="names no object"):
        upload(own_storage, tmp_path / "file", address)


def test_a_bucket_that_is_not_there_is_a_sentence(own_storage: Settings, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x")
    with pytest.raises(ConfigurationError, match="no bucket"):
        upload(replace(own_storage), tmp_path / "file", "s3://not-there/a.csv")


def _failing_at(operation: str):  # type: ignore[no-untyped-def]
    from botocore.client import BaseClient

    original = BaseClient._make_api_call

    def call(self, name, arguments):  # type: ignore[no-untyped-def]
        if name == operation:
            raise RuntimeError("cut off")
        return original(self, name, arguments)

    return call
