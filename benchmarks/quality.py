"""Prediction quality on real public data, beside baselines; writes docs/quality.md.

    make bench

The data are not part of this repository: FORECASTLE_PUBLIC_DATA names their folder.
"""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

from cli.training import as_text, evaluate_files
from forecastle.sources.importing import IssueImport
from forecastle.sources.presets import PRESETS
from projects import EXPECTATIONS, ROOT

DATA = Path(os.environ.get("FORECASTLE_PUBLIC_DATA") or ROOT.parent / "shared" / "data")
REPORT = ROOT / "docs" / "quality.md"

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
- **rank**: Spearman correlation of what was served with the truth, within the project.
"""

STORY_POINTS = """## delivery.story_points

Ten open-source projects (Choetkiertikul et al., *A deep learning model for estimating story points*), in order of
creation but without dates. So across projects, time is the relative position in the project, and an outcome counts as
known at the project's next row: both are assumptions. The structure of the model was chosen while looking at these ten
projects; expect a little less on others.
"""


def main() -> int:
    files = sorted((DATA / "story_points").glob("*.csv.gz"))
    if not files:
        sys.stderr.write("no public data: set FORECASTLE_PUBLIC_DATA to their folder\n")
        return 1
    asked = IssueImport(files, PRESETS["deepse"], EXPECTATIONS / "issues.json", project_from_file=True)
    found = as_text(evaluate_files("delivery.story_points", asked))
    REPORT.write_text("\n".join([HEAD, STORY_POINTS, _measured(), "", found, ""]))
    sys.stderr.write(f"written: {REPORT.relative_to(ROOT)}\n")
    return 0


def _measured() -> str:
    commit = _git("rev-parse", "--short", "HEAD") + (" with changes" if _git("status", "--porcelain", "-uno") else "")
    return (
        f"Measured on {datetime.now(UTC):%Y-%m-%d} at commit {commit}:\n\n"
        "    forecastle evaluate delivery.story_points --preset deepse --project-from-file story_points/*.csv.gz"
    )


def _git(*words: str) -> str:
    return subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()


if __name__ == "__main__":
    sys.exit(main())
