"""Settings are read once, named when they are wrong, documented, and never shown where they are secret."""

from __future__ import annotations

import re
from dataclasses import fields, replace
from pathlib import Path

import pytest

from forecastle.errors import ConfigurationError
from forecastle.settings import Settings, aws_variables

DOCUMENT = Path(__file__).parents[1] / "docs" / "configuration.md"
VARIABLES = {item.metadata["variable"]: item for item in fields(Settings)}

GIVEN = {
    "FORECASTLE_WEBHOOK_SECRET": "sesame" * 6,
    "FORECASTLE_REVIEWERS": "rita, rolf",
    "FORECASTLE_HOME": "/somewhere/else",
    "DATABASE_URL": "postgresql://ada:hidden-password@db:5432/forecastle",
    "MLFLOW_TRACKING_URI": "http://mlflow:5000",
    "MLFLOW_TRACKING_USERNAME": "rita",
    "MLFLOW_TRACKING_PASSWORD": "hidden-password",
    "MLFLOW_TRACKING_TOKEN": "hidden-token",
    "FORECASTLE_ARTIFACTS": "s3://bucket/some/prefix/",
    "REDIS_URL": "rediss://:hidden-word@broker:6379/0?ssl_cert_reqs=required",
    "MLFLOW_S3_ENDPOINT_URL": "https://s3.example",
    "AWS_ACCESS_KEY_ID": "hidden-key",
    "AWS_SECRET_ACCESS_KEY": "hidden-secret",
    "AWS_SESSION_TOKEN": "hidden-token",
    "AWS_DEFAULT_REGION": "eu-central-1",
    "FORECASTLE_URL": "http://facade:8700",
    "FORECASTLE_HTTP_HOST": "0.0.0.0",
    "FORECASTLE_HTTP_PORT": "9000",
    "FORECASTLE_HTTP_WORKERS": "2",
    "FORECASTLE_HTTP_THREADS": "16",
    "FORECASTLE_POOL_SIZE": "4",
    "FORECASTLE_MODEL_CACHE_MB": "64",
    "FORECASTLE_API_KEY": "fck_hidden-key",
    "FORECASTLE_FOUR_EYES": "always",
    "FORECASTLE_JOB_RUN": "0199aaaa-0000-7000-8000-000000000000",
    "FORECASTLE_JOB_RUN_DAYS": "30",
    "FORECASTLE_SMTP_URL": "smtps://ada:hidden-mail-word@mail.example:465",
    "FORECASTLE_MAIL_FROM": "forecastle@example.org",
    "FORECASTLE_MAIL_TO": "ada@example.org, bob@example.org",
    "FORECASTLE_NOTIFY_WEBHOOK_URL": "https://hooks.example/hidden-hook",
    "FORECASTLE_LOG_LEVEL": "debug",
}

BAD = [
    ("FORECASTLE_HTTP_PORT", "port-sesame"),
    ("FORECASTLE_HTTP_PORT", "65536"),
    ("FORECASTLE_HTTP_PORT", "-17"),
    ("FORECASTLE_HTTP_WORKERS", "0000"),
    ("FORECASTLE_HTTP_WORKERS", "many-hands"),
    ("FORECASTLE_HTTP_THREADS", "2.75"),
    ("FORECASTLE_POOL_SIZE", "-99"),
    ("FORECASTLE_POOL_SIZE", "-0071"),
    ("FORECASTLE_ARTIFACTS", "/some/folder"),
    ("FORECASTLE_ARTIFACTS", "objects-folder"),
    ("FORECASTLE_ARTIFACTS", "https://bucket"),
    ("FORECASTLE_ARTIFACTS", "s3://Bucket"),
    ("FORECASTLE_ARTIFACTS", "s3://bucket/a/../b"),
    ("FORECASTLE_ARTIFACTS", "s3://bucket//double"),
    ("DATABASE_URL", "postgresql://ada:sesa/me@localhost/forecastle"),
    ("DATABASE_URL", "mysql://ada:sesame@localhost/forecastle"),
    ("FORECASTLE_FOUR_EYES", "sometimes"),
    ("FORECASTLE_LOG_LEVEL", "LOUD"),
    ("FORECASTLE_WEBHOOK_SECRET", "sesame"),
    ("REDIS_URL", "https://broker:6379"),
    ("REDIS_URL", "redis://:sesa/me@broker:6379/0"),
    ("REDIS_URL", "rediss://:sesame@broker:6379/0?ssl_ca_cert=/ca.crt"),
    ("REDIS_URL", "rediss://:sesame@broker:6379/0?ssl_cert_reqs=maybe"),
    ("REDIS_URL", "redis://:sesame@broker:6379/0?ssl_ca_certs=/ca.crt"),
]


def documented() -> dict[str, str]:
    """The rest of the row of every variable in the document's tables."""
    rows = re.findall(r"^\|\s*`([A-Z][A-Z0-9_]*)`\s*\|(.*)$", DOCUMENT.read_text(), flags=re.MULTILINE)
    assert len({name for name, _ in rows}) == len(rows), "a variable stands in two rows"
    return dict(rows)


