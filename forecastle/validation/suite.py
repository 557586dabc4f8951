"""Loading an expectation suite, whole or not at all.

Great Expectations logs and drops an expectation whose type it does not know, and validates with the rest.
A suite that lost a rule would pass rows that it should refuse, so whatever did not load is an error here.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from forecastle.errors import SuiteError
from forecastle.validation.engine import great_expectations

_TOP_LEVEL = {"name", "id", "expectations", "meta", "notes", "suite_parameters"}


@dataclass(frozen=True)
class Suite:
    """A suite that loaded whole: its name, its expectations and the columns of a frame that they look at."""

    name: str
    expectations: int
    columns: frozenset[str]
    loaded: Any  # the ExpectationSuite of Great Expectations, which has no types


def load_suite(path: Path) -> Suite:
    """Read the suite from `path`, a JSON file as Great Expectations writes it.

    Every expectation must look at rows and carry a sentence in `meta.rule`; `meta.column` may name the column
    to report. Raises SuiteError naming every expectation that did not load and why, where the file is not a
    suite, or where it expects nothing.
    """
    document = _read(path)
    declared = document["expectations"]
    loaded, problems = [], []
    for number, entry in enumerate(declared, start=1):
        expectation, problem = _load(document["name"], entry)
        if expectation is None:
            problems.append(f"expectation {number} ({_type_of(entry)}): {problem}")
        else:
            loaded.append(expectation)
    if problems:
        raise SuiteError("\n".join([f"{path} did not load whole; mend these expectations", *problems]))
    suite = great_expectations().ExpectationSuite(name=document["name"], expectations=loaded)
    _require_whole(path, [entry["type"] for entry in declared], suite)
    columns = frozenset(column for expectation in loaded for column in _columns(expectation))
    return Suite(document["name"], len(loaded), columns, suite)


def _read(path: Path) -> dict[str, Any]:
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not JSON in UTF-8"
        raise SuiteError(f"{path}: the expectation suite cannot be read: {reason}") from None
    if not isinstance(document, dict) or not isinstance(document.get("name"), str) or not document["name"]:
        raise SuiteError(f"{path}: not an expectation suite: it has no name")
    if unknown := sorted(set(document) - _TOP_LEVEL):
        raise SuiteError(f"{path}: unknown entries of the suite: {', '.join(unknown)}")
    expectations = document.get("expectations")
    if not isinstance(expectations, list) or not expectations:
        raise SuiteError(f"{path}: the suite expects nothing, so it would pass everything")
    return document


def _type_of(entry: object) -> str:
    return str(entry.get("type", "without a type")) if isinstance(entry, Mapping) else "not an object"


def _load(name: str, entry: object) -> tuple[Any, str]:
    """The expectation of one entry, or None and why it did not load."""
    from pydantic.v1 import ValidationError

    meta = entry.get("meta") if isinstance(entry, Mapping) else None
    rule = meta.get("rule") if isinstance(meta, Mapping) else None
    if not isinstance(rule, str) or not rule.strip():
        return None, "meta.rule must hold the rule as a sentence"
    try:
        suite = great_expectations().ExpectationSuite(name=name, expectations=[entry])
    except ValidationError as error:
        return None, "; ".join(f"{'.'.join(map(str, part['loc']))}: {part['msg']}" for part in error.errors())
    except (TypeError, ValueError) as error:
        return None, str(error)
    if not suite.expectations:
        return None, "Great Expectations does not know this type and dropped it"
    if not _columns(suite.expectations[0]):
        return None, "it looks at no column of a row, so it cannot name the rows that break it"
    return suite.expectations[0], ""


def _columns(expectation: Any) -> list[str]:
    """The columns whose rows the expectation judges; none for one that judges a table or an aggregate."""
    from great_expectations.expectations import expectation as kinds

    if isinstance(expectation, kinds.ColumnMapExpectation):
        return [expectation.column]
    if isinstance(expectation, kinds.ColumnPairMapExpectation):
        return [expectation.column_A, expectation.column_B]
    if isinstance(expectation, kinds.MulticolumnMapExpectation):
        return list(expectation.column_list)
    return []


def _require_whole(path: Path, declared: list[str], suite: Any) -> None:
    kept = Counter(expectation.expectation_type for expectation in suite.expectations)
    if lost := sorted((Counter(declared) - kept).elements()):
        raise SuiteError(f"{path} did not load whole; dropped: {', '.join(lost)}")
