"""Versions in a real MLflow without a training: one fitted bundle, and beside it a file for people."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from mlflow import MlflowClient
from versions import make_version

from forecastle.registry.bundle import digest_of_files
from forecastle.registry.review import VERDICT_TAG


@dataclass(frozen=True)
class Logged:
    """A run with the bundle, and its logged model."""

    run_id: str
    model_id: str


@dataclass(frozen=True)
class Registrar:
    """Logs a bundle as often as wanted and registers versions of it; `tags` are those that a training would set."""

    client: MlflowClient
    folder: Path
    tags: Mapping[str, str]

    @classmethod
    def at(cls, uri: str, folder: Path) -> Registrar:
        """Fits a bundle of story points and keeps its files in this folder."""
        made = make_version(1, 60)
        for name, content in made.files.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(content)
        digest = digest_of_files({name.removeprefix("bundle/"): content for name, content in made.files.items()})
        told = {name: value for name, value in made.provenance.items() if name != VERDICT_TAG}
        return cls(MlflowClient(uri, uri), folder, {**told, "trained_by": "dana", "bundle.digest": digest})

    def log(self, experiment: str, for_people: str = "for people") -> Logged:
        run = self.client.create_run(experiment).info.run_id
        self.client.log_artifacts(run, str(self.folder / "bundle"), "bundle")
        model = self.client.create_logged_model(experiment, source_run_id=run).model_id
        (self.folder / "MLmodel").write_text(for_people)
        self.client.log_model_artifacts(model, str(self.folder))
        return Logged(run, model)

    def register(self, name: str, logged: Logged, verdict: str | None = "PROMOTE") -> int:
        """One more version of this registered model, and its number; no gate met it where there is no verdict."""
        tags = {**self.tags, **({VERDICT_TAG: verdict} if verdict else {})}
        source = f"models:/{logged.model_id}"
        made = self.client.create_model_version(name, source, logged.run_id, tags=tags, model_id=logged.model_id)
        return int(made.version)
