"""Holding MLflow's aliases against the ledger."""

from __future__ import annotations

from datetime import timedelta

import projects
from forecastle.notify.alerts import Kind, raise_alert
from forecastle.registry.loading import loadable, ours
from forecastle.registry.mlflow_rest import MlflowRest
from forecastle.registry.promotions import Promoter
from forecastle.registry.reconciling import Reconciler
from forecastle.store import retention
from forecastle.store.objects import Objects
from jobs.maintenance import now
from jobs.registry import Done, Work

KEPT = timedelta(minutes=2)
"""How long scheduled runs are kept that found nothing to do: there are two a minute."""


def reconcile(work: Work) -> Done:
    """Settle what was cut off, and adopt or put back what was moved in MLflow. Raises ServerError."""
    done = _reconciled(work)
    with work.database.transaction() as connection:
        retention.delete_idle_ticks(connection, work.run.name, now(work.database) - KEPT)
    return done


def _reconciled(work: Work) -> Done:
    if work.settings.mlflow_tracking_uri is None:
        return Done(0, "this worker knows no MLflow: start it with MLFLOW_TRACKING_URI")
    model_types = projects.discover()
    rest = MlflowRest.of(work.settings, retries=0)  # the next tick tries again
    checked = loadable(model_types)
    promoter = Promoter(work.database, Objects.of(work.settings), rest, checked, work.settings.four_eyes)

    def alert(name: str, sentence: str) -> None:
        # The next tick finds the alias where it belongs, and would not say it.
        work.database.retrying(lambda connection: raise_alert(connection, Kind.ALIAS_PUT_BACK, name, sentence))

    done = Reconciler(promoter, rest, ours(model_types), alert).reconcile()
    return Done(done.changes, done.sentence)
