"""E-mail over a real SMTP server and webhooks over a real HTTP server; what goes wrong is said without secrets."""

from __future__ import annotations

import logging
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from mailbox_server import Mailbox
from tls import write_certificate
from webhook_server import SECRET as HOOK_SECRET
from webhook_server import Hook

from forecastle.errors import ConfigurationError, ServerError
from forecastle.notify.channels import ConsoleChannel, EmailChannel, Message, WebhookChannel, channels_of
from forecastle.settings import Settings

MESSAGE = Message("one.1", "Forecastle: job overdue: a.job", "it was due <yesterday> & did not run: größer")
SECRET = "s3cret-p%40ss"
MAIL = {"FORECASTLE_MAIL_FROM": "forecastle@example.org", "FORECASTLE_MAIL_TO": "ops@example.org, ada@example.org"}


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return write_certificate(tmp_path_factory.mktemp("mail") / "tls")


def email(url: str) -> EmailChannel:
    (found,) = channels_of(Settings.from_env({"FORECASTLE_SMTP_URL": url, **MAIL}))
    assert isinstance(found, EmailChannel)
    return found


@pytest.mark.parametrize("scheme", ["smtp", "smtps"])
def test_an_email_arrives_whole_over_tls_with_user_and_password(certificate: tuple[Path, Path], scheme: str) -> None:
    mailbox = Mailbox(certificate, is_tls=scheme == "smtps", login=("ada", "s3cret-p@ss"))
    with mailbox.serving():
        url = f"{scheme}://ada:{SECRET}@127.0.0.1:{mailbox.port}?ssl_ca_certs={certificate[0]}"
        email(url).send(MESSAGE)
    (received,) = mailbox.received
    assert mailbox.secured == [True]
    assert (received["Subject"], received["From"]) == (MESSAGE.title, "forecastle@example.org")
    assert (received["To"], received["Message-ID"]) == ("ops@example.org, ada@example.org", "<one.1@forecastle>")
    assert received.get_content().strip() == MESSAGE.text


def test_an_email_goes_in_plain_only_where_the_address_says_so(certificate: tuple[Path, Path]) -> None:
    with Mailbox().serving() as mailbox:
        with pytest.raises(ServerError, match="SMTPNotSupportedError"):
            email(f"smtp://127.0.0.1:{mailbox.port}").send(MESSAGE)
        assert mailbox.received == []
        email(f"smtp://127.0.0.1:{mailbox.port}?starttls=off").send(MESSAGE)
    assert mailbox.secured == [False]


def refused(url: str, mailbox: Mailbox) -> str:
    with mailbox.serving(), pytest.raises(ServerError) as told:
        email(url.format(mailbox.port)).send(MESSAGE)
    assert mailbox.received == []
    assert SECRET not in str(told.value)
    assert "secret" not in str(told.value)
    return str(told.value)


def test_what_a_mail_server_refuses_is_said_without_secrets(certificate: tuple[Path, Path]) -> None:
    trusted = f"ssl_ca_certs={certificate[0]}"
    wrong = refused(f"smtp://ada:{SECRET}@127.0.0.1:{{}}?{trusted}", Mailbox(certificate, login=("ada", "other")))
    assert "did not take user and password" in wrong
    assert "log in first" not in refused(f"smtp://127.0.0.1:{{}}?{trusted}", Mailbox(certificate, login=("ada", "x")))
    plain = "smtp://127.0.0.1:{}?starttls=off"
    assert "takes no e-mail for FORECASTLE_MAIL_TO" in refused(plain, Mailbox(refusing="RCPT"))
    assert "refused the e-mail (code 550)" in refused(plain, Mailbox(refusing="MAIL"))
    assert "is not trusted" in refused("smtp://127.0.0.1:{}", Mailbox(certificate))


def test_nobody_at_the_other_end_is_a_sentence_as_well() -> None:
    with socket.socket() as unheard:
        unheard.bind(("127.0.0.1", 0))  # taken, and nobody listens
        port = unheard.getsockname()[1]
        with pytest.raises(ServerError, match="took no e-mail"):
            email(f"smtp://127.0.0.1:{port}?starttls=off").send(MESSAGE)
        with pytest.raises(ServerError, match="did not answer"):
            WebhookChannel(f"http://127.0.0.1:{port}/services/{SECRET}").send(MESSAGE)


@pytest.fixture
def hook() -> Iterator[Hook]:
    with Hook().serving() as hook:
        yield hook


def test_a_webhook_is_handed_a_text_as_slack_takes_it(hook: Hook) -> None:
    WebhookChannel(hook.url).send(MESSAGE)
    ((path, body),) = hook.bodies
    assert path == f"/services/{HOOK_SECRET}"
    assert body == {"text": f"*{MESSAGE.title}*\nit was due &lt;yesterday&gt; &amp; did not run: größer"}


@pytest.mark.parametrize("status", [302, 404, 500])
def test_a_webhook_that_refuses_or_sends_elsewhere_is_a_failure_that_names_no_secret(hook: Hook, status: int) -> None:
    hook.status = status
    with pytest.raises(ServerError) as told:
        WebhookChannel(hook.url).send(MESSAGE)
    assert str(told.value) == f"the webhook at 127.0.0.1 refused the message (status {status})"
    assert len(hook.bodies) == 1


def test_without_any_channel_the_log_says_it(caplog: pytest.LogCaptureFixture) -> None:
    (console,) = channels_of(Settings())
    assert isinstance(console, ConsoleChannel)
    with caplog.at_level(logging.WARNING):
        console.send(MESSAGE)
    assert f"{MESSAGE.title}: {MESSAGE.text}" in caplog.text


def test_channels_show_none_of_their_secrets() -> None:
    variables = {
        "FORECASTLE_SMTP_URL": f"smtps://ada:{SECRET}@mail",
        "FORECASTLE_NOTIFY_WEBHOOK_URL": f"https://h/{SECRET}",
    }
    settings = Settings.from_env({**variables, **MAIL})
    assert [channel.name for channel in channels_of(settings)] == ["email", "webhook"]
    assert SECRET not in repr(settings) + repr(channels_of(settings))
    assert Settings.from_env(settings.as_environment()) == settings.__class__.from_env(
        {**variables, **MAIL, "FORECASTLE_HOME": str(settings.home.resolve())}
    )


@pytest.mark.parametrize(
    "variable, value",
    [
        ("FORECASTLE_SMTP_URL", "http://mail"),
        ("FORECASTLE_SMTP_URL", "smtps://mail?starttls=off"),
        ("FORECASTLE_SMTP_URL", f"smtp://ada:{SECRET}@mail?starttls=off"),
        ("FORECASTLE_SMTP_URL", "smtp://mail?verify=no"),
        ("FORECASTLE_NOTIFY_WEBHOOK_URL", f"file:///etc/{SECRET}"),
        ("FORECASTLE_MAIL_FROM", "nobody"),
        ("FORECASTLE_MAIL_TO", "a@b, c\r\nBcc: d@e"),
    ],
)
def test_a_setting_that_cannot_be_used_is_refused_by_its_name_alone(variable: str, value: str) -> None:
    with pytest.raises(ConfigurationError, match=f"{variable} has no usable value") as told:
        Settings.from_env({variable: value})
    assert SECRET not in str(told.value)


def test_a_mail_server_without_anybody_to_write_to_is_refused_at_the_start() -> None:
    with pytest.raises(ConfigurationError, match="needs FORECASTLE_MAIL_FROM and FORECASTLE_MAIL_TO"):
        Settings.from_env({"FORECASTLE_SMTP_URL": "smtps://mail"})
