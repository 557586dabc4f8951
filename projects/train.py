"""Entry point `train`: a dataset version, a bundle, a run with its children, a registered version."""

from __future__ import annotations

from forecastle.access.principals import Permission
from forecastle.registry.recording import TrainingRequest, train
from projects import get_model_type
from projects.entry import arguments, opened, run, say


def main() -> None:
    asked = arguments(__doc__)
    model_type = get_model_type(asked.model_type)
    with opened() as room:
        room.principal.require(Permission.TRAIN)
        request = TrainingRequest(model_type, room.find_project(asked.project), room.principal.name)
        version = train(room.database, room.objects, request, say)
    say(f"registered {version.name} version {version.version}, alias staging")


if __name__ == "__main__":
    run(main)
