"""Deciding about trainings on a schedule, and letting what a decision had trained serve where the policy says so."""

from __future__ import annotations

from collections import Counter

import projects
from forecastle.access.principals import Principal, Role
from forecastle.errors import ForecastleError, NotFoundError
from forecastle.registry.loading import loadable, type_of
from forecastle.registry.mlflow_rest import MlflowRest, Version
from forecastle.registry.promotions import Promoter
from forecastle.registry.retraining import Asked, decide, refusal_to_promote
from forecastle.store import promotions as ledger
from forecastle.store.objects import Objects
from forecastle.store.retraining import find_decision_for_training
from jobs.registry import Done, Work

POLICY = Principal("auto_promote", Role.REVIEWER)
"""In whose name the policy of a model type promotes."""


def decide_one(work: Work) -> Done:
    """Decide about one registered model; a run that begins again decides nothing anew."""
    asked = Asked(work.run.planned_by, work.run.id)
    found = decide(work.database, projects.discover(), work.run.arguments["model"], asked)
    return Done(1, f"{found.verdict}: {found.flip}")


def decide_delivery(work: Work) -> Done:
    return decide_family(work, "delivery")


def decide_reliability(work: Work) -> Done:
    return decide_family(work, "reliability")


def decide_family(work: Work, family: str) -> Done:
    """Decide about every registered model of a family: its model types', and those projects have of their own.

    A run that begins again decides about none twice.
    """
    model_types = projects.discover()
    with work.database.transaction() as connection:
        serving = ledger.serving(connection)
    own = (name for name in serving if type_of(model_types, name) is not None)
    names = sorted({name for name in (*model_types, *own) if name.startswith(f"{family}.")})
    asked = Asked(work.run.planned_by, work.run.id, work.run.due_key)
    verdicts = Counter(decide(work.database, model_types, name, asked).verdict for name in names)
    said = ", ".join(f"{count} {verdict}" for verdict, count in sorted(verdicts.items()))
    return Done(len(names), f"decisions of {family}: {said or 'there is no model type'}; `forecastle retrain why NAME`")


def promote_trained(work: Work, registry: MlflowRest, mlflow_run: str) -> str:
    """Let the version of this training serve where a decision planned it and the policy promotes; says what was done.

    What stands in the way is a sentence, not a failure: the training itself succeeded, and a reviewer decides.
    """
    with work.database.transaction() as connection:
        decision = find_decision_for_training(connection, work.run.id)
    model_type = projects.get_model_type(work.run.arguments["model_type"])
    if decision is None or not model_type.retraining.auto_promote:
        return ""
    try:
        version = _version_of(registry, decision.model_name, mlflow_run)
        reason = f"retraining decision {decision.id}: {'; '.join(decision.reasons)}"
        refusal = None if _serves(work, version) else _promote(work, registry, version, reason)
    except ForecastleError as error:
        refusal = str(error)
    return "; promoted by its policy" if refusal is None else f"; not promoted by its policy: {refusal}"


def _serves(work: Work, version: Version) -> bool:
    """Whether an earlier attempt had promoted it already."""
    with work.database.transaction() as connection:
        step = ledger.serving(connection, version.name).get(version.name)
    return step is not None and step.promotion.to_version == version.version


def _version_of(registry: MlflowRest, name: str, mlflow_run: str) -> Version:
    for version in registry.list_versions(name):
        if version.run_id == mlflow_run:
            return version
    raise NotFoundError(f"run {mlflow_run} registered no version of {name}")


def _promote(work: Work, registry: MlflowRest, version: Version, reason: str) -> str | None:
    """Promote it, or say why no policy may. Raises PreconditionFailedError where production moved since its gate."""
    check = loadable(projects.discover())
    promoter = Promoter(work.database, Objects.of(work.settings), registry, check, work.settings.four_eyes)
    tags = promoter.with_verdict(version.run_id, version.tags)
    refusal = refusal_to_promote(tags, registry.model_tags(version.name))
    if refusal is None:
        head = promoter.head_at_gate(version.run_id)
        promoter.promote(version.name, version.version, POLICY, reason, head=head)
    return refusal
