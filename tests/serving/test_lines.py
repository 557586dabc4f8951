"""Lines of a body: what is read is what was written, however it arrives."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from io import BytesIO

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving import lines
from serving.lines import Line, chunks_of, lines_of

CONTENTS = st.lists(st.binary(max_size=12).map(lambda text: text.replace(b"\n", b" ")), max_size=30)


def arriving(body: bytes, sizes: Iterator[int]) -> Callable[[int], bytes]:
    """Reads that hand out what has arrived so far, as a server may."""
    stream = BytesIO(body)
    return lambda most: stream.read(min(most, next(sizes, most)))


@given(CONTENTS, st.booleans(), st.lists(st.integers(1, 20)))
def test_lines_are_numbered_and_whole_however_they_arrive(found: list[bytes], ended: bool, sizes: list[int]) -> None:
    body = b"\n".join(found) + (b"\n" if ended else b"")
    expected = [Line(number, text) for number, text in enumerate(found, 1) if text.strip()]
    assert list(lines_of(arriving(body, iter(sizes)), longest=100)) == expected


@given(st.lists(st.integers(0, 30), min_size=1, max_size=20), st.integers(1, 10))
def test_of_a_line_that_is_too_long_just_enough_is_kept_to_tell(lengths: list[int], longest: int) -> None:
    body = b"\n".join(b"x" * length for length in lengths)
    expected = [min(length, longest + 1) for length in lengths if length]
    assert [len(line.content) for line in lines_of(BytesIO(body).read, longest)] == expected


def test_a_line_without_an_end_is_not_held(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lines, "BLOCK_BYTES", 1_000)
    endless, blocks = iter([b"x" * 1_000] * 1_000), 0

    def read(most: int) -> bytes:
        nonlocal blocks
        blocks += 1
        return next(endless, b"")

    (line,) = lines_of(read, longest=10)
    assert (blocks, len(line.content)) == (1_001, 11)


@given(st.lists(st.integers(1, 9)), st.integers(1, 5), st.integers(1, 20))
def test_chunks_hold_every_line_once_and_in_order(sizes: list[int], most: int, enough: int) -> None:
    asked = [Line(number, b"x" * size) for number, size in enumerate(sizes, 1)]
    chunks = list(chunks_of(asked, most, enough))
    assert [line for chunk in chunks for line in chunk] == asked
    for chunk in chunks:
        assert 1 <= len(chunk) <= most
        assert sum(len(line.content) for line in chunk[:-1]) < enough
