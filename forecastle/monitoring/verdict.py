"""What a gate says of a candidate."""

from __future__ import annotations

from enum import StrEnum


class Verdict(StrEnum):
    PROMOTE = "PROMOTE"
    HOLD = "HOLD"
    REJECT = "REJECT"
    NOT_ENOUGH_DATA = "NOT ENOUGH DATA"
