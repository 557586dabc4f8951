"""Reading one cell of a foreign file: text, a number, a moment."""

from __future__ import annotations

import math
import re
from datetime import UTC, datetime

# float() also takes "1_000", "nan" and other scripts' digits, which in a tracker's export are mistakes.
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)


def read_text(cell: str) -> str | None:
    """The cell without the blanks around it; None where nothing is left. "NaN" and "None" are text."""
    return cell.strip() or None


def read_number(cell: str) -> float:
    """The finite number in the cell. Raises ValueError where there is none."""
    if not _NUMBER.fullmatch(cell):
        raise ValueError("not a number")
    number = float(cell)
    if not math.isfinite(number):
        raise ValueError("not finite")
    return number


def read_moment(cell: str, formats: tuple[str, ...]) -> datetime:
    """The moment in the cell, in UTC, by the first of `formats` that fits, else by ISO 8601.

    Without a zone it is UTC. Raises ValueError where the cell holds no date.
    """
    moment = _parse(cell, formats)
    if moment.tzinfo is None:
        return moment.replace(tzinfo=UTC)
    try:
        return moment.astimezone(UTC)
    except OverflowError:
        raise ValueError("outside the calendar") from None


def _parse(cell: str, formats: tuple[str, ...]) -> datetime:
    for text in formats:
        try:
            return datetime.strptime(cell, text)  # noqa: DTZ007 - the caller gives it its zone
        except ValueError:
            continue
    return datetime.fromisoformat(cell)
