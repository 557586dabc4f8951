"""Issues resemble each other by the words of their titles, and rare words tell more."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from collections import Counter
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forecastle.features.similarity import (
    LEAST_SIMILARITY,
    MOST_SIMILAR,
    IndexedCases,
    SimilarCase,
    similar_cases,
    similar_level,
)
from forecastle.features.text import words_of
from forecastle.records.outcomes import Case

WORDS = ["fix", "add", "the", "button", "billing", "importer", "größe", "again"]
titles = st.lists(st.sampled_from(WORDS), max_size=6).map(" ".join)
lists = st.lists(titles, max_size=25)


def cases(titles: list[str], value: float = 3.0) -> list[Case]:
    return [Case(f"A-{number}", title, value) for number, title in enumerate(titles)]


def similar(title: str, cases: list[Case]) -> list[SimilarCase]:
    """What is found in cases that are kept, which is what is found in others."""
    found = similar_cases(words_of(title), IndexedCases(cases))
    assert found == similar_cases(words_of(title), cases)
    return found


def held_one_by_one(title: str, cases: list[Case]) -> list[tuple[Case, float]]:
    """The definition, case by case."""
    asked = set(words_of(title))
    words = [set(words_of(case.title)) for case in cases]
    frequency = Counter(word for one in words for word in one)
    rarity = {word: math.log((1 + len(cases)) / (1 + frequency[word])) + 1 for word in asked}
    of_asked = math.fsum(rarity.values())
    found = []
    for place, one in enumerate(words):
        if common := asked & one:
            others = len(one - asked) * (of_asked / len(asked))
            found.append((math.fsum(rarity[word] for word in common) / (of_asked + others), place))
    latest_first = sorted(found, reverse=True)[:MOST_SIMILAR]
    return [(cases[place], similarity) for similarity, place in latest_first if similarity >= LEAST_SIMILARITY]


@given(titles, lists)
def test_what_is_found_is_what_holding_each_case_against_the_title_finds(title: str, others: list[str]) -> None:
    assert similar(title, cases(others)) == held_one_by_one(title, cases(others))


@given(st.randoms(use_true_random=False), st.integers(1, 250), st.integers(2, 400))
def test_so_it_is_among_many_cases_with_some_frequent_and_many_rare_words(
    random: Random, count: int, vocabulary: int
) -> None:
    others = [_zipf_title(random, vocabulary) for _ in range(count)]
    for title in (_zipf_title(random, vocabulary), random.choice(others)):
        assert similar(title, cases(others)) == held_one_by_one(title, cases(others))


def _zipf_title(random: Random, vocabulary: int) -> str:
    """Up to twelve words, the n-th most frequent one n times as rare as the first."""
    words = [f"word{number}" for number in range(vocabulary)]
    return " ".join(random.choices(words, [1 / (number + 1) for number in range(vocabulary)], k=random.randint(0, 12)))


@given(titles, lists)
def test_similarity_lies_between_the_least_and_one_and_the_most_similar_stands_first(
    title: str, others: list[str]
) -> None:
    found = [one.similarity for one in similar(title, cases(others))]
    assert len(found) <= MOST_SIMILAR
    assert all(LEAST_SIMILARITY <= similarity <= 1.0 for similarity in found)
    assert found == sorted(found, reverse=True)


@given(titles.filter(bool), lists)
def test_a_title_that_equals_a_case_resembles_it_fully(title: str, others: list[str]) -> None:
    first = similar(title, cases([*others, title]))[0]
    assert first.similarity == 1.0
    assert set(first.case.title.split()) == set(title.split())


@given(titles, lists)
def test_a_case_without_a_shared_word_is_not_similar(title: str, others: list[str]) -> None:
    for one in similar(title, cases(others)):
        assert set(title.split()) & set(one.case.title.split())


@given(titles, lists)
def test_fully_similar_means_the_same_words(title: str, others: list[str]) -> None:
    for one in similar(title, cases(others)):
        assert (one.similarity == 1.0) == (set(title.split()) == set(one.case.title.split()))


def test_of_cases_that_are_as_similar_the_later_ones_stand_first() -> None:
    found = similar("Fix the button", cases(["Fix the button"] * (MOST_SIMILAR + 2)))
    assert [one.case.key for one in found] == ["A-6", "A-5", "A-4", "A-3", "A-2"]


def test_a_rare_word_in_common_tells_more_than_a_frequent_one() -> None:
    others = ["fix the label"] * 20 + ["fix some importer", "fix some billing"]
    first, second = similar("fix the importer", cases(others))[:2]
    assert first.case.title == "fix some importer"
    assert first.similarity > second.similarity


def test_case_and_order_of_the_words_do_not_count() -> None:
    (found,) = similar("Button, fix THE!", cases(["fix the button"]))
    assert found.similarity == 1.0


@pytest.mark.parametrize("title", ["", "42 !", "a b c"])
def test_a_title_without_words_resembles_nothing(title: str) -> None:
    assert similar(title, cases(["fix the button", title])) == []


def test_without_cases_nothing_is_similar() -> None:
    assert similar("fix the button", []) == []
    assert math.isnan(similar_level([]))


def test_the_level_is_the_mean_on_the_log_scale_by_similarity() -> None:
    same = similar("fix it", [Case("A-1", "fix it", 2.0), Case("A-2", "fix it", 8.0)])
    assert similar_level(same) == pytest.approx(math.log(4.0))
    nearer = similar("fix it now", [Case("A-1", "fix it now", 2.0), Case("A-2", "fix it", 8.0)])
    assert math.log(2.0) < similar_level(nearer) < math.log(4.0)
    assert math.isfinite(similar_level(similar("fix it", [Case("A-1", "fix it", 0.0)])))


@given(titles, lists, st.floats(0, 1000))
def test_the_level_lies_between_the_outcomes_of_the_similar_cases(title: str, others: list[str], value: float) -> None:
    level = similar_level(similar(title, cases(others, value)))
    assert math.isnan(level) or level == pytest.approx(math.log(max(value, 0.01)))


def test_every_process_finds_the_same_whatever_the_order_of_its_sets() -> None:
    """Text hashes differ from process to process, and sums of floating-point numbers depend on their order."""
    code = (
        "from forecastle.features.similarity import IndexedCases, similar_cases\n"
        "from forecastle.features.text import words_of\n"
        "from forecastle.records.outcomes import Case\n"
        "words = 'fix add the button billing importer report cluster again quickly for every customer'.split()\n"
        "cases = [Case(str(n), ' '.join(words[n % 5 :: 1 + n % 3]), float(n)) for n in range(60)]\n"
        "for n in range(40):\n"
        "    title = ' '.join(words[n % 4 : 6 + n % 7])\n"
        "    for among in (cases, IndexedCases(cases)):\n"
        "        print([(one.case.key, one.similarity) for one in similar_cases(words_of(title), among)])\n"
    )
    said = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONHASHSEED": str(seed)},
            capture_output=True,
            check=True,
        ).stdout
        for seed in range(1, 6)
    }
    assert len(said) == 1
