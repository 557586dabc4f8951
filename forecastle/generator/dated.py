"""Synthetic issues with dates and hours. Everything here is invented, and called synthetic.

The logarithm of an issue's hours is the sum of what is known: a level of its project, the pace of its assignee, the
effects of the words in its title, and noise. A part of the issues carries an estimate, which is off by a noise
of its own.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np

from forecastle.generator.issues import FILLER, PLACES, SEED, THINGS, TYPES, VERBS
from forecastle.records.issues import IssueRecord

BLOCK = 10_000  # issues drawn at once
PRIORITIES = ("Low", "Medium", "High")
SECONDS_A_DAY = 86_400.0

Numbers = np.ndarray[Any, np.dtype[np.float64]]


@dataclass(frozen=True)
class DatedPortfolio:
    """How many synthetic projects and issues, spread over `days` from `start` on.

    Standard deviations are those of log hours: `project_effect`, `person_effect` (each project has `people` of
    its own), `noise`, and `estimate_noise` of the estimates, which `estimated` of the issues have. `done` of the
    issues are completed and have hours; the median issue of the median project takes `median_hours`.
    """

    projects: int = 3
    issues: int = 200
    people: int = 8
    median_hours: float = 4.0
    project_effect: float = 0.5
    person_effect: float = 0.3
    noise: float = 0.5
    estimated: float = 0.7
    estimate_noise: float = 0.4
    done: float = 0.95
    start: datetime = datetime(2023, 1, 1, tzinfo=UTC)
    days: float = 1_000.0
    seed: int = SEED
    change_after: float = 1.0
    """The share of the days after which the world changes."""
    trend: float = 0.0
    """By how much log hours, and the estimates with them, have risen at the end of the days."""
    turned: bool = False
    """Whether words and people then have each other's effects: the issues look as before, and mean something else."""

    @property
    def change_at(self) -> float:
        """The moment of the change, in seconds since 1970."""
        return self.start.timestamp() + self.change_after * self.days * SECONDS_A_DAY


@dataclass(frozen=True, eq=False)
class Project:
    """What is true of a synthetic project: its level in log hours, and the pace of each of its people."""

    key: str
    level: float
    paces: dict[str, float]


def project_of(portfolio: DatedPortfolio, number: int) -> Project:
    """The truth about the project with this number, from 0 on."""
    random = np.random.default_rng((portfolio.seed, number))
    level = math.log(portfolio.median_hours) + random.normal(0, portfolio.project_effect)
    paces = random.normal(0, portfolio.person_effect, portfolio.people)
    key = f"DEMO{number + 1}"
    return Project(key, level, {f"{key} person {index + 1}": float(pace) for index, pace in enumerate(paces)})


def generate_dated_issues(portfolio: DatedPortfolio) -> Iterator[IssueRecord]:
    """Dated issues of every project, in the order of their creation; the same portfolio gives the same issues.

    They are made block by block, so that a million of them need no more memory than one block.
    """
    for number in range(portfolio.projects):
        project = project_of(portfolio, number)
        random = np.random.default_rng((portfolio.seed, number, 1))
        created = portfolio.start.timestamp()
        for first in range(0, portfolio.issues, BLOCK):
            count = min(BLOCK, portfolio.issues - first)
            gaps = random.exponential(portfolio.days * SECONDS_A_DAY / portfolio.issues, count)
            moments = created + np.cumsum(gaps)
            created = float(moments[-1])
            yield from _block(random, portfolio, project, first, moments)


def _block(
    random: np.random.Generator, portfolio: DatedPortfolio, project: Project, first: int, created: Numbers
) -> Iterator[IssueRecord]:
    count = len(created)
    verbs, things, people = (random.integers(0, len(of), count) for of in (VERBS, THINGS, project.paces))
    effects = [np.array(list(of.values())) for of in (VERBS, THINGS, project.paces)]
    log_hours = project.level + random.normal(0, portfolio.noise, count)
    changed = created >= portfolio.change_at
    for effect, chosen in zip(effects, (verbs, things, people), strict=True):
        log_hours += np.where(changed & portfolio.turned, effect[::-1][chosen], effect[chosen])
    log_hours += portfolio.trend * _since_the_change(portfolio, created)
    estimates = _chosen(random, portfolio.estimated, log_hours + random.normal(0, portfolio.estimate_noise, count))
    hours = _chosen(random, portfolio.done, log_hours)
    # Work waits for a day or so, and fills a part of the days that it takes.
    completed = created + random.exponential(1.5, count) * SECONDS_A_DAY + np.exp(log_hours) * 4 * 3600
    columns = zip(
        _moments(created), _moments(completed), hours, estimates,
        _words(VERBS, verbs), _words(THINGS, things), _words(PLACES, random.integers(0, len(PLACES), count)),
        _descriptions(random, count), _words(TYPES, random.integers(0, len(TYPES), count)),
        _words(PRIORITIES, random.integers(0, len(PRIORITIES), count)), _words(project.paces, people),
        _words(project.paces, random.integers(0, len(project.paces), count)),
        strict=True,
    )  # fmt: skip
    for ordinal, column in enumerate(columns, start=first):
        (start, end, effort, estimate, verb, thing, place, description, kind, priority, assignee, reporter) = column
        yield IssueRecord(
            project_key=project.key,
            key=f"{project.key}-{ordinal + 1}",
            ordinal=ordinal,
            time_basis="date",
            created_at=start,
            completed_at=None if effort is None else end,
            title=f"{verb.capitalize()} the {thing} in {place}",
            description=description,
            issue_type=kind,
            component=place,
            priority=priority,
            reporter=reporter,
            assignee=assignee,
            effort_hours=effort,
            estimate_hours=estimate,
        )


def _since_the_change(portfolio: DatedPortfolio, moments: Numbers) -> Numbers:
    """From 0 at the change to 1 at the end of the days."""
    left = (1 - portfolio.change_after) * portfolio.days * SECONDS_A_DAY
    return np.clip((moments - portfolio.change_at) / left, 0, 1) if left > 0 else np.zeros(len(moments))


def _chosen(random: np.random.Generator, share: float, log_hours: Numbers) -> list[float | None]:
    """Hours to the hundredth for this share of the issues, None for the others."""
    hours = np.maximum(np.round(np.exp(log_hours), 2), 0.01).tolist()
    return [value if chosen else None for value, chosen in zip(hours, random.random(len(hours)) < share, strict=True)]


def _moments(seconds: Numbers) -> list[datetime]:
    return [datetime.fromtimestamp(second, UTC) for second in np.floor(seconds).tolist()]


def _words(of: Any, chosen: Any) -> list[str]:
    return np.array(list(of), dtype=object)[chosen].tolist()  # type: ignore[no-any-return]  # NumPy forgets what objects are


def _descriptions(random: np.random.Generator, count: int) -> list[str]:
    """Filler, of up to 24 words."""
    lengths = random.integers(0, 25, count)
    words = _words(FILLER, random.integers(0, len(FILLER), int(lengths.sum())))
    ends = np.cumsum(lengths).tolist()
    return [" ".join(words[end - length : end]) for end, length in zip(ends, lengths.tolist(), strict=True)]
