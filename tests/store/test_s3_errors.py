"""What S3 refuses is told in words that name the setting, and never the secret."""

from __future__ import annotations

import base64
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import boto3
import pytest
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ProfileNotFound,
    ReadTimeoutError,
    SSLError,
)
from moto import mock_aws

from forecastle.errors import ConfigurationError, ForecastleError, NotFoundError, ServerError
from forecastle.settings import Settings
from forecastle.store.objects import Objects, digest_of
from forecastle.store.probe import run_storage_test
from forecastle.store.s3_errors import s3_errors

AWS = Settings(
    artifacts="s3://evidence/prefix",
    aws_access_key_id="AKIAHIDDEN",
    aws_secret_access_key="hidden",
    aws_region="eu-central-1",
)


@pytest.fixture
def aws() -> Iterator[Any]:
    """AWS as moto plays it, with the bucket `evidence` in the region of the settings."""
    with mock_aws():
        client = boto3.client("s3", region_name="eu-central-1")
        client.create_bucket(Bucket="evidence", CreateBucketConfiguration={"LocationConstraint": "eu-central-1"})
        yield client


def refused(code: str, status: int = 403, headers: dict[str, str] | None = None, **error: str) -> ClientError:
    metadata: Any = {"HTTPStatusCode": status, "HTTPHeaders": headers or {}}
    return ClientError({"Error": {"Code": code, **error}, "ResponseMetadata": metadata}, "PutObject")


def told(error: Exception, settings: Settings = AWS) -> ForecastleError:
    with pytest.raises(ForecastleError) as caught, s3_errors(settings, "evidence", "write"):
        raise error
    return caught.value


def test_on_aws_an_object_is_kept_with_its_sha256(aws: Any) -> None:
    objects = Objects.of(AWS)
    objects.put("a/b", b"content")
    assert objects.get("a/b") == b"content"
    assert list(objects.list("a/")) == ["a/b"]
    kept = aws.head_object(Bucket="evidence", Key="prefix/a/b", ChecksumMode="ENABLED")
    assert base64.b64decode(kept["ChecksumSHA256"]).hex() == digest_of(b"content")
    objects.delete("a/b")
    assert not objects.exists("a/b")
    assert [step.problem for step in run_storage_test(objects)] == [None] * 4


def test_on_aws_a_bucket_that_is_not_there_is_named(aws: Any) -> None:
    (step,) = run_storage_test(Objects.of(replace(AWS, artifacts="s3://elsewhere")))
    assert step.problem == ("AWS has no bucket elsewhere: make it there, or name another one in FORECASTLE_ARTIFACTS")


@pytest.mark.parametrize(
    "error, kind, words",
    [
        (refused("InvalidAccessKeyId"), ConfigurationError, "does not know the access key"),
        (refused("SignatureDoesNotMatch"), ConfigurationError, "AWS_SECRET_ACCESS_KEY is not its secret"),
        (refused("ExpiredToken"), ConfigurationError, "has expired"),
        (refused("InvalidToken"), ConfigurationError, "AWS_SESSION_TOKEN"),
        (refused("AccessDenied"), ConfigurationError, "may not write in the bucket evidence at AWS"),
        (refused("403"), ConfigurationError, "may not write"),
        (refused("NoSuchBucket", 404), ConfigurationError, "no bucket evidence"),
        (refused("RequestTimeTooSkewed"), ConfigurationError, "clock"),
        (
            refused("AuthorizationHeaderMalformed", 400, Region="eu-west-3"),
            ConfigurationError,
            "set AWS_DEFAULT_REGION to eu-west-3",
        ),
        (
            refused("301", 301, {"x-amz-bucket-region": "eu-west-3"}),
            ConfigurationError,
            "lies in another region: set AWS_DEFAULT_REGION to eu-west-3",
        ),
        (refused("IllegalLocationConstraintException", 400), ConfigurationError, "AWS_DEFAULT_REGION"),
        (refused("BadDigest", 400), ServerError, "arrived changed"),
        (refused("SlowDown", 503), ServerError, "SlowDown, HTTP 503"),
        (refused("NoSuchKey", 404), NotFoundError, "no such object"),
        (ReadTimeoutError(endpoint_url="http://x"), ServerError, "cannot be reached"),
        (SSLError(endpoint_url="http://x", error="self-signed"), ConfigurationError, "AWS_CA_BUNDLE"),
        (ProfileNotFound(profile="ours"), ConfigurationError, "ours"),
        (BotoCoreError(), ConfigurationError, "boto3 cannot use"),
    ],
    ids=lambda value: str(value)[:50] if isinstance(value, str) else None,
)
def test_every_refusal_has_a_sentence(error: Exception, kind: type[ForecastleError], words: str) -> None:
    found = told(error)
    assert type(found) is kind
    assert words in str(found)
    assert "hidden" not in str(found).lower()


