"""Requests as lines (NDJSON), read without ever holding the whole body."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

BLOCK_BYTES = 64 * 1024


@dataclass(frozen=True)
class Line:
    """A line that is not blank: its number in the body (1-based), and its bytes."""

    number: int
    content: bytes


def lines_of(read: Callable[[int], bytes], longest: int) -> Iterator[Line]:
    """The lines of a body; of one that is longer than `longest` bytes, the first `longest` + 1."""
    number, line = 1, bytearray()
    for block in iter(lambda: read(BLOCK_BYTES), b""):
        *ends, begun = block.split(b"\n")
        for end in ends:
            line += end
            if line.strip():
                yield Line(number, bytes(line[: longest + 1]))
            number += 1
            line.clear()
        line += begun
        del line[longest + 1 :]
    if line.strip():
        yield Line(number, bytes(line))


def chunks_of(lines: Iterable[Line], most: int, enough_bytes: int) -> Iterator[list[Line]]:
    """The lines in chunks of at most `most`; a chunk that has `enough_bytes` gets no further line."""
    chunk: list[Line] = []
    size = 0
    for line in lines:
        chunk.append(line)
        size += len(line.content)
        if len(chunk) == most or size >= enough_bytes:
            yield chunk
            chunk, size = [], 0
    if chunk:
        yield chunk
