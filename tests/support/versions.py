"""Versions without MLflow: fitted here, and promoted by what stands in for its aliases."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import projects
from forecastle.errors import NotFoundError
from forecastle.generator.dated import DatedPortfolio, generate_dated_issues
from forecastle.generator.issues import Portfolio, generate_issues
from forecastle.records.issues import IssueRecord
from forecastle.registry.aliases import VersionFiles
from forecastle.registry.bundle import digest_of_features
from forecastle.registry.dataset import digest_of_rows, rows_of_issues
from forecastle.registry.declaration import ModelType
from forecastle.registry.examples import extract_all
from forecastle.registry.mlflow_rest import MlflowRest
from forecastle.registry.promotions import LEDGER_TAG
from forecastle.registry.training import DatasetInfo, fit
from forecastle.registry.walking import Budget

MODEL_TYPE = projects.get_model_type("delivery.story_points")
EFFORT = projects.get_model_type("delivery.effort")


@dataclass
class Aliases:
    """Stands in for MLflow: hands out the files of versions and remembers aliases."""

    versions: Mapping[int, VersionFiles]
    set_to: dict[tuple[str, str], int] = field(default_factory=dict)
    tags: dict[tuple[str, int, str], str] = field(default_factory=dict)

    def version_files(self, name: str, version: int) -> VersionFiles:
        if version not in self.versions:
            raise NotFoundError("no such version")
        return self.versions[version]

    def find_alias(self, name: str, alias: str) -> int | None:
        return self.set_to.get((name, alias))

    def set_tag(self, name: str, version: int, key: str, value: str) -> None:
        self.tags[name, version, key] = value

    def set_alias(self, name: str, alias: str, version: int) -> None:
        self.set_to[name, alias] = version

    def remove_alias(self, name: str, alias: str) -> None:
        self.set_to.pop((name, alias), None)


def make_version(number: int, issues: int, model_type: ModelType = MODEL_TYPE) -> VersionFiles:
    """Fitted on as many synthetic issues of each project."""
    rows = rows_of_issues(model_type, issues_of(model_type, issues))
    digest = digest_of_rows(rows)
    dataset = DatasetInfo(digest, rows.time_basis)
    fitted = fit(model_type, extract_all(model_type, rows.rows), dataset, budget=Budget(trials=1))
    files = {f"bundle/{name}": content for name, content in fitted.bundle.files().items()}
    provenance = {
        "run_id": f"run-{number}",
        "data.digest": digest,
        "git.commit": hashlib.sha1(str(number).encode()).hexdigest(),
        "feature.digest": digest_of_features(model_type),
        "trained_by": "tester",
        "gate.verdict": "PROMOTE",
    }
    return VersionFiles(number, files, provenance)


def issues_of(model_type: ModelType, issues: int) -> list[IssueRecord]:
    """Synthetic issues that have what the model type learns: points without dates, or hours with dates."""
    if model_type.target == "story_points":
        return list(generate_issues(Portfolio(issues=issues)))
    found = generate_dated_issues(DatedPortfolio(issues=issues))
    return [replace(issue, project_key=issue.project_key.replace("DEMO", "DONE")) for issue in found]


def forget_ledgers(rest: MlflowRest) -> None:
    """Blank what versions remember of ledgers: tests share an MLflow, and each has a ledger of its own."""
    for version in rest.list_versions():
        if version.tags.get(LEDGER_TAG):
            rest.set_tag(version.name, version.version, LEDGER_TAG, "")
