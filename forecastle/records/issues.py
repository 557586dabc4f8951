"""What an issue looks like at a moment.

Assumptions, wherever a figure rests on an issue:

- A dated issue (`time_basis` "date") exists from `created_at`; moments are aware datetimes.
- An undated issue ("ordinal") exists from its own `ordinal`, its 0-based position in its project; moments are
  ordinals of that project. Its outcomes count as known at the next row: known if and only if
  `issue.ordinal < moment`.
- A field without a recorded change has looked the same since the issue exists. The exceptions are the
  outcomes and the assignee, which trackers export in their final state.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import pairwise
from typing import Any, Literal

from forecastle.errors import InputError

TimeBasis = Literal["date", "ordinal"]
Moment = datetime | int


@dataclass(frozen=True, slots=True, kw_only=True)
class IssueChange:
    """One recorded edit: `field` took the text `after` where it had held `before`.

    It is known from `changed_at` (dated issues) or from the moment `ordinal` on (undated ones); without
    either it is never taken as known.
    """

    field: str
    before: str | None
    after: str | None
    changed_at: datetime | None = None
    ordinal: int | None = None
    author: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class IssueRecord:
    """One issue; datetimes are aware (UTC), hours are hours of work, None means not known or not there.

    `effort_hours`, `story_points`, `completed_at` are outcomes; `estimate_hours` is a person's estimate and
    counts as known from the start. `changes` stand in the order in which they happened. Raises InputError
    where a dated issue has no `created_at`, a datetime has no zone, or changes stand out of order or before
    the creation.
    """

    project_key: str
    key: str
    ordinal: int
    time_basis: TimeBasis
    created_at: datetime | None = None
    completed_at: datetime | None = None
    title: str
    description: str | None = None
    issue_type: str | None = None
    component: str | None = None
    priority: str | None = None
    reporter: str | None = None
    assignee: str | None = None
    story_points: float | None = None
    story_points_known_at: datetime | None = None
    effort_hours: float | None = None
    estimate_hours: float | None = None
    changes: tuple[IssueChange, ...] = ()

    def __post_init__(self) -> None:
        if self.time_basis == "date" and self.created_at is None:
            raise InputError("a dated issue needs created_at; give it the time basis ordinal")
        dates = (self.created_at, self.completed_at, self.story_points_known_at)
        if any(date is not None and date.tzinfo is None for date in dates):
            raise InputError("the datetimes of an issue need a zone; hand them in as UTC")
        if self.changes:
            times = [_start(self), *(_time(self, change) for change in self.changes)]
            known = [time for time in times if time is not None]
            if any(earlier > later for earlier, later in pairwise(known)):
                raise InputError("the changes of an issue stand in the order in which they happened")


def as_of(issue: IssueRecord, moment: Moment) -> IssueRecord:
    """The issue as it was known at `moment`: nothing that became known later has any influence.

    `moment` is an aware datetime for dated issues, an ordinal of the same project for undated ones.

    - Changes after the moment are dropped and reverted: the field takes their `before`. One without a time is
      not known, hence reverted too, but for outcomes of undated issues, where it corrects the outcome.
    - `effort_hours` and `completed_at` are None unless the issue was completed by then (undated: at an
      earlier row); `story_points` are None unless known by then: never, without `story_points_known_at`.
    - `assignee` follows its recorded changes; without any it is the final one, hence None until completion.
      Where only later changes tell who held the issue at first, the result records that as a change at the
      creation.

    Applying it twice changes nothing, and going back from a later state gives the same as going back at once
    (undated changes apart). Raises InputError for a moment of the wrong kind or before the issue existed.
    """
    _require_moment(issue, moment)
    shown: dict[str, Any] = {
        field: _value(issue, field, read, moment)
        for field, read in _REVERTIBLE.items()
        if any(change.field == field for change in issue.changes)
    }
    shown["changes"] = tuple(change for change in issue.changes if _is_known(_time(issue, change), moment))
    if "assignee" in shown:
        shown["changes"] = (*_first_assignment(issue, shown), *shown["changes"])
    elif not _outcome_known(issue, moment):
        shown["assignee"] = None
    return replace(issue, **(shown | dict.fromkeys(_hidden_outcomes(issue, moment))))


def _require_moment(issue: IssueRecord, moment: Moment) -> None:
    if issue.time_basis == "ordinal":
        if not isinstance(moment, int):
            raise InputError(f"{issue.key} has no dates: ask with an ordinal of its project")
    elif not isinstance(moment, datetime) or moment.tzinfo is None:
        raise InputError(f"{issue.key} is dated: ask with a datetime that has a zone")
    if not _is_known(_start(issue), moment):
        raise InputError(f"{issue.key} did not exist at that moment; leave it out")


def _start(issue: IssueRecord) -> Any:
    return issue.created_at if issue.time_basis == "date" else issue.ordinal


def _time(issue: IssueRecord, change: IssueChange) -> Any:
    return change.changed_at if issue.time_basis == "date" else change.ordinal


def _is_known(time: Any, moment: Any) -> bool:
    return time is not None and bool(time <= moment)


def _outcome_known(issue: IssueRecord, moment: Any) -> bool:
    if issue.time_basis == "ordinal":
        return bool(issue.ordinal < moment)
    return _is_known(issue.completed_at, moment)


def _points_known(issue: IssueRecord, moment: Any) -> bool:
    if issue.time_basis == "ordinal":
        return bool(issue.ordinal < moment)
    return _is_known(issue.story_points_known_at, moment)


def _hidden_outcomes(issue: IssueRecord, moment: Moment) -> list[str]:
    hidden = [] if _outcome_known(issue, moment) else ["effort_hours", "completed_at"]
    return hidden if _points_known(issue, moment) else [*hidden, "story_points", "story_points_known_at"]


def _value(issue: IssueRecord, field: str, read: Callable[[str | None], object], moment: Moment) -> object:
    """The field's value at `moment`, walking its changes backward to the last one known by then."""
    value: object = getattr(issue, field)
    for change in reversed(issue.changes):
        if change.field != field or _is_correction(issue, change):
            continue
        if _is_known(_time(issue, change), moment):
            break
        value = read(change.before)
    return value