def test_a_wrong_key_and_a_wrong_secret_are_told_apart(own_storage: Settings) -> None:
    for wrong, words in (
        (replace(own_storage, aws_access_key_id="nobody"), "does not know the access key"),
        (replace(own_storage, aws_secret_access_key="wrong-secret"), "is not its secret"),
    ):
        objects = Objects.of(wrong)
        for use in (
            lambda o: o.put("a", b"x"),
            lambda o: o.get("a"),
            lambda o: list(o.list()),
            lambda o: o.delete("a"),
        ):
            with pytest.raises(ConfigurationError, match=words) as caught:
                use(objects)
            assert "wrong-secret" not in str(caught.value)
        with pytest.raises(ConfigurationError, match="may not read"):
            objects.exists("a")


def test_a_bucket_that_a_server_does_not_have_is_told(storage: Settings) -> None:
    objects = Objects.of(replace(storage, artifacts="s3://elsewhere"))
    for use in (lambda: objects.put("a", b"x"), lambda: objects.get("a"), lambda: list(objects.list())):
        with pytest.raises(ConfigurationError, match="has no bucket elsewhere"):
            use()


def test_a_server_that_is_not_there_is_told_soon(storage: Settings) -> None:
    with socket.socket() as unheard:
        unheard.bind(("127.0.0.1", 0))
        port = unheard.getsockname()[1]
        began = time.monotonic()
        with pytest.raises(ServerError, match=f"127.0.0.1:{port} cannot be reached"):
            Objects.of(replace(storage, s3_endpoint_url=f"http://127.0.0.1:{port}")).get("a")
        assert time.monotonic() - began < 10


@pytest.mark.parametrize("endpoint", ["s3.example", "http://", "not an address"])
def test_an_endpoint_that_is_no_address_is_told(storage: Settings, endpoint: str) -> None:
    with pytest.raises(ConfigurationError, match="MLFLOW_S3_ENDPOINT_URL"):
        Objects.of(replace(storage, s3_endpoint_url=endpoint)).get("a")


def test_half_of_the_credentials_is_told(storage: Settings) -> None:
    with pytest.raises(ConfigurationError, match="set both or neither"):
        Objects.of(replace(storage, aws_secret_access_key=None)).get("a")


def test_no_credentials_at_all_are_told(storage: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("HOME", str(tmp_path))
    bare = replace(storage, aws_access_key_id=None, aws_secret_access_key=None)
    with pytest.raises(ConfigurationError, match="AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or give this machine"):
        Objects.of(bare).get("a")


def test_a_region_that_is_none_is_told(storage: Settings) -> None:
    with pytest.raises(ConfigurationError, match="AWS_DEFAULT_REGION"):
        Objects.of(replace(storage, aws_region="not a region")).get("a")


class _Page(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(404)
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        self.wfile.write(b"<html><body>not here<br></body>")

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing."""


def test_a_web_server_that_is_no_s3_is_told(storage: Settings) -> None:
    with HTTPServer(("127.0.0.1", 0), _Page) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        elsewhere = replace(storage, s3_endpoint_url=f"http://127.0.0.1:{server.server_port}")
        with pytest.raises(ForecastleError) as caught:
            list(Objects.of(elsewhere).list())
        server.shutdown()
    assert "is MLFLOW_S3_ENDPOINT_URL its address?" in str(caught.value)
