"""Identifiers sort by the moment at which they were made."""

from __future__ import annotations

import time
from uuid import RFC_4122, UUID

from forecastle.store.identifiers import new_id


def test_identifiers_are_unique_and_sort_in_the_order_in_which_they_were_made() -> None:
    made = [new_id() for _ in range(5_000)]
    assert made == sorted(made)
    assert len(set(made)) == len(made)


def test_an_identifier_is_a_uuid_of_version_7_that_holds_the_moment() -> None:
    before = time.time_ns() // 1_000_000
    made = new_id()
    after = time.time_ns() // 1_000_000
    assert type(made) is UUID
    assert (made.version, made.variant) == (7, RFC_4122)
    assert before <= made.int >> 80 <= after
