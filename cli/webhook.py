"""The webhook by which MLflow tells the façade that somebody moved an alias."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict

import click

from cli.promotions import registry
from cli.rooms import say
from forecastle.access.principals import Permission
from forecastle.errors import ConfigurationError
from forecastle.registry.mlflow_webhooks import Webhook, Webhooks
from forecastle.settings import Settings

PATH = "/api/v1/registry/webhook"


@click.group()
def webhook() -> None:
    """Make, show or take away the webhook by which MLflow tells the façade that an alias was moved."""


@webhook.command("create")
@click.option("--url", help="The façade as MLflow reaches it; that of FORECASTLE_URL where none is given.")
@click.option("--json", "as_json", is_flag=True)
def create(url: str | None, as_json: bool) -> None:
    """Make it, in place of one there was, and let MLflow deliver an example; exit code 1 where that was refused."""
    with registry() as (room, rest):
        room.principal(Permission.ADMINISTER)
        if room.settings.webhook_secret is None:
            raise ConfigurationError("set FORECASTLE_WEBHOOK_SECRET here and for the façade: openssl rand -hex 32")
        webhooks = Webhooks(rest)
        made = webhooks.create((url or _facade(room.settings)).rstrip("/") + PATH, room.settings.webhook_secret)
        delivery = webhooks.test(made)
    _show([made], as_json)
    if delivery.status != 202:
        answered = f"the façade answered {delivery.status}" if delivery.status else "the façade did not answer"
        say(f"error: MLflow delivered an example and {answered}; is it up, with the same FORECASTLE_WEBHOOK_SECRET?")
        sys.exit(1)
    say("MLflow delivered an example, and the façade took it; moves are heard within a minute from now")


@webhook.command("show")
@click.option("--json", "as_json", is_flag=True)
def show(as_json: bool) -> None:
    """Where MLflow delivers now."""
    with registry() as (_, rest):
        found = Webhooks(rest).find()
    _show(found, as_json)


@webhook.command("delete")
@click.option("--json", "as_json", is_flag=True)
def delete(as_json: bool) -> None:
    """Take it away: moves in MLflow are seen twice a minute all the same."""
    with registry() as (room, rest):
        room.principal(Permission.ADMINISTER)
        gone = Webhooks(rest).delete()
    _show(gone, as_json)


def _facade(settings: Settings) -> str:
    return settings.facade_url or f"http://{settings.http_host}:{settings.http_port}"


def _show(found: list[Webhook], as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps([asdict(one) for one in found]))
    elif found:
        click.echo("\n".join(f"{one.url}  {'active' if one.active else 'disabled'}  {one.id}" for one in found))
    else:
        say("MLflow has no webhook of Forecastle: `forecastle models webhook create` makes one")
