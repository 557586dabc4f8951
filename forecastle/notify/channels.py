"""How people are told: by e-mail, by a webhook as Slack takes them, or in the log."""

from __future__ import annotations

import json
import logging
import smtplib
import ssl
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from email.message import EmailMessage
from http.client import HTTPException, HTTPMessage
from typing import IO, Protocol
from urllib.parse import parse_qs, unquote, urlsplit

from forecastle.errors import ServerError
from forecastle.settings import Settings

TIMEOUT_SECONDS = 10

log = logging.getLogger("forecastle.notify")


@dataclass(frozen=True)
class Message:
    """What is told; `id` is the same where it is told once more because nobody knows whether it arrived."""

    id: str
    title: str
    text: str


class Channel(Protocol):
    """One way of telling people. `send` raises ServerError with a sentence that holds no secret."""

    @property
    def name(self) -> str: ...

    def send(self, message: Message) -> None: ...


@dataclass(frozen=True)
class EmailChannel:
    """An e-mail by SMTP: with TLS from the start (smtps), by STARTTLS, or in plain where the address says so."""

    url: str = field(repr=False)
    sender: str
    recipients: tuple[str, ...]
    name = "email"

    def send(self, message: Message) -> None:
        email = EmailMessage()
        email["Subject"], email["From"], email["To"] = message.title, self.sender, ", ".join(self.recipients)
        email["Message-ID"] = f"<{message.id}@forecastle>"
        email.set_content(message.text)
        try:
            with self._connected() as server:
                server.send_message(email)
        except smtplib.SMTPAuthenticationError:
            raise ServerError(f"{self._where} did not take user and password of FORECASTLE_SMTP_URL") from None
        except smtplib.SMTPResponseException as error:
            raise ServerError(f"{self._where} refused the e-mail (code {error.smtp_code})") from None
        except smtplib.SMTPRecipientsRefused:
            raise ServerError(f"{self._where} takes no e-mail for FORECASTLE_MAIL_TO") from None
        except ssl.SSLCertVerificationError:
            raise ServerError(f"the certificate of {self._where} is not trusted") from None
        except (OSError, smtplib.SMTPException) as error:
            raise ServerError(f"{self._where} took no e-mail ({type(error).__name__})") from None

    @property
    def _where(self) -> str:
        parts = urlsplit(self.url)
        return f"the mail server {parts.hostname}:{parts.port or _PORTS[parts.scheme]}"

    def _connected(self) -> smtplib.SMTP:
        parts = urlsplit(self.url)
        query = parse_qs(parts.query)
        host, port = parts.hostname or "", parts.port or _PORTS[parts.scheme]
        context = ssl.create_default_context(cafile=query["ssl_ca_certs"][0] if "ssl_ca_certs" in query else None)
        if parts.scheme == "smtps":
            server: smtplib.SMTP = smtplib.SMTP_SSL(host, port, timeout=TIMEOUT_SECONDS, context=context)
        else:
            server = smtplib.SMTP(host, port, timeout=TIMEOUT_SECONDS)
        try:
            if parts.scheme == "smtp" and query.get("starttls") != ["off"]:
                server.starttls(context=context)
            if parts.username:
                server.login(unquote(parts.username), unquote(parts.password or ""))
        except BaseException:
            server.close()
            raise
        return server


_PORTS = {"smtp": 587, "smtps": 465}


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """The address is a secret: nobody is to send us on with it."""

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: HTTPMessage, newurl: str
    ) -> None:
        return None


@dataclass(frozen=True)
class WebhookChannel:
    """A POST of `{"text": …}`, as Slack, Mattermost and others take it; the address is the secret."""

    url: str = field(repr=False)
    name = "webhook"

    def send(self, message: Message) -> None:
        body = json.dumps({"text": _escaped(f"*{message.title}*\n{message.text}")}).encode()
        request = urllib.request.Request(self.url, body, {"Content-Type": "application/json"})  # noqa: S310 - http(s), by Settings
        try:
            with urllib.request.build_opener(_NoRedirect).open(request, timeout=TIMEOUT_SECONDS):
                pass
        except urllib.error.HTTPError as error:
            error.close()
            raise ServerError(f"the webhook at {self._where} refused the message (status {error.code})") from None
        except (OSError, HTTPException):
            raise ServerError(f"the webhook at {self._where} did not answer") from None

    @property
    def _where(self) -> str:
        return str(urlsplit(self.url).hostname)


def _escaped(text: str) -> str:
    # The three characters that Slack reads as its own.
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


@dataclass(frozen=True)
class ConsoleChannel:
    """A line in the log of the worker, where nothing else is configured."""

    name = "console"

    def send(self, message: Message) -> None:
        log.warning("%s: %s", message.title, message.text)


def channels_of(settings: Settings) -> list[Channel]:
    """Every channel that is configured, else the console."""
    found: list[Channel] = []
    if settings.smtp_url is not None and settings.mail_from is not None and settings.mail_to is not None:
        found.append(EmailChannel(settings.smtp_url, settings.mail_from, settings.mail_to))
    if settings.notify_webhook_url is not None:
        found.append(WebhookChannel(settings.notify_webhook_url))
    return found or [ConsoleChannel()]
