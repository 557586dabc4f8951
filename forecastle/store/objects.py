"""Dataset and bundle files: named bytes in an S3 bucket, written once and never changed."""

from __future__ import annotations

import base64
import hashlib
import os
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from forecastle.errors import IntegrityError, NotFoundError
from forecastle.settings import Settings
from forecastle.store.s3_errors import s3_errors

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

_CONNECT_SECONDS, _READ_SECONDS, _RETRIES = 3, 10, 2
_CONNECTIONS = 20
_LONGEST_NAME = 900  # of S3's 1,024 bytes; the prefix comes on top


def digest_of(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@dataclass(frozen=True)
class Objects:
    """Objects of one bucket, below `prefix`; names are relative paths with `/`.

    May be used by many threads at once. Every method raises ServerError where S3 does not answer, and
    ConfigurationError, with a sentence that names the setting, where it does not let us in.
    """

    bucket: str
    prefix: str
    settings: Settings

    @classmethod
    def of(cls, settings: Settings) -> Objects:
        """The objects that the settings name. Raises ConfigurationError where they name none."""
        parts = urlsplit(settings.require_artifacts())
        return cls(parts.netloc, parts.path.strip("/"), settings)

    @property
    def address(self) -> str:
        """Where they lie, for people."""
        return f"s3://{self.bucket}/{self.prefix}".rstrip("/")

    def put(self, name: str, content: bytes) -> None:
        """Write an object whole or not at all; writing the same name again replaces it.

        The server refuses what arrives changed: by its MD5, which all servers look at, and its SHA-256, which
        AWS keeps with the object.
        """
        key = self._key(name)
        with s3_errors(self.settings, self.bucket, "write"):
            self._client().put_object(
                Bucket=self.bucket,
                Key=key,
                Body=content,
                ContentMD5=_base64(hashlib.md5(content, usedforsecurity=False).digest()),
                ChecksumAlgorithm="SHA256",
                ChecksumSHA256=_base64(hashlib.sha256(content).digest()),
            )

    def get(self, name: str) -> bytes:
        """The object's bytes. Raises NotFoundError, and IntegrityError where they are known not to be what was put."""
        key = self._key(name)
        try:
            with s3_errors(self.settings, self.bucket, "read"):
                return self._client().get_object(Bucket=self.bucket, Key=key)["Body"].read()
        except NotFoundError:
            raise NotFoundError(f"no object {name}") from None
        except IntegrityError as error:
            raise IntegrityError(f"the object {name} was changed behind the back of S3: {error}") from None

    def exists(self, name: str) -> bool:
        key = self._key(name)
        try:
            with s3_errors(self.settings, self.bucket, "read"):
                self._client().head_object(Bucket=self.bucket, Key=key)
        except NotFoundError:
            return False
        return True

    def list(self, prefix: str = "") -> Iterator[str]:
        """Names that begin with `prefix`, which is a name or one with `/` at its end, in order."""
        if prefix:
            self._key(prefix.removesuffix("/"))
        above = f"{self.prefix}/" if self.prefix else ""
        with s3_errors(self.settings, self.bucket, "list"):
            pages = self._client().get_paginator("list_objects_v2")
            for page in pages.paginate(Bucket=self.bucket, Prefix=above + prefix):
                for found in page.get("Contents", []):
                    yield found["Key"].removeprefix(above)

    def delete(self, name: str) -> None:
        """Remove an object; nothing happens where there is none."""
        key = self._key(name)
        with s3_errors(self.settings, self.bucket, "delete"):
            self._client().delete_object(Bucket=self.bucket, Key=key)

    def _key(self, name: str) -> str:
        segments = name.split("/")
        is_clean = all(part not in ("", ".", "..") and part.isprintable() and "\\" not in part for part in segments)
        if not is_clean or len(name.encode()) > _LONGEST_NAME:
            raise ValueError(f"not the name of an object: {name}")
        return f"{self.prefix}/{name}" if self.prefix else name

    def _client(self) -> S3Client:
        return client_of(self.settings)


def _base64(digest: bytes) -> str:
    return base64.b64encode(digest).decode()


class _Clients:
    """One client for a process and its settings: making one takes longer than most requests.

    A child must not use the connections of the process that it was forked from.
    """

    def __init__(self) -> None:
        self._lock, self._process = threading.Lock(), 0
        self._made: dict[tuple[str | None, ...], S3Client] = {}

    def client(self, settings: Settings) -> S3Client:
        wanted = (
            settings.s3_endpoint_url,
            settings.aws_access_key_id,
            settings.aws_secret_access_key,
            settings.aws_session_token,
            settings.aws_region,
        )
        with self._lock:
            if self._process != os.getpid():
                self._process, self._made = os.getpid(), {}
            if wanted not in self._made:
                self._made[wanted] = _make_client(*wanted)
            return self._made[wanted]


_CLIENTS = _Clients()


def client_of(settings: Settings) -> S3Client:
    """The client of this process for these settings."""
    return _CLIENTS.client(settings)


def _make_client(
    endpoint: str | None, key: str | None, secret: str | None, token: str | None, region: str | None
) -> S3Client:
    import boto3  # takes a third of a second, which most commands need not wait for
    from botocore.config import Config

    return boto3.session.Session().client(
        "s3",
        endpoint_url=endpoint,
        aws_access_key_id=key,
        aws_secret_access_key=secret,
        aws_session_token=token or None,
        region_name=region,
        config=Config(
            connect_timeout=_CONNECT_SECONDS,
            read_timeout=_READ_SECONDS,
            retries={"total_max_attempts": 1 + _RETRIES, "mode": "standard"},
            max_pool_connections=_CONNECTIONS,
            signature_version="s3v4",
            # A server of one's own seldom has a host name a bucket.
            s3={"addressing_style": "path" if endpoint else "auto"},
        ),
    )
