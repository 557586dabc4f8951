"""Which completed issues resemble this one, by the words of their titles."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from heapq import nlargest

from forecastle.features.text import words_of
from forecastle.records.outcomes import Case

MOST_SIMILAR = 5
LEAST_SIMILARITY = 0.15


@dataclass(frozen=True, slots=True)
class SimilarCase:
    """A completed issue and how much it resembles another: 1 is the same words, 0 none in common."""

    case: Case
    similarity: float


def similar_cases(title: str, cases: Sequence[Case]) -> list[SimilarCase]:
    """The MOST_SIMILAR of the cases, the most similar first, later ones before earlier ones that are as similar.

    Similarity is Jaccard's index (shared words over all words of both) with the words of the title asked about weighted
    by their inverse document frequency among the cases, so that words that many titles share say little; words that
    only the case has count as much as the mean of the others. Below LEAST_SIMILARITY a case is not similar.
    """
    asked = _distinct_words(title)
    if not asked or not cases:
        return []
    words = [_distinct_words(case.title) for case in cases]
    shared = [(place, asked & one) for place, one in enumerate(words) if not asked.isdisjoint(one)]
    sets = Counter([common for _, common in shared])  # far fewer than cases: a title has few words
    frequency: Counter[str] = Counter()
    for common, count in sets.items():
        for word in common:
            frequency[word] += count
    rarity = {word: math.log((1 + len(cases)) / (1 + frequency[word])) + 1 for word in asked}
    # Sets stand in another order in every process; exact sums do not depend on it.
    of_asked = math.fsum(rarity.values())
    usual = of_asked / len(asked)
    of_shared = {common: math.fsum([rarity[word] for word in common]) for common in sets}
    found = []
    for place, common in shared:
        similarity = of_shared[common] / (of_asked + (len(words[place]) - len(common)) * usual)
        if similarity >= LEAST_SIMILARITY:
            found.append((similarity, place))
    return [SimilarCase(cases[place], similarity) for similarity, place in nlargest(MOST_SIMILAR, found)]


def similar_level(found: Sequence[SimilarCase]) -> float:
    """The mean of the similar cases' outcomes on the log scale, by similarity; NaN where nothing is similar."""
    total = math.fsum(one.similarity for one in found)
    if not total:
        return math.nan
    return math.fsum(one.similarity * math.log(max(one.case.value, SMALLEST)) for one in found) / total


SMALLEST = 0.01  # a logarithm of 0 does not exist


@lru_cache(maxsize=50_000)
def _distinct_words(title: str) -> frozenset[str]:
    return frozenset(words_of(title))
