"""Synthetic issue trackers, for demonstrations and tests. Everything here is invented, and called synthetic.

Each project has a level, a scale and a taste for words of its own; words carry a true effect on points, and noise
is of a known size, so that what a model ought to find is known.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from forecastle.records.issues import IssueRecord

SEED = 20_260_101

# A word and its true effect on the logarithm of points.
VERBS = {"rename": -0.9, "fix": -0.4, "add": 0.0, "extend": 0.2, "rewrite": 0.7, "migrate": 0.9}
THINGS = {
    "label": -0.7, "tooltip": -0.6, "button": -0.4, "form": 0.0, "report": 0.1, "importer": 0.3,
    "scheduler": 0.5, "permissions": 0.6, "billing": 0.7, "cluster": 0.9,
}  # fmt: skip
PLACES = ("settings", "dashboard", "onboarding", "search", "profile", "checkout", "admin", "mobile")
FILLER = ("please", "users", "should", "see", "when", "team", "release", "older", "browser", "data", "page", "again")
SCALE = (1.0, 2.0, 3.0, 5.0, 8.0, 13.0)
TYPES = ("Story", "Bug", "Task")


@dataclass(frozen=True)
class Portfolio:
    """How many synthetic projects and issues; `noise` is the standard deviation of log points."""

    projects: int = 3
    issues: int = 200
    noise: float = 0.35
    seed: int = SEED


def generate_issues(portfolio: Portfolio) -> Iterator[IssueRecord]:
    """Undated issues of every project, in order; the same portfolio gives the same issues."""
    random = np.random.default_rng(portfolio.seed)
    for number in range(portfolio.projects):
        key = f"DEMO{number + 1}"
        level = random.normal(math.log(3.5), 0.4)
        for ordinal in range(portfolio.issues):
            yield _issue(random, key, ordinal, level, portfolio.noise)


def _issue(random: np.random.Generator, project: str, ordinal: int, level: float, noise: float) -> IssueRecord:
    verb, thing = random.choice(list(VERBS)), random.choice(list(THINGS))
    place = random.choice(PLACES)
    words = random.choice(FILLER, size=int(random.integers(0, 25)))
    points = math.exp(level + VERBS[verb] + THINGS[thing] + random.normal(0, noise))
    return IssueRecord(
        project_key=project,
        key=f"{project}-{ordinal + 1}",
        ordinal=ordinal,
        time_basis="ordinal",
        title=f"{verb.capitalize()} the {thing} in {place}",
        description=" ".join(words),
        issue_type=str(random.choice(TYPES)),
        story_points=min(SCALE, key=lambda value: abs(math.log(value) - math.log(points))),
    )
