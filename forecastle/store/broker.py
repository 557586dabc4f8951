"""Whether the broker answers, and why it does not; its messages are the business of `jobs/` alone."""

from __future__ import annotations

import ssl
from collections.abc import Iterator

from forecastle.errors import ConfigurationError

_SECONDS = 3


def ping(url: str) -> None:
    """Raises ConfigurationError, with what `reason_of` says, where the server of REDIS_URL does not answer."""
    import redis  # not before the broker is asked

    try:
        with redis.Redis.from_url(url, socket_timeout=_SECONDS, socket_connect_timeout=_SECONDS) as client:
            client.ping()
    except (redis.RedisError, OSError, ValueError) as error:
        raise ConfigurationError(reason_of(error)) from None


def reason_of(error: BaseException) -> str:
    """What a client of the broker raised, as a sentence that names what to mend in REDIS_URL and no secret."""
    import redis

    for cause in _causes(error):
        if isinstance(cause, ssl.SSLCertVerificationError):
            return (
                f"the certificate of the server of REDIS_URL is not trusted ({cause.verify_message}): "
                "name the file of its authority, as in rediss://host/0?ssl_ca_certs=/path/ca.crt"
            )
        if isinstance(cause, FileNotFoundError | PermissionError):
            return "a file that REDIS_URL names (ssl_ca_certs, ssl_certfile or ssl_keyfile) cannot be read"
        if isinstance(cause, ssl.SSLError):
            return "TLS with the server of REDIS_URL fails: does it speak TLS (rediss://), and are its files in PEM?"
        if isinstance(cause, redis.AuthenticationError):
            return "the server refuses the password of REDIS_URL"
    return "the server of REDIS_URL does not answer"


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
