"""Which numbers of an issue tell of the hours it takes, and how an estimate becomes an answer."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from forecastle.features.issues import (
    IssueFeatures,
    deviation_of,
    group_numbers,
    labels_of,
    log_ratios,
    packed,
    ratio_numbers,
)
from forecastle.features.levels import LogLevels, log_levels
from forecastle.features.packing import pack_issue, unpack_issue
from forecastle.features.similarity import similar_cases, similar_level
from forecastle.features.text import MOST_CHARACTERS, words_of
from forecastle.learning.forms import UnitForm, load_form
from forecastle.records.outcomes import NOTHING_KNOWN, Known, Outcomes, once
from projects.delivery.effort.rules import HOURS, Hours, customary, settle_hours

GROUPS = ("issue_type", "component", "reporter", "assignee", "assignee_type", "same_estimate")
LABELS = ("issue_type", "component", "reporter", "assignee", "priority")
WEIGHT_POWER = 0.5  # hours count more where there are more of them: between relative and absolute error
HEAVIEST = math.log(60.0)
LEAST_RATIOS = 10
LEAST_REACH, USUAL_RATIO_SPREAD = 0.1, 0.7


def extract(request: Mapping[str, Any], cluster: str, known: Known) -> IssueFeatures:
    """What a request says, and what was known of its project and of the issues like it then."""
    title, description = request.get("title") or "", request.get("description") or ""
    words = words_of(title)
    estimate = float(request.get("estimate_hours") or math.nan)
    levels = log_levels(known.project, HOURS)
    estimated = estimate == estimate
    centre = HOURS.log(estimate) if estimated else levels.centre
    alike = similar_cases(words, known.cases)
    similar = similar_level(alike)
    numbers = {
        "count": math.log1p(known.project.count),
        "project": levels.centre,
        "project.from_centre": levels.centre - centre,
        "rolling_median": levels.rolling_median,
        "median": levels.median,
        "last_10": levels.last_10,
        "last_3": levels.last_3,
        "spread": levels.spread,
        "title_length": math.log1p(len(title)),
        "description_length": math.log1p(min(len(description), MOST_CHARACTERS)),
        "similar": similar - centre,
        "similarity": alike[0].similarity if alike else 0.0,
    }
    for group in GROUPS:
        numbers |= group_numbers(group, known.group(group), HOURS, centre)
    if estimated:
        numbers["estimate"] = centre
        numbers |= ratio_numbers("project", known.project, HOURS)
        for group in GROUPS:
            numbers |= ratio_numbers(group, known.group(group), HOURS)
    names, values = packed(numbers)
    return IssueFeatures(
        cluster=cluster,
        names=names,
        numbers=values,
        title=words,
        description=words_of(description),
        labels=labels_of(request, LABELS),
        scale=HOURS,
        levels=levels,
        centre=centre,
        spread=1.0,
        weight=math.exp(WEIGHT_POWER * min(centre, HEAVIEST)),
        estimate=estimate,
        similar=similar,
    )


class EffortScorer:
    """What training, evaluation and the façade ask alike."""

    def extract(self, request: Mapping[str, Any], cluster: str, known: Known) -> IssueFeatures:
        return extract(request, cluster, known)

    def pack(self, issue: IssueFeatures) -> bytes:
        return pack_issue(issue)

    def unpack(self, content: bytes, request: Mapping[str, Any], cluster: str) -> IssueFeatures:
        return unpack_issue(content, extract(request, cluster, NOTHING_KNOWN))

    def load(self, form: Mapping[str, Any]) -> UnitForm:
        return load_form(form)

    def settler(self, issue: IssueFeatures, known: Known) -> Callable[[str, float], Hours]:
        reach, amounts = reach_of(issue.estimate, issue.levels, known), amounts_for(issue.estimate, known)
        return lambda method, estimate: settle_hours(estimate, amounts, reach)


def reach_of(estimate: float, levels: LogLevels, known: Known) -> float:
    """How far outcomes usually lie from an answer, as a logarithm: from estimates where there is one."""
    return levels.spread if math.isnan(estimate) else _ratio_reach(known.project)


@once
def _ratio_reach(outcomes: Outcomes) -> float:
    ratios = log_ratios(outcomes, HOURS)
    return max(deviation_of(ratios), LEAST_REACH) if len(ratios) >= LEAST_RATIOS else USUAL_RATIO_SPREAD


def amounts_for(estimate: float, known: Known) -> Sequence[float]:
    """What an answer that is nearly the same is said as: what a person said, else what is customary in the project."""
    return (estimate,) if estimate == estimate else customary(known.project)


SCORER = EffortScorer()
