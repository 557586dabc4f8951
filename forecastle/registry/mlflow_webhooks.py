"""The webhook by which MLflow tells the façade that an alias was moved."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from forecastle.errors import InputError, NotFoundError
from forecastle.registry.mlflow_rest import MlflowRest

NAME = "forecastle"
EVENTS = [{"entity": "MODEL_VERSION_ALIAS", "action": action} for action in ("CREATED", "DELETED")]


@dataclass(frozen=True)
class Webhook:
    """Where MLflow delivers; its secret is never shown again."""

    id: str
    url: str
    active: bool


@dataclass(frozen=True)
class Delivery:
    """How MLflow's try to deliver an example went: the status of the answer, or what went wrong."""

    status: int | None
    error: str


@dataclass(frozen=True)
class Webhooks:
    """Ours among MLflow's webhooks. Every method raises ServerError, ConfigurationError."""

    mlflow: MlflowRest

    def find(self) -> list[Webhook]:
        """Ours, by its name; there is one or none, unless somebody made another of this name."""
        return [_webhook(item) for item in self.mlflow.list_all("webhooks", "webhooks") if item["name"] == NAME]

    def create(self, url: str, secret: str) -> Webhook:
        """Register it, in place of any there was. Raises InputError where MLflow takes no such address."""
        body = {"name": NAME, "url": url, "secret": secret, "events": EVENTS, "status": "ACTIVE"}
        try:
            created = _webhook(self.mlflow.ask("POST", "webhooks", {}, body)["webhook"])
        except NotFoundError:
            raise InputError(
                f"MLflow delivers nothing to {url}: http needs MLFLOW_WEBHOOK_ALLOWED_SCHEMES=http,https at "
                "the MLflow server, an address that is not public MLFLOW_WEBHOOK_ALLOW_PRIVATE_IPS=true"
            ) from None
        for webhook in self.find():
            if webhook != created:
                self._delete(webhook)
        return created

    def delete(self) -> list[Webhook]:
        """Take it away; returns what was there."""
        found = self.find()
        for webhook in found:
            self._delete(webhook)
        return found

    def test(self, webhook: Webhook) -> Delivery:
        """Let MLflow deliver an example."""
        result = self.mlflow.ask("POST", f"webhooks/{webhook.id}/test", {}, {"event": EVENTS[0]})["result"]
        return Delivery(result.get("response_status"), result.get("error_message", ""))

    def _delete(self, webhook: Webhook) -> None:
        self.mlflow.ask("DELETE", f"webhooks/{webhook.id}", {}, {})


def _webhook(item: Mapping[str, Any]) -> Webhook:
    return Webhook(item["webhook_id"], item["url"], item.get("status") == "ACTIVE")
