"""Reading one cell of a foreign file: text, a number, a moment."""

from __future__ import annotations

import math
import re
from datetime import UTC, date, datetime, time
from functools import cache

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


def read_moment(cell: str, formats: tuple[str, ...], day_ends: bool = False) -> datetime:
    """The moment in the cell, in UTC, by the first of `formats` that fits, else by ISO 8601.

    Without a zone it is UTC. A day alone is its first microsecond, or its last where `day_ends`. Raises
    ValueError where the cell holds no date.
    """
    moment, is_day = _parse(cell, formats)
    if is_day and day_ends:
        moment = moment.replace(hour=23, minute=59, second=59, microsecond=999_999)
    if moment.tzinfo is None:
        return moment.replace(tzinfo=UTC)
    try:
        return moment.astimezone(UTC)
    except OverflowError:
        raise ValueError("outside the calendar") from None


def _parse(cell: str, formats: tuple[str, ...]) -> tuple[datetime, bool]:
    """The moment, and whether the cell says no more than its day."""
    for text in formats:
        try:
            return datetime.strptime(cell, text), _is_day(text)  # noqa: DTZ007 - the caller gives it its zone
        except ValueError:
            continue
    try:
        return datetime.combine(date.fromisoformat(cell), time.min), True
    except ValueError:
        return datetime.fromisoformat(cell), False


@cache
def _is_day(format: str) -> bool:
    return not re.search("%[HIcX]", format.replace("%%", ""))
