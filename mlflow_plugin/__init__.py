"""MLflow's basic-auth with protected aliases: `mlflow server --app-name forecastle`.

Only reviewers move `production` and `previous`, and only onto versions whose gate says PROMOTE.
"""

from __future__ import annotations

import logging
from typing import Any

import mlflow

from forecastle.errors import ConfigurationError
from forecastle.settings import Settings

MLFLOW_VERSION = "3.17.2"
log = logging.getLogger(__name__)


def require_version(found: str) -> None:
    """Raises ConfigurationError for another version of MLflow: the guard stands on what its releases may change."""
    if found != MLFLOW_VERSION:
        raise ConfigurationError(
            f"the app forecastle is made for MLflow {MLFLOW_VERSION}, and this is {found}: install "
            f"mlflow=={MLFLOW_VERSION}, or start the server with --app-name basic-auth and without the guard"
        )


require_version(mlflow.__version__)  # at the import, which `mlflow server` does before it starts any worker


def create_app() -> Any:
    """MLflow's application with basic-auth and the guard of aliases behind it; reads the environment."""
    from mlflow.server import app, auth  # only now: importing it reads the configuration of basic-auth

    from mlflow_plugin.guard import Guard

    settings = Settings.from_env()
    if not auth.auth_config.auth_cache_ttl_seconds:
        log.warning("every request checks its password anew, for 0.3 s: set auth_cache_ttl_seconds as in deploy/")
    application = auth.create_app(app)
    app.before_request(Guard(settings.mlflow_tracking_username, settings.reviewers or ()).check)
    return application
