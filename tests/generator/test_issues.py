"""Synthetic issues: the same portfolio gives the same issues, and what a model ought to find is in them."""

from __future__ import annotations

import math
import statistics

from forecastle.generator.issues import SCALE, THINGS, VERBS, Portfolio, generate_issues


def test_the_same_portfolio_gives_the_same_issues_and_another_seed_others() -> None:
    first, again = (list(generate_issues(Portfolio(2, 30))) for _ in range(2))
    assert first == again
    assert first != list(generate_issues(Portfolio(2, 30, seed=1)))


def test_every_project_has_its_issues_in_order_and_without_dates() -> None:
    issues = list(generate_issues(Portfolio(projects=3, issues=20)))
    assert [(issue.project_key, issue.ordinal) for issue in issues] == [
        (f"DEMO{project}", ordinal) for project in (1, 2, 3) for ordinal in range(20)
    ]
    assert len({issue.key for issue in issues}) == len(issues)
    assert all(issue.time_basis == "ordinal" and issue.created_at is None for issue in issues)


def test_points_stand_on_the_scale() -> None:
    assert {issue.story_points for issue in generate_issues(Portfolio(2, 200))} <= set(SCALE)


def test_heavier_words_mean_more_points_and_without_noise_the_words_decide() -> None:
    effects: dict[float, set[float | None]] = {}
    for issue in generate_issues(Portfolio(projects=1, issues=400, noise=0.0)):
        verb, _, thing, *_ = issue.title.lower().split()
        effects.setdefault(round(VERBS[verb] + THINGS[thing], 6), set()).add(issue.story_points)
    in_order = [effects[effect] for effect in sorted(effects)]
    assert all(len(points) == 1 for points in in_order)
    values = [next(iter(points)) for points in in_order]
    assert values == sorted(values)
    assert len(set(values)) > 2


def test_more_noise_scatters_points_of_the_same_words_more() -> None:
    def scatter(noise: float) -> float:
        by_words: dict[str, list[float]] = {}
        for issue in generate_issues(Portfolio(projects=1, issues=1_500, noise=noise)):
            by_words.setdefault(" ".join(issue.title.split()[:3]), []).append(math.log(issue.story_points or 1.0))
        return statistics.fmean(statistics.pstdev(logs) for logs in by_words.values() if len(logs) > 5)

    assert scatter(0.1) < scatter(0.4) < scatter(0.8)
