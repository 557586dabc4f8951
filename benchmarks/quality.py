"""Prediction quality on real public data, beside baselines; writes docs/quality.md.

    make bench

The data are not part of this repository: FORECASTLE_PUBLIC_DATA names their folder.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from cli.training import as_text, evaluate_files
from forecastle.sources.importing import IssueImport
from forecastle.sources.presets import PRESETS
from projects import EXPECTATIONS, ROOT

DATA = Path(os.environ.get("FORECASTLE_PUBLIC_DATA") or ROOT.parent / "shared" / "data")
REPORT = ROOT / "docs" / "quality.md"
KEPT = "## Retraining decisions"
"""What stands from here on is measured by `benchmarks/retraining.py`, and kept."""

HEAD = """# Prediction quality

Measured on real public data that is not part of this repository, walking forward in time: at every refit the training
that the product runs makes a version from what was known by then, and that version answers every row until the next
refit, through the code that serves. Every row after a project's first 50 is scored. `served` is what the product would
have answered; the baselines stand on identical rows. Losses are mean absolute errors.

- **against best**: the relative difference of the served loss to that of the best baseline of that project (chosen with
  hindsight), with one-sided 95 % bounds from a t interval for a ratio (Fieller) over ten contiguous blocks of time.
- **p worse**: how likely a difference at least this bad would be if what was served were not worse, corrected for the
  number of projects (Holm).
- **coverage**: share of outcomes inside the interval, with its exact 95 % interval; the target is 80 %.
- **width**: the median width of the intervals.
- **rank**: Spearman correlation of what was served with the truth, within the project; **estimate's**: that of the
  estimate behind the answer, which tells issues apart that get the same value of a scale.
- **within 2×**: share of rows answered within a factor of two of the truth, beside that of the best baseline.
- **confidence** and **hits**: how sure the answers were, and how often that came true which they were sure of; the
  table of ten bins below each part is the reliability of the one for the other.
- **macro** is the mean over projects, **all** is over all rows.
"""

STORY_POINTS = """\
Ten open-source projects (Choetkiertikul et al., *A deep learning model for estimating story points*), in order of
creation but without dates. So across projects, time is the relative position in the project, and an outcome counts as
known at the project's next row: both are assumptions. `hits` is the share of issues that got the recommended points.
The structure of the model was chosen while looking at these ten projects; expect a little less on others."""

SIP = """\
One company's tasks from 2004 to 2012 (Jones and Cullum, arXiv 1901.01621). The question is asked when the task was
estimated. `hits` and *within 2×* are the share of tasks answered within a factor of two of the hours they took."""

CESAW = """\
Plan items of 34 projects of teams that plan and log their own time in minutes (Jones and Nichols, arXiv 2106.03679),
without any text. The question is asked when the person starts, which is an assumption: the plan itself is older."""


@dataclass(frozen=True)
class Case:
    """One data set and what is asked of it; `command` is what anybody can type to repeat it."""

    title: str
    about: str
    model_type: str
    files: str
    preset: str
    options: tuple[str, ...] = ()
    dates: str | None = None
    without: tuple[str, ...] = ()

    @property
    def command(self) -> str:
        dates = ("--dates", self.dates) if self.dates else ()
        without = tuple(word for field in self.without for word in ("--without", field))
        words = ("forecastle evaluate", self.model_type, "--preset", self.preset, *self.options, *dates, *without)
        return " ".join((*words, self.files))

    def measured(self) -> str:
        """The tables of an evaluation."""
        asked = IssueImport(
            sorted(DATA.glob(self.files)),
            PRESETS[self.preset],
            EXPECTATIONS / "issues.json",
            project_from_file="--project-from-file" in self.options,
            on_error="skip" if "--on-error skip" in self.options else "reject",
            dates=DATA / self.dates if self.dates else None,
        )
        return as_text(evaluate_files(self.model_type, asked, self.without))


AT_ONCE = 2
EFFORT = "delivery.effort"
ESTIMATE = ("estimate_hours",)
_SIP: Any = {
    "model_type": EFFORT,
    "files": "effort_sip/tasks.csv.gz",
    "preset": "sip",
    "dates": "effort_sip/dates.csv.gz",
}
_CESAW: Any = {
    "model_type": EFFORT, "files": "effort_cesaw/tasks.csv.gz", "preset": "cesaw", "options": ("--on-error skip",),
}  # fmt: skip

CASES = (
    Case(
        "delivery.story_points", STORY_POINTS, "delivery.story_points", "story_points/*.csv.gz", "deepse",
        ("--project-from-file",),
    ),
    Case("delivery.effort: SiP, with the human estimate", SIP, **_SIP),
    Case("delivery.effort: SiP, without the estimate", "The same tasks, asked without.", **_SIP, without=ESTIMATE),
    Case("delivery.effort: CESAW, with the human plan", CESAW, **_CESAW),
    Case("delivery.effort: CESAW, without the plan", "The same items, asked without.", **_CESAW, without=ESTIMATE),
)  # fmt: skip


@click.command()
@click.option("--case", "number", type=click.IntRange(0, len(CASES) - 1), help="Print one case only.")
def main(number: int | None) -> None:
    """Measure all cases, two at a time, and write the page."""
    if number is not None:
        click.echo(CASES[number].measured())
        return
    if not all(list(DATA.glob(case.files)) for case in CASES):
        raise click.ClickException("no public data: set FORECASTLE_PUBLIC_DATA to their folder")
    parts = [HEAD, _measured_at()]
    with ThreadPoolExecutor(AT_ONCE) as pool:
        # Each case is a process with servers of its own; the long ones begin first.
        found = {case: pool.submit(_run, CASES.index(case)) for case in reversed(CASES)}
    failed = [case for case in CASES if found[case].exception()]
    for case in CASES:
        tables = "This case failed; nothing was measured.\n" if case in failed else found[case].result()
        parts += [f"## {case.title}\n", f"{case.about}\n", f"    {case.command}\n", tables]
    _, heading, section = REPORT.read_text().partition(KEPT) if REPORT.exists() else ("", "", "")
    REPORT.write_text("\n".join([*parts, heading + section]))
    click.echo(f"written: {REPORT.relative_to(ROOT)}", err=True)
    if failed:
        raise click.ClickException(f"failed: {', '.join(case.title for case in failed)}")


def _run(number: int) -> str:
    with tempfile.TemporaryDirectory() as home:
        command = [sys.executable, "-m", "benchmarks.quality", "--case", str(number)]
        environment = {**os.environ, "FORECASTLE_HOME": home}
        return subprocess.run(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True, check=True).stdout


def _measured_at() -> str:
    commit = _git("rev-parse", "--short", "HEAD") + (" with changes" if _git("status", "--porcelain", "-uno") else "")
    return f"Measured on {datetime.now(UTC):%Y-%m-%d} at commit {commit} by `make bench`.\n"


def _git(*words: str) -> str:
    return subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()


if __name__ == "__main__":
    main()
