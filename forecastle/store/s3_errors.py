"""What S3 and boto3 raise, in our words: a sentence that says which setting to look at."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from forecastle.errors import ConfigurationError, ForecastleError, IntegrityError, NotFoundError, ServerError
from forecastle.settings import Settings

if TYPE_CHECKING:
    from botocore.exceptions import ClientError

_KEYS = "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"

# By the code of the answer. HEAD has no body, so its answers have the HTTP status for a code.
_SENTENCES = {
    "NoSuchBucket": "{where} has no bucket {bucket}: make it there, or name another one in FORECASTLE_ARTIFACTS",
    "InvalidBucketName": "{bucket} cannot be the name of a bucket: give FORECASTLE_ARTIFACTS as s3://bucket/prefix",
    "InvalidAccessKeyId": "{where} does not know the access key: set AWS_ACCESS_KEY_ID to one of its own",
    "SignatureDoesNotMatch": "{where} knows the access key, but AWS_SECRET_ACCESS_KEY is not its secret",
    "ExpiredToken": "the access key has expired: get a new one with its secret and AWS_SESSION_TOKEN",
    "InvalidToken": "{where} does not take AWS_SESSION_TOKEN: unset it, or set the one that belongs to the access key",
    "AccessDenied": "the access key may not {action} in the bucket {bucket} at {where}: allow it there",
    "AuthorizationHeaderMalformed": "{where} is of another region: set AWS_DEFAULT_REGION{region}",
    "PermanentRedirect": "the bucket {bucket} lies in another region: set AWS_DEFAULT_REGION{region}",
    "RequestTimeTooSkewed": "the clock of this machine differs from that of {where}: set the clock right",
    "404": "{where} does not answer as S3 does: is MLFLOW_S3_ENDPOINT_URL its address?",
    "BadDigest": "the object arrived changed at {where} and was not kept: try again",
}
_SAME = {
    "401": "AccessDenied",
    "403": "AccessDenied",
    "AllAccessDisabled": "AccessDenied",
    "301": "PermanentRedirect",
    "IllegalLocationConstraintException": "PermanentRedirect",
    "TemporaryRedirect": "PermanentRedirect",
    "InvalidRegionName": "AuthorizationHeaderMalformed",
    "TokenRefreshRequired": "ExpiredToken",
    "405": "404",
    "InvalidDigest": "BadDigest",
    "XAmzContentSHA256Mismatch": "BadDigest",
    "XAmzContentChecksumMismatch": "BadDigest",
}
_PASSING = ("BadDigest",)


@contextmanager
def s3_errors(settings: Settings, bucket: str, action: str) -> Iterator[None]:
    """Raises errors of ours in place of what boto3 raises within the block.

    NotFoundError, IntegrityError, ConfigurationError or ServerError.
    """
    from botocore.exceptions import BotoCoreError, ClientError  # not before S3 is used
    from botocore.parsers import ResponseParserError

    where = settings.s3_endpoint_url or "AWS"
    try:
        yield
    except ClientError as error:
        raise _refused(error, where, bucket, action) from error
    except (BotoCoreError, ResponseParserError, ValueError) as error:  # the last for an endpoint that is no address
        raise _failed(error, where, bucket) from error


def _refused(error: ClientError, where: str, bucket: str, action: str) -> ForecastleError:
    answer: Mapping[str, Any] = error.response
    code = str(answer.get("Error", {}).get("Code", "unknown"))
    metadata = answer.get("ResponseMetadata", {})
    if code == "NoSuchKey" or (code == "404" and error.operation_name == "HeadObject"):
        return NotFoundError("no such object")
    code = _SAME.get(code, code)
    if code in _SENTENCES:
        region = answer.get("Error", {}).get("Region") or metadata.get("HTTPHeaders", {}).get("x-amz-bucket-region")
        sentence = _SENTENCES[code].format(
            where=where, bucket=bucket, action=action, region=f" to {region}" if region else ""
        )
        return ServerError(sentence) if code in _PASSING else ConfigurationError(sentence)
    advice = "try again; where it goes on, look at its log and at the room on its disk"
    return ServerError(f"{where} did not {action} ({code}, HTTP {metadata.get('HTTPStatusCode', 'unknown')}): {advice}")


def _failed(error: Exception, where: str, bucket: str) -> ForecastleError:
    from botocore import exceptions as boto
    from botocore.parsers import ResponseParserError

    away = (boto.HTTPClientError, boto.ConnectionError, boto.IncompleteReadError)
    sentences: list[tuple[type[Exception], str]] = [  # the first one that fits
        (boto.NoCredentialsError, f"there are no credentials for {where}: set {_KEYS}, or give this machine a role"),
        (boto.PartialCredentialsError, f"one of {_KEYS} is missing: set both or neither"),
        (boto.ParamValidationError, _SENTENCES["InvalidBucketName"].format(bucket=bucket)),
        (boto.InvalidRegionError, "AWS_DEFAULT_REGION is not the name of a region"),
        (boto.SSLError, f"the certificate of {where} is not trusted: name the file of its authority in AWS_CA_BUNDLE"),
        (boto.BotoCoreError, f"boto3 cannot use the credentials or the configuration that it finds: {error}"),
        (ResponseParserError, f"{where} does not answer as S3 does: is MLFLOW_S3_ENDPOINT_URL its address?"),
        (ValueError, f"{where} is no address: give MLFLOW_S3_ENDPOINT_URL as http://host:port"),
    ]
    if isinstance(error, boto.FlexibleChecksumError):
        return IntegrityError(f"what {where} hands out is not what it was given")
    if isinstance(error, away) and not isinstance(error, boto.SSLError):
        return ServerError(f"{where} cannot be reached ({type(error).__name__}): is it up, and its address right?")
    return ConfigurationError(next(sentence for kind, sentence in sentences if isinstance(error, kind)))
