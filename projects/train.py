"""Entry point `train`: a dataset version, a bundle, a run with its children, a registered version."""

from __future__ import annotations

from uuid import UUID

from forecastle.access.principals import Permission
from forecastle.monitoring.decision import Replacement
from forecastle.registry.recording import TrainingRequest, train
from forecastle.registry.retraining import replacement_for
from forecastle.store.retraining import find_decision_for_training
from projects import EXPECTATIONS, get_model_type
from projects.entry import Room, arguments, opened, run, say


def main() -> None:
    asked = arguments(__doc__)
    model_type = get_model_type(asked.model_type)
    with opened() as room:
        room.principal.require(Permission.TRAIN)
        suite = EXPECTATIONS / f"{model_type.dataset}.json"
        project, by = room.find_project(asked.project), room.principal.name
        request = TrainingRequest(model_type, project, by, suite, _reason(room))
        version = train(room.database, room.objects, request, say)
    alias = ", ".join(version.aliases) or "none, as the gate rejects it"
    say(f"registered {version.name} version {version.version}, alias {alias}")


def _reason(room: Room) -> Replacement | None:
    """Why what serves has to be replaced, where a retraining decision planned this training for it."""
    if room.settings.job_run is None:
        return None
    with room.database.transaction() as connection:
        decision = find_decision_for_training(connection, UUID(room.settings.job_run))
    return None if decision is None else replacement_for(decision)


if __name__ == "__main__":
    run(main)
