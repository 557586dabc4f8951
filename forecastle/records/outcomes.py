"""What was known of a project's outcomes at a moment."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

RECENT = 200  # how many of the latest known outcomes are kept one by one
ROLLING = 50  # how many of them the rolling median looks at


@dataclass(frozen=True, slots=True)
class Outcomes:
    """The known outcomes of one project at a moment, in the target's unit.

    `count`, `mean` and `median` are over all of them; `recent` holds the last RECENT in the order in which they
    became known. With no known outcome `count` is 0 and `mean` and `median` are NaN.
    """

    count: int
    mean: float
    median: float
    recent: tuple[float, ...]

    @property
    def rolling_median(self) -> float:
        """The median of the last ROLLING known outcomes; NaN where there is none."""
        window = sorted(self.recent[-ROLLING:])
        if not window:
            return float("nan")
        middle = len(window) // 2
        return window[middle] if len(window) % 2 else (window[middle - 1] + window[middle]) / 2

    def as_json(self) -> dict[str, Any]:
        return {"count": self.count, "mean": self.mean, "median": self.median, "recent": list(self.recent)}


NONE_KNOWN = Outcomes(0, float("nan"), float("nan"), ())
