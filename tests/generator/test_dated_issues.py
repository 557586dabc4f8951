"""Synthetic issues with dates and hours: the effects that they were made with can be found in them."""

from __future__ import annotations

import math
import statistics
import tracemalloc
from dataclasses import replace
from itertools import islice, pairwise

import pytest

from forecastle.generator.dated import BLOCK, DatedPortfolio, generate_dated_issues, project_of
from forecastle.generator.issues import THINGS, VERBS
from forecastle.records.issues import IssueRecord, as_of


def words(issue: IssueRecord) -> float:
    """The true effect of a title's words on log hours."""
    verb, _, thing, *_ = issue.title.lower().split()
    return VERBS[verb] + THINGS[thing]


def test_the_same_portfolio_gives_the_same_issues_and_another_seed_others() -> None:
    first, again = (list(generate_dated_issues(DatedPortfolio(2, 30))) for _ in range(2))
    assert first == again
    assert first != list(generate_dated_issues(DatedPortfolio(2, 30, seed=1)))


def test_a_project_is_the_same_whatever_stands_beside_it() -> None:
    alone, beside = (list(generate_dated_issues(DatedPortfolio(projects, 30))) for projects in (1, 3))
    assert beside[:30] == alone


def test_issues_stand_in_the_order_of_their_creation_across_blocks() -> None:
    issues = list(generate_dated_issues(DatedPortfolio(projects=1, issues=BLOCK + 50)))
    assert [issue.ordinal for issue in issues] == list(range(BLOCK + 50))
    created = [issue.created_at for issue in issues]
    assert all(one is not None and other is not None and one <= other for one, other in pairwise(created))
    assert len({issue.key for issue in issues}) == len(issues)


def test_every_issue_is_dated_and_has_hours_where_it_is_completed() -> None:
    portfolio = DatedPortfolio(projects=2, issues=2_000)
    issues = list(generate_dated_issues(portfolio))
    for issue in issues:
        assert issue.time_basis == "date"
        assert issue.created_at is not None
        assert (issue.effort_hours is None) == (issue.completed_at is None)
        assert issue.completed_at is None or issue.completed_at > issue.created_at
        assert issue.reporter
        assert issue.assignee
    done = sum(issue.effort_hours is not None for issue in issues) / len(issues)
    estimated = sum(issue.estimate_hours is not None for issue in issues) / len(issues)
    assert done == pytest.approx(portfolio.done, abs=0.02)
    assert estimated == pytest.approx(portfolio.estimated, abs=0.04)


def test_the_final_assignee_and_the_hours_are_hidden_at_the_creation() -> None:
    issue = next(issue for issue in generate_dated_issues(DatedPortfolio()) if issue.effort_hours and issue.created_at)
    assert issue.created_at is not None
    shown = as_of(issue, issue.created_at)
    assert (shown.assignee, shown.effort_hours, shown.completed_at) == (None, None, None)
    assert shown.estimate_hours == issue.estimate_hours


def test_words_project_person_and_noise_have_the_effects_that_were_asked_for() -> None:
    portfolio = DatedPortfolio(projects=3, issues=4_000, noise=0.3)
    by_project: dict[str, list[float]] = {}
    rest: list[float] = []
    projects = {project.key: project for project in (project_of(portfolio, number) for number in range(3))}
    for issue in generate_dated_issues(portfolio):
        if issue.effort_hours is not None and issue.assignee is not None:
            project = projects[issue.project_key]
            without_words = math.log(issue.effort_hours) - words(issue)
            by_project.setdefault(project.key, []).append(without_words - project.paces[issue.assignee])
            rest.append(by_project[project.key][-1] - project.level)
    for key, values in by_project.items():
        assert statistics.fmean(values) == pytest.approx(projects[key].level, abs=0.03)
    assert statistics.stdev(rest) == pytest.approx(0.3, abs=0.02)


def test_estimates_are_off_by_the_noise_that_was_asked_for() -> None:
    issues = generate_dated_issues(DatedPortfolio(projects=1, issues=6_000, estimate_noise=0.25))
    off = [
        math.log(issue.estimate_hours / issue.effort_hours)
        for issue in issues
        if issue.estimate_hours is not None and issue.effort_hours is not None
    ]
    assert statistics.fmean(off) == pytest.approx(0, abs=0.02)
    assert statistics.stdev(off) == pytest.approx(0.25, abs=0.02)


def test_a_long_portfolio_is_made_block_by_block() -> None:
    tracemalloc.start()
    try:
        for _ in islice(generate_dated_issues(DatedPortfolio(projects=1, issues=10_000_000)), 3 * BLOCK):
            pass
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 60e6


@pytest.mark.parametrize("turned", [False, True])
def test_a_world_that_changes_is_as_it_was_before_and_only_what_is_said_changes_afterwards(turned: bool) -> None:
    calm = DatedPortfolio(projects=1, issues=4_000, noise=0.2, done=1.0)
    changed = replace(calm, change_after=0.5, turned=turned, trend=0.0 if turned else 1.0)
    pairs = list(zip(generate_dated_issues(calm), generate_dated_issues(changed), strict=True))
    early = [pair for pair in pairs if pair[0].created_at.timestamp() < changed.change_at]  # type: ignore[union-attr]
    assert 1_500 < len(early) < 2_500
    assert all(before == after for before, after in early)
    late = pairs[-1_000:]
    assert all((one.title, one.created_at) == (other.title, other.created_at) for one, other in late)
    before, after = ([math.log(pair[side].effort_hours or 1) for pair in late] for side in (0, 1))
    if turned:  # the same words, with each other's effects
        effects = [words(one) for one, _ in late]
        assert statistics.correlation(effects, before) > 0.8
        assert statistics.correlation(effects, after) < 0
        assert statistics.mean(after) == pytest.approx(statistics.mean(before), abs=0.15)
    else:  # from half of the trend at the beginning of these issues to all of it at their end
        assert statistics.mean(after) - statistics.mean(before) == pytest.approx(0.75, abs=0.02)
        estimates = [(a.estimate_hours, b.estimate_hours) for a, b in late if a.estimate_hours and b.estimate_hours]
        risen = statistics.mean(math.log(b / a) for a, b in estimates)
        assert risen == pytest.approx(0.75, abs=0.06)  # each has a noise of its own
