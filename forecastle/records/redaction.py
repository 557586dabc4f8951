"""Erasing a person's name or an issue's text from whatever holds it: pure functions of JSON values."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

OMITTED = "…"
"""Stands where a title stood: it has to be something, and no model takes it for a word."""

PEOPLE_FIELDS = frozenset({"reporter", "assignee"})


@dataclass(frozen=True)
class PersonRedaction:
    """Puts a pseudonym in the place of a name, so that what is known by person goes on counting together.

    In the fields that hold people the whole value has to be the name. In all other texts it is found as a whole word,
    in any case; a name without a letter (a number, as some trackers have) is not looked for there, since it may
    mean anything.
    """

    name: str
    pseudonym: str

    def redact(self, value: Any, field: str = "") -> Any:
        if isinstance(value, str):
            return self._text(value, field)
        if isinstance(value, Mapping):
            return {name: self.redact(item, name) for name, item in value.items()}
        if isinstance(value, list | tuple):
            return [self.redact(item, field) for item in value]
        return value

    def _text(self, text: str, field: str) -> str:
        if field in PEOPLE_FIELDS and text == self.name:
            return self.pseudonym
        return self._mention.sub(self.pseudonym, text) if self._mention else text

    @cached_property
    def _mention(self) -> re.Pattern[str] | None:
        if not any(character.isalpha() for character in self.name):
            return None
        return re.compile(rf"(?<!\w){re.escape(self.name)}(?!\w)", re.IGNORECASE)


@dataclass(frozen=True)
class IssueRedaction:
    """Erases titles that an issue had, wherever they stand as a whole value."""

    titles: frozenset[str]

    def redact(self, value: Any) -> Any:
        if isinstance(value, str):
            return OMITTED if value in self.titles else value
        if isinstance(value, Mapping):
            return {name: self.redact(item) for name, item in value.items()}
        if isinstance(value, list | tuple):
            return [self.redact(item) for item in value]
        return value


def without_texts(fields: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of an issue without its title and description; what is absent or None stays so."""
    erased = {"title": OMITTED, "description": ""}
    return {name: value if value is None else erased.get(name, value) for name, value in fields.items()}
