"""What MLflow does wrong, in our words."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

import projects
from forecastle.errors import ServerError
from forecastle.registry.tracking import Tracking
from forecastle.settings import Settings


def test_a_training_without_mlflow_fails_with_a_sentence_of_ours(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path, mlflow_tracking_uri="http://127.0.0.1:9")
    tracking = Tracking(settings.require_tracking_uri(), retries=0)
    before = dict(os.environ)
    with pytest.raises(ServerError, match="MLflow refused or did not answer"):
        tracking.run_training(projects.ROOT, settings, "delivery.story_points", "all")
    assert dict(os.environ) == before
