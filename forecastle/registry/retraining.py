"""Retraining: collects what a decision rests on, decides, writes the decision down and plans the training."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from uuid import UUID

from forecastle.monitoring import signals as measured
from forecastle.monitoring.decision import Replacement
from forecastle.monitoring.retraining import LastTraining, RetrainingDecision, Situation, Verdict, decide_retraining
from forecastle.monitoring.verdict import Verdict as PromotionVerdict
from forecastle.registry.bundle import digest_of_features
from forecastle.registry.decisions import ALL, Subject, find_subject
from forecastle.registry.declaration import ModelType
from forecastle.registry.review import VERDICT_TAG
from forecastle.registry.signals import Serving, collect_signals
from forecastle.store import job_runs
from forecastle.store import promotions as ledger
from forecastle.store import retraining as store
from forecastle.store.database import Connection, Database
from forecastle.store.identifiers import new_id
from forecastle.store.retraining import StoredDecision
from forecastle.store.samples import AnsweringVersion

"""The tag of a version that says what its gate decided."""
BLOCK = "promotion.block"
"""A tag that people set on a version or a registered model, with a reason, so that no policy promotes it."""


@dataclass(frozen=True)
class Asked:
    """Who asks for a decision; `run` is the run of the job that decides, where one does."""

    by: str
    run: UUID | None = None
    due_key: str | None = None
    """The tick for which it decides: a training is planned for it once."""
    moment: datetime | None = None
    """When it is decided; now, where nothing is said."""


def decide(database: Database, model_types: Mapping[str, ModelType], name: str, asked: Asked) -> StoredDecision:
    """Decide about a registered model, write the decision down, and plan the training where it says RETRAIN.

    All in one transaction: the same run decides once, two that decide at once plan one training. Raises NotFoundError.
    """
    with database.transaction() as connection:
        subject = find_subject(connection, model_types, name)
        store.lock_model(connection, subject.name)
        if asked.run is not None:
            earlier = store.find_decision_of_run(connection, asked.run, subject.name)
            if earlier is not None:
                return earlier
        found = _as_row(connection, subject, asked, plan=True)
        store.insert_decision(connection, found)
        return found


def consider(database: Database, model_types: Mapping[str, ModelType], name: str, asked: Asked) -> StoredDecision:
    """What `decide` would say; nothing is written and nothing planned. Raises NotFoundError."""
    with database.transaction() as connection:
        return _as_row(connection, find_subject(connection, model_types, name), asked, plan=False)


def replacement_for(decision: StoredDecision) -> Replacement | None:
    """Why what serves has to be replaced, by the signals that had this training planned; None where none says so."""
    fired = {signal["name"] for signal in decision.signals if signal["fired"]}
    return next((reason for reason, names in _REPLACEMENTS.items() if fired & names), None)


_REPLACEMENTS = {
    Replacement.FEATURE_CODE: {measured.FEATURE_CODE},
    Replacement.AGE: {measured.AGE},
    Replacement.DRIFT: {f"{what} {by}" for what in (measured.INPUT, measured.PREDICTION) for by in ("PSI", "distance")},
}


def refusal_to_promote(version_tags: Mapping[str, str], model_tags: Mapping[str, str]) -> str | None:
    """Why no policy may promote a version with these tags, of a registered model with those; None where one may."""
    verdict = version_tags.get(VERDICT_TAG)
    if verdict != PromotionVerdict.PROMOTE:
        return f"its gate says {verdict or 'nothing'}"
    blocked = BLOCK in version_tags or BLOCK in model_tags
    return f"somebody blocks it by the tag {BLOCK}" if blocked else None


def _as_row(connection: Connection, subject: Subject, asked: Asked, plan: bool) -> StoredDecision:
    serving = _find_serving(connection, subject)
    decision = decide_retraining(_situation(connection, subject, serving, asked.moment), subject.model_type.retraining)
    training = _plan(connection, subject, asked) if plan and decision.verdict is Verdict.RETRAIN else None
    return _stored(subject, serving, decision, asked, training)


def _plan(connection: Connection, subject: Subject, asked: Asked) -> UUID | None:
    arguments = {"model_type": subject.model_type.name, "project": str(subject.project or ALL)}
    due_key = f"{asked.due_key}/{subject.name}" if asked.due_key else None
    run = job_runs.plan(connection, store.TRAINING, arguments, asked.by, due_key)
    return run.id if run else None


def _stored(
    subject: Subject, serving: Serving | None, decision: RetrainingDecision, asked: Asked, training: UUID | None
) -> StoredDecision:
    return StoredDecision(
        id=new_id(),
        model_name=subject.name,
        decided_at=decision.situation.moment,
        decided_by=asked.by,
        verdict=decision.verdict.value,
        reasons=list(decision.reasons),
        flip=decision.flip,
        signals=[signal.as_json() for signal in decision.situation.signals],
        basis=decision.basis,
        policy=asdict(decision.policy),
        serves=serving.version.version if serving else None,
        feature_digest=digest_of_features(subject.model_type),
        decision_run=asked.run,
        training_run=training,
    )


def _find_serving(connection: Connection, subject: Subject) -> Serving | None:
    steps = ledger.confirmed_steps(connection, subject.name)
    if not steps:
        return None
    serves = steps[-1].promotion
    return Serving(
        version=AnsweringVersion(subject.model_type.name, subject.name, serves.to_version),
        promoted_at=next(s.recorded_at for s in steps if s.promotion.to_version == serves.to_version),
        provenance=serves.provenance,
        data=store.data_of(connection, serves),
    )


def _situation(connection: Connection, subject: Subject, serving: Serving | None, moment: datetime | None) -> Situation:
    moment = moment or job_runs.now(connection)
    running = store.open_training(connection, subject.model_type.name, subject.aliases)
    return Situation(
        moment=moment,
        rows=store.count_rows(connection, subject.learning),
        least_rows=subject.model_type.least_rows,
        running=str(running.id) if running else None,
        last=_last_training(connection, subject, serving),
        signals=tuple(collect_signals(connection, subject, serving, moment)),
    )


def _last_training(connection: Connection, subject: Subject, serving: Serving | None) -> LastTraining | None:
    """The newest training, by a job, or by hand where data were saved after the last job."""
    run = store.last_training(connection, subject.model_type.name, subject.aliases)
    data = store.newest_data(connection, subject.name)
    serves = serving is not None and data is not None and data.digest == serving.provenance.get("data.digest")
    rows = data.rows if data else None
    if run is not None and run.ended_at and (data is None or data.created_at <= run.ended_at):
        begun, ended, succeeded = run.started_at or run.planned_at, run.ended_at, run.outcome == "succeeded"
        decision = store.find_decision_for_training(connection, run.id)
        other_code = decision is not None and decision.feature_digest != digest_of_features(subject.model_type)
    elif data is not None:
        begun = ended = data.created_at
        succeeded, other_code = None, False
    else:
        return None
    periods = store.periods_changed_since(connection, subject.model_type.name, begun)
    return LastTraining(
        ended_at=ended,
        succeeded=succeeded,
        serves=serves and succeeded is not False,
        seconds=(ended - begun).total_seconds() if succeeded is not None else None,
        rows=rows,
        new_rows=store.count_new_rows(connection, subject.learning, begun),
        changed="feature code" if other_code else "periods to be unlearned" if periods else None,
    )