def _is_correction(issue: IssueRecord, change: IssueChange) -> bool:
    """Whether a change of an undated outcome has no place in time, as a later import leaves it.

    Reverting it would hide for ever an outcome that counts as known at the next row.
    """
    return issue.time_basis == "ordinal" and change.ordinal is None and change.field in OUTCOME_FIELDS


def _first_assignment(issue: IssueRecord, shown: dict[str, Any]) -> tuple[IssueChange, ...]:
    """A change at the creation, where no kept change says who held the issue; else nothing.

    Without it the result would lose its evidence: asked again, it would hide the assignee as a final one.
    """
    if shown["assignee"] is None or any(change.field == "assignee" for change in shown["changes"]):
        return ()
    held = IssueChange(field="assignee", before=None, after=shown["assignee"])
    if issue.time_basis == "date":
        return (replace(held, changed_at=issue.created_at),)
    return (replace(held, ordinal=issue.ordinal),)


def _text(text: str | None) -> str | None:
    return text


def _title(text: str | None) -> str:
    return text or ""


def _number(text: str | None) -> float | None:
    try:
        number = float(text or "")
    except ValueError:
        return None
    return number if math.isfinite(number) else None


OUTCOME_FIELDS = ("story_points", "effort_hours")
LARGEST_OUTCOMES = {"story_points": 1_000.0, "effort_hours": 100_000.0}
"""What is larger is no outcome but another unit or a slip; imports are held to the same by their suite."""
MOMENT_FIELDS = ("completed_at", "story_points_known_at")
"""Fields that say since when an outcome is known."""

# Fields that a recorded change reverts, with how the text of a change is read.
_REVERTIBLE: dict[str, Callable[[str | None], object]] = {
    "title": _title,
    **dict.fromkeys(("description", "issue_type", "component", "priority", "reporter", "assignee"), _text),
    **dict.fromkeys((*OUTCOME_FIELDS, "estimate_hours"), _number),
}
