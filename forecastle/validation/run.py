"""Running a suite over a frame: which row broke which rule on which column."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pandas as pd

from forecastle.errors import SuiteError
from forecastle.validation.engine import quiet_context
from forecastle.validation.suite import Suite

# COMPLETE lists every broken row; without the query text and the rows themselves it takes 1 s for 100,000.
_RESULT_FORMAT = {
    "result_format": "COMPLETE",
    "return_unexpected_index_query": False,
    "include_unexpected_rows": False,
}


@dataclass(frozen=True)
class Violation:
    """Row `row` (0-based position in the frame) broke `rule`, a sentence of the suite, on `column`."""

    row: int
    column: str
    rule: str


@dataclass(frozen=True)
class ValidationReport:
    """What one run found, ordered by row; `expectations` is how many rules were looked at."""

    suite: str
    rows: int
    expectations: int
    violations: tuple[Violation, ...]

    @property
    def passed(self) -> bool:
        """Whether no row broke any rule."""
        return not self.violations


def validate(frame: pd.DataFrame, suite: Suite) -> ValidationReport:
    """Hold every row of `frame` against every expectation of `suite`.

    Raises SuiteError where the suite looks at a column that the frame has not, or an expectation cannot be
    computed on its column (a rule that did not run must not pass).
    """
    if missing := sorted(suite.columns - set(frame.columns)):
        raise SuiteError(f"suite {suite.name}: it looks at columns that are not there: {', '.join(missing)}")
    violations = sorted(_violations(frame, suite), key=lambda violation: violation.row) if len(frame) else []
    return ValidationReport(suite.name, len(frame), suite.expectations, tuple(violations))


def _violations(frame: pd.DataFrame, suite: Suite) -> Iterator[Violation]:
    asset = quiet_context().data_sources.add_pandas("frame").add_dataframe_asset("rows")
    batches = asset.add_batch_definition_whole_dataframe("all")
    batch = batches.get_batch({"dataframe": frame.reset_index(drop=True)})
    outcome = batch.validate(suite.loaded, result_format=_RESULT_FORMAT)
    ran = len(outcome.results)
    if ran != suite.expectations:
        raise SuiteError(f"suite {suite.name}: {ran} of {suite.expectations} expectations ran")
    for result in outcome.results:
        yield from _of_one(result, suite.name)


def _of_one(result: Any, suite: str) -> Iterator[Violation]:
    config = result.expectation_config
    column = config.meta.get("column") or next(
        str(value) for name, value in config.kwargs.items() if name.startswith("column")
    )
    if "unexpected_index_list" not in result.result:
        # Great Expectations' own message may quote cells, so it is not repeated here.
        raise SuiteError(f"suite {suite}: {config.type} cannot be computed on column {column}")
    for row in result.result["unexpected_index_list"]:
        yield Violation(int(row), column, config.meta["rule"])
