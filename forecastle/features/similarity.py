"""Which completed issues resemble this one, by the words of their titles."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import islice
from typing import NamedTuple

from forecastle.features.text import Words, words_of
from forecastle.records.outcomes import Case

MOST_SIMILAR = 5
LEAST_SIMILARITY = 0.15

Places = int
"""Some of the cases, as a set of bits: bit n stands for case n."""
Shared = Collection[tuple[Collection[str], Places]]
"""Words of a title, and which cases share just these with it."""
Sizes = Sequence[tuple[int, Places]]
"""Numbers of distinct words, in ascending order, and which cases have so many."""


class SimilarCase(NamedTuple):
    """A completed issue and how much it resembles another: 1 is the same words, 0 none in common."""

    case: Case
    similarity: float


class IndexedCases(tuple[Case, ...]):
    """Cases that are kept: title after title is held against them, and an index of their words is made once."""

    @cached_property  # of titles that are split once and not remembered beside it
    def word_index(self) -> WordIndex:
        return WordIndex.of([frozenset(words_of(case.title)) for case in self])


def similar_cases(title: Words, cases: Sequence[Case]) -> list[SimilarCase]:
    """The MOST_SIMILAR of the cases, the most similar first, later ones before earlier ones that are as similar.

    Similarity is Jaccard's index (shared words over all words of both) with the words of the title asked about weighted
    by their inverse document frequency among the cases, so that words that many titles share say little; words that
    only the case has count as much as the mean of the others. Below LEAST_SIMILARITY a case is not similar.
    """
    asked = frozenset(title)
    if not asked or not cases:
        return []
    shared, sizes = cases.word_index.look_up(asked) if isinstance(cases, IndexedCases) else _look_through(cases, asked)
    rarity = _rarity(asked, shared, len(cases))
    # Sets stand in another order in every process; exact sums do not depend on it.
    of_asked = math.fsum(rarity.values())
    usual = of_asked / len(asked)
    found: dict[float, Places] = {}
    for common, places in shared:
        of_common = math.fsum([rarity[word] for word in common])
        if of_common / of_asked < LEAST_SIMILARITY:
            continue  # not even a case without other words is similar
        for size, having in sizes:
            if alike := places & having:
                similarity = of_common / (of_asked + (size - len(common)) * usual)
                if similarity < LEAST_SIMILARITY:
                    break  # those with more words are less similar still
                found[similarity] = found.get(similarity, 0) | alike
    best_first = ((place, one) for one in sorted(found, reverse=True) for place in _latest_first(found[one]))
    return [SimilarCase(cases[place], similarity) for place, similarity in islice(best_first, MOST_SIMILAR)]


def similar_level(found: Sequence[SimilarCase]) -> float:
    """The mean of the similar cases' outcomes on the log scale, by similarity; NaN where nothing is similar."""
    total = math.fsum(one.similarity for one in found)
    if not total:
        return math.nan
    return math.fsum(one.similarity * math.log(max(one.case.value, SMALLEST)) for one in found) / total


SMALLEST = 0.01  # a logarithm of 0 does not exist


@dataclass(frozen=True, slots=True)
class WordIndex:
    """Which cases have a word, and which have so many of them."""

    holders: Mapping[str, Places]
    sizes: Sizes

    @classmethod
    def of(cls, words: Sequence[frozenset[str]]) -> WordIndex:
        holders: dict[str, Places] = {}
        sizes: defaultdict[int, Places] = defaultdict(int)
        for place, one in enumerate(words):
            this = 1 << place
            sizes[len(one)] |= this
            for word in one:
                # Most words stand in one title, and all of these have the same object then.
                holders[word] = holders[word] | this if word in holders else this
        return cls(holders, sorted(sizes.items()))

    def look_up(self, asked: Collection[str]) -> tuple[Shared, Sizes]:
        """All cases are split by the first word, the parts by the second, and so on: most parts are empty."""
        shared: dict[tuple[str, ...], Places] = {(): -1}
        for word in asked:
            if having := self.holders.get(word):
                for common, places in list(shared.items()):
                    if both := places & having:
                        shared[*common, word] = both
                        if left := places ^ both:
                            shared[common] = left
                        else:
                            del shared[common]
        del shared[()]
        return shared.items(), self.sizes


def _look_through(cases: Sequence[Case], asked: frozenset[str]) -> tuple[Shared, Sizes]:
    """The same without an index, which takes as long to make as ten looks."""
    shared: defaultdict[frozenset[str], Places] = defaultdict(int)
    sizes: defaultdict[int, Places] = defaultdict(int)
    words = [_distinct_words(case.title) for case in cases]
    for place, one in enumerate(words):
        if not asked.isdisjoint(one):
            shared[asked & one] |= 1 << place
            sizes[len(one)] |= 1 << place
    return shared.items(), sorted(sizes.items())


def _rarity(asked: Collection[str], shared: Shared, cases: int) -> dict[str, float]:
    """The inverse document frequency of each word that is asked about."""
    frequency = dict.fromkeys(asked, 0)
    for common, places in shared:
        count = places.bit_count()
        for word in common:
            frequency[word] += count
    return {word: math.log((1 + cases) / (1 + count)) + 1 for word, count in frequency.items()}


def _latest_first(places: Places) -> Iterator[int]:
    while places:
        latest = places.bit_length() - 1
        yield latest
        places ^= 1 << latest


@lru_cache(maxsize=50_000)
def _distinct_words(title: str) -> frozenset[str]:
    return frozenset(words_of(title))
