"""What is erased, and what is not: pure functions of JSON values."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forecastle.records.redaction import OMITTED, IssueRedaction, PersonRedaction, without_texts

PSEUDONYM = "person_0123456789ab"
ADA = PersonRedaction("Ada Lovelace", PSEUDONYM)
words = st.sampled_from(["Ada Lovelace", "ada lovelace", "Adas", "x", "(", " ", "-", "_", "é", "\n", "12"])
texts = st.lists(words, max_size=8).map("".join)
keys = st.sampled_from(["reporter", "assignee", "title", "description"])
values = st.recursive(
    texts | st.none() | st.integers(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=3),
)


def strings(value: Any) -> list[str]:
    if isinstance(value, str):
        return [value]
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return [text for item in inner for text in strings(item)]


@given(values)
def test_no_text_mentions_the_person_any_more_and_erasing_twice_is_erasing_once(value: Any) -> None:
    once = ADA.redact(value)
    assert not any(re.search(r"(?<!\w)ada lovelace(?!\w)", text, re.IGNORECASE) for text in strings(once))
    assert ADA.redact(once) == once


@given(values)
def test_what_does_not_mention_the_person_stays_as_it_is(value: Any) -> None:
    if not any("lovelace" in text.lower() for text in strings(value)):
        assert ADA.redact(value) == value


def test_a_name_is_found_as_a_whole_word_in_any_case_and_not_in_the_middle_of_one() -> None:
    assert ADA.redact("Ask ADA LOVELACE, or Ada Lovelaces") == f"Ask {PSEUDONYM}, or Ada Lovelaces"
    assert ADA.redact({"reporter": "Ada Lovelace", "assignee": "Bob"}) == {"reporter": PSEUDONYM, "assignee": "Bob"}
    assert PersonRedaction("C++ (Ada)", PSEUDONYM).redact("by C++ (Ada).") == f"by {PSEUDONYM}."


def test_a_number_is_a_person_only_where_people_stand() -> None:
    number = PersonRedaction("58", PSEUDONYM)
    asked = {"assignee": "58", "title": "58 errors", "component": "58", "reporter": "580"}
    assert number.redact(asked) == {**asked, "assignee": PSEUDONYM}


@pytest.mark.parametrize("name", ["person", "person_", "_", "p"])
def test_a_pseudonym_is_not_erased_itself(name: str) -> None:
    redaction = PersonRedaction(name, PSEUDONYM)
    once = redaction.redact({"reporter": name, "title": f"by {name}"})
    assert once == redaction.redact(once)


def test_titles_are_erased_as_whole_values_wherever_they_stand() -> None:
    redaction = IssueRedaction(frozenset({"Fix it"}))
    assert redaction.redact({"similar": [{"title": "Fix it"}, "Fix it all"]}) == {
        "similar": [{"title": OMITTED}, "Fix it all"]
    }


def test_without_its_texts_an_issue_keeps_the_rest_and_gets_nothing_new() -> None:
    assert without_texts({"title": "a", "description": "b", "component": "c"}) == {
        "title": OMITTED,
        "description": "",
        "component": "c",
    }
    assert without_texts({"component": "c", "title": None}) == {"component": "c", "title": None}
