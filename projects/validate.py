"""Entry point `validate`: hold what is stored against the expectation suite; a broken row fails the run."""

from __future__ import annotations

from dataclasses import asdict

import mlflow

from forecastle.errors import InputError
from forecastle.sources.issues import frame_of_records
from forecastle.store.issues import read_issues
from forecastle.store.tenants import list_projects
from forecastle.validation.run import ValidationReport, validate
from forecastle.validation.suite import load_suite
from projects import EXPECTATIONS, get_model_type
from projects.entry import arguments, opened, run, say

SHOWN = 20


def main() -> None:
    asked = arguments(__doc__)
    model_type = get_model_type(asked.model_type)
    with opened() as room:
        project = room.find_project(asked.project)
        with room.database.transaction() as connection:
            records = list(read_issues(connection, project))
            names = {str(project.id): project.key for project in list_projects(connection)}
        keys = [f"{names[record.project_key]}/{record.key}" for record in records]
        report = validate(frame_of_records(records), load_suite(EXPECTATIONS / f"{model_type.dataset}.json"))
        with mlflow.start_run():
            _record(report, keys)
    say(f"{report.rows:,} rows keep all {report.expectations} expectations of {report.suite}")


def _record(report: ValidationReport, keys: list[str]) -> None:
    mlflow.log_metrics({"validation.rows": report.rows, "validation.violations": len(report.violations)})
    mlflow.log_dict(asdict(report), "validation.json")
    mlflow.set_tag("validation.passed", report.passed)
    if not report.passed:
        shown = [f"{keys[v.row]}: {v.column}: {v.rule}" for v in report.violations[:SHOWN]]
        raise InputError("\n".join([f"{len(report.violations)} violations of {report.suite}", *shown]))


if __name__ == "__main__":
    run(main)
