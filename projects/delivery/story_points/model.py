"""Which numbers of an issue tell of its story points, and how an estimate becomes a recommendation."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from forecastle.features.issues import IssueFeatures, group_numbers, labels_of, packed
from forecastle.features.levels import log_levels
from forecastle.features.packing import pack_issue, unpack_issue
from forecastle.features.similarity import similar_cases, similar_level
from forecastle.features.text import MOST_CHARACTERS, words_of
from forecastle.learning.forms import UnitForm, load_form
from forecastle.records.outcomes import NOTHING_KNOWN, Known
from forecastle.registry.baselines import BASELINES
from projects.delivery.story_points.rules import POINTS, Recommendation, recommend_middle, recommend_near, scale_of


def extract(request: Mapping[str, Any], cluster: str, known: Known) -> IssueFeatures:
    """What a request says, and what was known of its project then."""
    title, description = request.get("title") or "", request.get("description") or ""
    words = words_of(title)
    levels = log_levels(known.project, POINTS)
    alike = similar_cases(words, known.cases)
    similar = similar_level(alike)
    numbers = {
        "count": math.log1p(known.project.count),
        "rolling_median": levels.rolling_median,
        "mean": levels.mean,
        "median": levels.median,
        "last_10": levels.last_10,
        "last_3": levels.last_3,
        "centre": levels.centre,
        "spread": levels.spread,
        "title_length": math.log1p(len(title)),
        "description_length": math.log1p(min(len(description), MOST_CHARACTERS)),
        "no_description": float(not description),
        "similar": similar - levels.centre,
        "similarity": alike[0].similarity if alike else 0.0,
        **group_numbers("issue_type", known.group("issue_type"), POINTS, levels.centre),
    }
    names, values = packed(numbers)
    return IssueFeatures(
        cluster=cluster,
        names=names,
        numbers=values,
        title=words,
        description=words_of(description),
        labels=labels_of(request, ("issue_type",)),
        scale=POINTS,
        levels=levels,
        centre=levels.centre,
        spread=levels.spread,
        weight=1.0,
        similar=similar,
    )


class StoryPointsScorer:
    """What training, evaluation and the façade ask alike."""

    def extract(self, request: Mapping[str, Any], cluster: str, known: Known) -> IssueFeatures:
        return extract(request, cluster, known)

    def pack(self, issue: IssueFeatures) -> bytes:
        return pack_issue(issue)

    def unpack(self, content: bytes, request: Mapping[str, Any], cluster: str) -> IssueFeatures:
        return unpack_issue(content, extract(request, cluster, NOTHING_KNOWN))

    def load(self, form: Mapping[str, Any]) -> UnitForm:
        return load_form(form)

    def settler(self, issue: IssueFeatures, known: Known) -> Callable[[str, float], Recommendation]:
        scale, spread = scale_of(known.project), issue.levels.spread
        return lambda method, estimate: (recommend_near if method in BASELINES else recommend_middle)(
            estimate, scale, spread
        )


SCORER = StoryPointsScorer()
