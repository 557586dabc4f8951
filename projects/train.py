"""Entry point `train`: a dataset version, a bundle, a run with its children, a registered version."""

from __future__ import annotations

from forecastle.access.principals import Permission
from forecastle.registry.recording import TrainingRequest, train
from projects import EXPECTATIONS, get_model_type
from projects.entry import arguments, opened, run, say


def main() -> None:
    asked = arguments(__doc__)
    model_type = get_model_type(asked.model_type)
    with opened() as room:
        room.principal.require(Permission.TRAIN)
        suite = EXPECTATIONS / f"{model_type.dataset}.json"
        request = TrainingRequest(model_type, room.find_project(asked.project), room.principal.name, suite)
        version = train(room.database, room.objects, request, say)
    alias = ", ".join(version.aliases) or "none, as the gate rejects it"
    say(f"registered {version.name} version {version.version}, alias {alias}")


if __name__ == "__main__":
    run(main)
