"""Versions of story points without MLflow: fitted here, and promoted by what stands in for its aliases."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field

import projects
from forecastle.errors import NotFoundError
from forecastle.generator.issues import Portfolio, generate_issues
from forecastle.registry.bundle import digest_of_features
from forecastle.registry.dataset import digest_of_rows, rows_of_issues
from forecastle.registry.declaration import resolve
from forecastle.registry.examples import make_examples
from forecastle.registry.promotions import VersionFiles
from forecastle.registry.training import DatasetInfo, fit

MODEL_TYPE = projects.get_model_type("delivery.story_points")


@dataclass
class Aliases:
    """Stands in for MLflow: hands out the files of versions and remembers aliases."""

    versions: Mapping[int, VersionFiles]
    set_to: dict[str, int] = field(default_factory=dict)

    def version_files(self, name: str, version: int) -> VersionFiles:
        if version not in self.versions:
            raise NotFoundError("no such version")
        return self.versions[version]

    def set_alias(self, name: str, alias: str, version: int) -> None:
        self.set_to[alias] = version

    def remove_alias(self, name: str, alias: str) -> None:
        self.set_to.pop(alias, None)


def make_version(number: int, issues: int) -> VersionFiles:
    """Fitted on as many synthetic issues."""
    rows = rows_of_issues(MODEL_TYPE, generate_issues(Portfolio(issues=issues)))
    digest = digest_of_rows(rows)
    examples = make_examples(rows.rows, resolve(MODEL_TYPE.scorer))
    bundle = fit(MODEL_TYPE, examples, DatasetInfo(digest, rows.time_basis)).bundle
    files = {f"bundle/{name}": content for name, content in bundle.files().items()}
    provenance = {
        "run_id": f"run-{number}",
        "dataset.digest": digest,
        "git.commit": hashlib.sha1(str(number).encode()).hexdigest(),
        "feature.digest": digest_of_features(MODEL_TYPE),
        "trained_by": "tester",
    }
    return VersionFiles(number, files, provenance)