def test_the_document_lists_exactly_the_settings() -> None:
    assert set(documented()) == set(VARIABLES)


@pytest.mark.parametrize("variable", VARIABLES)
def test_the_document_gives_the_default(variable: str) -> None:
    default = documented()[variable].split("|")[0].strip().strip("`")
    actual = VARIABLES[variable].default
    assert default == ("unset" if actual is None else str(actual))


def test_without_any_variable_every_setting_has_its_default() -> None:
    assert Settings.from_env({}) == Settings()
    assert Settings.from_env(dict.fromkeys(VARIABLES, "  ")) == Settings()


def test_every_variable_is_read() -> None:
    assert set(GIVEN) == set(VARIABLES), "give a value for the new setting above"
    found = Settings.from_env({**GIVEN, "UNRELATED": "x"})
    for item in fields(Settings):
        assert getattr(found, item.name) != item.default, item.name
    assert (found.http_port, found.log_level, found.home) == (9000, "DEBUG", Path("/somewhere/else"))


def test_the_process_environment_is_read_by_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORECASTLE_HTTP_PORT", "9123")
    assert Settings.from_env().http_port == 9123


def test_settings_come_back_from_their_own_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = Settings.from_env(GIVEN)
    assert Settings.from_env(found.as_environment()) == found
    monkeypatch.chdir(tmp_path)
    plain = Settings(home=Path("here"))
    again = Settings.from_env(plain.as_environment())
    assert again == replace(plain, home=tmp_path.resolve() / "here")
    assert Settings.from_env(again.as_environment()) == again


def test_the_home_stays_where_it_is_for_a_process_that_starts_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "first").mkdir()
    (tmp_path / "second").mkdir()
    monkeypatch.chdir(tmp_path / "first")
    environment = Settings(home=Path("home")).as_environment()
    monkeypatch.chdir(tmp_path / "second")
    found = Settings.from_env(environment)
    assert found.home == tmp_path.resolve() / "first" / "home"


@pytest.mark.parametrize("variable, value", BAD)
def test_a_value_that_makes_no_sense_is_named_but_not_repeated(variable: str, value: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        Settings.from_env({variable: value})
    assert variable in str(caught.value)
    assert value not in str(caught.value)
    assert caught.value.__suppress_context__


def test_no_secret_is_shown() -> None:
    shown = repr(Settings.from_env(GIVEN))
    assert "hidden" not in shown
    assert "9000" in shown


def test_what_is_required_and_missing_says_what_to_type() -> None:
    none, found = Settings(), Settings.from_env(GIVEN)
    for variable, require in (
        ("DATABASE_URL", Settings.require_database_url),
        ("MLFLOW_TRACKING_URI", Settings.require_tracking_uri),
        ("REDIS_URL", Settings.require_redis_url),
        ("FORECASTLE_ARTIFACTS", Settings.require_artifacts),
    ):
        with pytest.raises(ConfigurationError, match=f"{variable} is not set.*forecastle env"):
            require(none)
        assert require(found) == GIVEN[variable].rstrip("/")


def test_credentials_are_looked_for_where_the_caller_has_them() -> None:
    keyed = Settings(aws_access_key_id="key")
    assert aws_variables(keyed, {"AWS_PROFILE": "ours", "AWS_CA_BUNDLE": "/ours.pem"}) == {"AWS_CA_BUNDLE": "/ours.pem"}
    mine = {"HOME": "/somewhere", "AWS_PROFILE": "ours", "PATH": "/bin", "AWS_CONFIG_FILE": "/elsewhere"}
    assert aws_variables(Settings(), mine) == {
        "AWS_PROFILE": "ours",
        "AWS_CONFIG_FILE": "/elsewhere",
        "AWS_SHARED_CREDENTIALS_FILE": "/somewhere/.aws/credentials",
    }


@pytest.mark.parametrize(
    "words, read",
    [
        ("", "?ssl_cert_reqs=required"),
        ("?ssl_ca_certs=/a/ca.crt", "?ssl_ca_certs=/a/ca.crt&ssl_cert_reqs=required"),
        ("?ssl_cert_reqs=CERT_REQUIRED", "?ssl_cert_reqs=required"),
        ("?ssl_cert_reqs=CERT_NONE", "?ssl_cert_reqs=none"),
        ("?ssl_ca_certs=/a%20b/ca.crt&ssl_cert_reqs=optional", "?ssl_ca_certs=/a+b/ca.crt&ssl_cert_reqs=optional"),
    ],
)
def test_a_broker_with_tls_is_verified_unless_its_address_says_otherwise(words: str, read: str) -> None:
    found = Settings.from_env({"REDIS_URL": f"rediss://:word@broker:6379/0{words}"}).redis_url
    assert found == f"rediss://:word@broker:6379/0{read}"
    assert Settings.from_env({"REDIS_URL": str(found)}).redis_url == found
