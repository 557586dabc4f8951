"""Training, and judging a model type on data that nobody has seen."""

from __future__ import annotations

import json
import math
import secrets
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import click

import projects
from cli.data import Reading, reading_options, say_left_out
from cli.rooms import MLFLOW, POSTGRESQL, S3, opened, say, serving
from cli.tables import table
from forecastle.access.principals import Permission
from forecastle.errors import InputError
from forecastle.registry.evaluation import ClusterResult, Evaluation
from forecastle.settings import Settings
from forecastle.sources.importing import IssueImport, OnError, run_import
from forecastle.store.database import Database, temporary_database
from forecastle.store.migrate import migrate
from forecastle.store.tenants import get_project, list_projects
from projects.entry import ALL


@click.command()
@click.argument("model_type")
@click.option("--project", default=ALL, show_default=True, help="Id or key of one project, for a model of its own.")
def train(model_type: str, project: str) -> None:
    """Train with `mlflow run`: dataset version, run with its children, registered version, alias staging."""
    found = projects.get_model_type(model_type)
    with opened((POSTGRESQL, S3, MLFLOW)) as room:
        room.principal(Permission.TRAIN)
        if project != ALL:
            with room.database.transaction() as connection:
                get_project(connection, project)
        run_id = run_training(room.settings, found.name, project)
    click.echo(f"run {run_id}")


def run_training(settings: Settings, model_type: str, project: str) -> str:
    """Run the entry point `train` as a child process with these settings; returns the MLflow run's id."""
    from forecastle.registry.tracking import PATIENT_RETRIES, Tracking  # MLflow takes seconds to import

    say(f"training {model_type} with mlflow run")
    tracking = Tracking(settings.require_tracking_uri(), PATIENT_RETRIES)
    return tracking.run_training(projects.ROOT, settings, model_type, project)


@click.command("evaluate")
@click.argument("model_type")
@click.argument("paths", nargs=-1, required=True, type=click.Path(path_type=Path))
@reading_options
@click.option("--without", multiple=True, metavar="FIELD", help="A field that no request has, e.g. estimate_hours.")
@click.option("--on-error", type=click.Choice(["reject", "skip"]), default="reject", show_default=True)
@click.option("--json", "as_json", is_flag=True, help="Print the results as JSON.")
def evaluate_model_type(
    model_type: str,
    paths: tuple[Path, ...],
    reading: Reading,
    without: tuple[str, ...],
    on_error: OnError,
    as_json: bool,
) -> None:
    """Walk MODEL_TYPE through the files in order of time, as the product would have answered.

    Imports into a database of its own, which is dropped afterwards. Training, choosing and answering know only
    what was known at each moment. Every row after a project's first 50 is scored.
    """
    asked = IssueImport(
        paths,
        reading.mapping,
        projects.EXPECTATIONS / "issues.json",
        project_from_file=reading.project_from_file,
        on_error=on_error,
        dates=reading.dates,
    )
    found = evaluate_files(model_type, asked, without)
    click.echo(json.dumps(as_document(found), indent=2) if as_json else as_text(found))


@dataclass(frozen=True)
class EvaluatedFiles:
    """An evaluation, the key of each project by its id, and what of the files it does not rest on.

    `left_out_unknown_when` outcomes have no moment at which they became known, of `left_out_older` there are enough
    later ones, `skipped` rows broke a rule.
    """

    evaluation: Evaluation
    keys: Mapping[str, str]
    coverage_target: float
    time_basis: str
    left_out_unknown_when: int
    left_out_older: int
    skipped: int


def evaluate_files(model_type: str, asked: IssueImport, without: Sequence[str] = ()) -> EvaluatedFiles:
    """Import into a database of its own, walk, and drop the database; no request has the fields `without`."""
    from forecastle.registry.dataset import read_rows
    from forecastle.registry.evaluation import evaluate

    declared = projects.get_model_type(model_type)
    if unknown := set(without) - set(declared.request_type().model_fields):
        fields = ", ".join(declared.request_type().model_fields)
        raise InputError(f"no request has {', '.join(sorted(unknown))}; its fields are: {fields}")
    name = f"forecastle_evaluate_{secrets.token_hex(6)}"
    with serving((POSTGRESQL,)) as settings, temporary_database(settings.require_database_url(), name) as url:
        with Database(url) as database:
            migrate(database)
            imported = run_import(database, asked, on_stage=say)
            say_left_out(imported.broken)
            with database.transaction() as connection:
                keys = {str(project.id): project.key for project in list_projects(connection)}
            read = read_rows(database, declared)
        rows = [replace(row, request=_left(row.request, without)) for row in read.rows]
        with click.progressbar(length=len(rows), label="walking", file=sys.stderr) as bar:
            found = evaluate(declared, rows, lambda done, total: bar.update(done - bar.pos))
    return EvaluatedFiles(
        evaluation=found,
        keys=keys,
        coverage_target=declared.coverage_target,
        time_basis=read.time_basis,
        left_out_unknown_when=read.unknown_when,
        left_out_older=read.left_out_older,
        skipped=imported.skipped,
    )


def _left(request: Mapping[str, Any], without: Sequence[str]) -> dict[str, Any]:
    return {name: value for name, value in request.items() if name not in without}


