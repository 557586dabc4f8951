"""Words become the same numbers as scikit-learn's."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.feature_extraction.text import TfidfVectorizer

from forecastle.features.text import MOST_CHARACTERS, TfidfDictionary, words_of

WORDS = ["fix", "add", "the", "button", "größe", "日本"]
documents = st.lists(st.lists(st.sampled_from(WORDS), max_size=12), min_size=1, max_size=12)


@given(documents)
def test_weights_have_length_one_or_there_are_none(texts: list[list[str]]) -> None:
    learned = TfidfDictionary.learn(map(tuple, texts), least_documents=1, most_words=100)
    for text in texts:
        weights = learned.weigh(tuple(text))
        assert set(weights) == set(text)
        if text:
            assert math.isclose(sum(weight**2 for weight in weights.values()), 1.0, rel_tol=1e-12)


@settings(max_examples=60)
@given(documents, st.integers(1, 3))
def test_weights_equal_those_of_scikit_learn(texts: list[list[str]], least_documents: int) -> None:
    learned = TfidfDictionary.learn(map(tuple, texts), least_documents, most_words=100)
    reference = TfidfVectorizer(
        analyzer=lambda tokens: tokens, sublinear_tf=True, smooth_idf=True, norm="l2", min_df=least_documents
    )
    if not learned.idf:
        with pytest.raises(ValueError, match=r"empty vocabulary|no terms remain|min_df"):
            reference.fit(texts)
        return
    expected = reference.fit_transform(texts).toarray()
    columns = list(reference.get_feature_names_out())
    assert set(columns) == set(learned.idf)
    found = np.zeros_like(expected)
    for row, text in enumerate(texts):
        for word, weight in learned.weigh(tuple(text)).items():
            found[row, columns.index(word)] = weight
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12)


def test_unknown_words_weigh_nothing_and_do_not_shorten_the_known_ones() -> None:
    learned = TfidfDictionary({"known": 2.0})
    assert learned.weigh(("known", *["unknown"] * 7)) == {"known": 1.0}
    assert learned.weigh(("unknown",) * 7) == {}


def test_an_empty_text_has_no_weights() -> None:
    assert TfidfDictionary({"known": 2.0}).weigh(words_of("")) == {}
    assert TfidfDictionary.learn([], 1, 10).weigh(("known",)) == {}


def test_rare_words_are_dropped_and_of_equally_frequent_ones_the_first_in_the_alphabet_stay() -> None:
    texts = [("b", "a", "often"), ("b", "a", "often"), ("often", "once")]
    assert set(TfidfDictionary.learn(texts, least_documents=2, most_words=2).idf) == {"often", "a"}


def test_words_are_lower_case_words_of_two_characters_that_start_with_a_letter() -> None:
    assert words_of("Fix a BUG, fix v2 _x 42 x1 Größe") == ("fix", "bug", "fix", "v2", "x1", "größe")


@given(st.text())
def test_words_hold_no_blank_and_come_back_from_a_line_of_them(text: str) -> None:
    """A table for people keeps them so."""
    assert tuple(" ".join(words_of(text)).split()) == words_of(text)


def test_what_stands_behind_the_first_characters_does_not_count() -> None:
    start = "word " * (MOST_CHARACTERS // 5)
    assert words_of(start + "late") == words_of(start)
