"""Features as a table, for people who load a model from MLflow: one row an issue, a column a number."""

from __future__ import annotations

from array import array
from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import pandas as pd

from forecastle.features.issues import IssueFeatures
from forecastle.features.levels import LogLevels, LogScale
from forecastle.features.text import Words

_PLAIN = ("cluster", "centre", "spread", "weight", "estimate", "similar")
_NUMBER = "number."
_LEVELS = tuple(name for name in LogLevels.__dataclass_fields__ if name != "ladder")
_SCALE = tuple(LogScale.__dataclass_fields__)


def table_of(issues: Sequence[IssueFeatures]) -> pd.DataFrame:
    """Columns: the plain fields, words joined by blanks (labels by line ends), `level.*`, `scale.*`, `number.*`."""
    rows = [
        {
            **{name: getattr(issue, name) for name in _PLAIN},
            "title": " ".join(issue.title),
            "description": " ".join(issue.description),
            "labels": "\n".join(issue.labels),
            **{f"level.{name}": getattr(issue.levels, name) for name in _LEVELS},
            "level.ladder": list(issue.levels.ladder),
            **{f"scale.{name}": getattr(issue.scale, name) for name in _SCALE},
            **{f"{_NUMBER}{name}": number for name, number in zip(issue.names, issue.numbers, strict=True)},
        }
        for issue in issues
    ]
    return pd.DataFrame(rows)


def issues_of(table: pd.DataFrame) -> list[IssueFeatures]:
    """The issues of such a table."""
    names = tuple(str(name).removeprefix(_NUMBER) for name in table.columns if str(name).startswith(_NUMBER))
    return [_issue(row, names) for row in table.to_dict("records")]


def _issue(row: Mapping[Hashable, Any], names: tuple[str, ...]) -> IssueFeatures:
    ladder = tuple(float(value) for value in row["level.ladder"])
    return IssueFeatures(
        **{name: row[name] for name in _PLAIN},
        names=names,
        numbers=array("d", (float(row[f"{_NUMBER}{name}"]) for name in names)),
        title=_words(row["title"]),
        description=_words(row["description"]),
        labels=tuple(label for label in str(row["labels"]).split("\n") if label),
        levels=LogLevels(**{name: row[f"level.{name}"] for name in _LEVELS}, ladder=ladder),
        scale=LogScale(**{name: row[f"scale.{name}"] for name in _SCALE}),
    )


def _words(text: object) -> Words:
    return tuple(str(text).split())