def as_document(files: EvaluatedFiles) -> dict[str, Any]:
    """The evaluation as JSON; losses are mean absolute errors in the target's unit."""
    found = files.evaluation
    return {
        "model_type": found.model_type,
        "time_basis": files.time_basis,
        "refits": found.refits,
        "coverage_target": files.coverage_target,
        "skipped": files.skipped,
        "left_out_unknown_when": files.left_out_unknown_when,
        "left_out_older": files.left_out_older,
        "without_baseline": found.without_baseline,
        "overall": None if found.overall is None else _without_nan(asdict(found.overall)),
        "macro": _without_nan(_macro(found)),
        "projects": [
            _without_nan({"project": files.keys[one.cluster], **asdict(one), "clearly_worse": one.clearly_worse})
            for one in found.clusters
        ],
        "reliability": [asdict(one) for one in found.reliability],
    }


def _macro(found: Evaluation) -> dict[str, float]:
    names = list(found.clusters[0].baselines) if found.clusters else []

    def of(baseline: str) -> Callable[[ClusterResult], float]:
        return lambda result: result.baselines[baseline]

    return {
        "served": found.macro(lambda result: result.served),
        **{name: found.macro(of(name)) for name in names},
        "coverage": found.macro(lambda result: result.coverage.share),
        "rank_correlation": found.macro(lambda result: result.rank_correlation),
        "estimate_rank_correlation": found.macro(lambda result: result.estimate_rank_correlation),
    }


def _without_nan(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _without_nan(item) for name, item in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value


def as_text(files: EvaluatedFiles) -> str:
    """The evaluation as Markdown tables, and what it rests on."""
    found = files.evaluation
    if found.overall is None:
        return "no project has more than 50 rows: nothing was scored"
    worse = [files.keys[result.cluster] for result in found.clusters if result.clearly_worse]
    verdict = f"clearly worse than the best baseline: {', '.join(worse) or 'nowhere'} (one-sided 95 %, Holm-corrected)"
    basis = "moments" if files.time_basis == "date" else "relative positions, as some rows have no dates"
    left_out = ", ".join(
        (
            f"{files.skipped} rows that broke a rule",
            f"{files.left_out_unknown_when} outcomes known at no moment",
            f"{files.left_out_older} older than the latest that teach",
            f"{found.without_baseline} rows asked before anything was known of their project",
        )
    )
    return "\n".join(
        [
            *_losses(files),
            "",
            *_promises(files),
            "",
            *_reliability(found),
            "",
            f"{found.model_type}, {found.refits} refits; {verdict};",
            f"time: {basis}; left out: {left_out}",
        ]
    )


def _losses(files: EvaluatedFiles) -> list[str]:
    """Mean absolute errors of what was served and of every baseline on the same rows."""
    found = files.evaluation
    assert found.overall is not None
    names = list(found.overall.baselines)
    rows = [
        [
            "all" if result is found.overall else files.keys[result.cluster],
            f"{result.rows:,}",
            f"{result.served:.3f}",
            *(f"{result.baselines[name]:.3f}" for name in names),
            f"{result.against_best.difference:+.1%} [{result.against_best.low:+.1%}, {result.against_best.high:+.1%}]",
            f"{result.p_worse:.3f}",
        ]
        for result in (*found.clusters, found.overall)
    ]
    macro = _macro(found)
    rows.insert(-1, ["macro", "", *(f"{macro[name]:.3f}" for name in ("served", *names)), "", ""])
    return table(["project", "rows", "served", *names, "against best (95 %)", "p worse"], rows)


def _promises(files: EvaluatedFiles) -> list[str]:
    """What was promised and what came true: factor of two, coverage, confidence; and who answered."""
    found = files.evaluation
    assert found.overall is not None
    rows = [
        [
            "all" if result is found.overall else files.keys[result.cluster],
            f"{result.within_2:.3f}",
            f"{result.baselines_within_2[result.best_baseline]:.3f} ({result.best_baseline})",
            f"{result.coverage.share:.3f} [{result.coverage.low:.3f}, {result.coverage.high:.3f}]",
            f"{result.coverage.median_width:.2f}",
            f"{result.confidence:.3f}",
            f"{result.hits:.3f}",
            f"{result.rank_correlation:.3f}",
            f"{result.estimate_rank_correlation:.3f}",
            ", ".join(f"{method} {share:.0%}" for method, share in result.served_by.items()),
        ]
        for result in (*found.clusters, found.overall)
    ]
    macro = _macro(found)
    ranks = [f"{macro[name]:.3f}" for name in ("rank_correlation", "estimate_rank_correlation")]
    rows.insert(-1, ["macro", "", "", f"{macro['coverage']:.3f}", "", "", "", *ranks, ""])
    head = [
        "project",
        "within 2×",
        "best baseline's",
        "coverage (95 %)",
        "width",
        "confidence",
        "hits",
        "rank",
        "estimate's",
        "served by",
    ]
    return table(head, rows)


def _reliability(found: Evaluation) -> list[str]:
    """How sure the answers were, and how often they were right."""
    rows = [[f"{one.confidence:.3f}", f"{one.hits:.3f}", f"{one.rows:,}"] for one in found.reliability]
    return table(["confidence", "hits", "rows"], rows)
