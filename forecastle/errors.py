"""Everything Forecastle raises on purpose, in one tree.

    ForecastleError
    ├── ConfigurationError        a setting is missing or makes no sense
    ├── ServerError               an embedded or external server is not there (trying again may help)
    ├── NotFoundError             what was asked for does not exist
    ├── NotAllowedError           the principal's role does not permit it
    │   └── NotAuthenticatedError no key, or one that is not known
    ├── InputError                what was handed in is wrong
    │   ├── InvalidRowsError      rows of a file broke rules of the expectation suite
    │   ├── NotEnoughDataError    fewer rows than declared
    │   └── PreconditionRequiredError  it was not said what the change is based on
    ├── NothingServesError        no version of this model type is in production
    ├── ConflictError             somebody else moved first (trying again may help)
    │   └── PreconditionFailedError  what the change is based on is no longer so
    ├── SuiteError                an expectation suite did not load whole
    ├── TrainingError             a training run failed
    └── IntegrityError            a file is not the one that the ledger approved
        └── FeatureCodeError      a bundle was made with other feature code

`code` is stable and public; HTTP statuses stand in one table in `serving/problems.py`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar


class ForecastleError(Exception):
    """The root: `str()` is a sentence that says what to do next."""

    code: ClassVar[str] = "error"
    retryable: ClassVar[bool] = False


class ConfigurationError(ForecastleError):
    code = "configuration"


class ServerError(ForecastleError):
    code = "server_unavailable"
    retryable = True


class NotFoundError(ForecastleError):
    code = "not_found"


class NotAllowedError(ForecastleError):
    code = "not_allowed"


class NotAuthenticatedError(NotAllowedError):
    code = "not_authenticated"


class InputError(ForecastleError):
    code = "invalid_input"


@dataclass(frozen=True)
class BrokenRow:
    """One row that broke one rule: where it stands and which rule it was."""

    file: str
    line: int
    column: str
    rule: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.column}: {self.rule}"


class InvalidRowsError(InputError):
    code = "invalid_rows"

    def __init__(self, broken: list[BrokenRow], shown: int = 20) -> None:
        self.broken = broken
        rows = len({(row.file, row.line) for row in broken})
        lines = [
            f"{rows} {'row breaks' if rows == 1 else 'rows break'} rules of the expectation suite; nothing was kept"
        ]
        lines += [str(row) for row in broken[:shown]]
        if len(broken) > shown:
            lines.append(f"... and {len(broken) - shown} more")
        lines.append("mend the rows, or leave them out with --on-error skip")
        super().__init__("\n".join(lines))


class NotEnoughDataError(InputError):
    code = "not_enough_data"

    def __init__(self, what: str, rows: int, required: int) -> None:
        self.rows, self.required = rows, required
        missing = required - rows
        super().__init__(
            f"{what}: {rows} usable rows, {required} required, {missing} missing; "
            f"import {missing} more rows with a known outcome, or wait until outcomes are known, and train again"
        )


class PreconditionRequiredError(InputError):
    code = "precondition_required"


class NothingServesError(ForecastleError):
    code = "nothing_serves"


class ConflictError(ForecastleError):
    code = "conflict"
    retryable = True


class PreconditionFailedError(ConflictError):
    code = "precondition_failed"
    retryable = False


class SuiteError(ForecastleError):
    code = "expectation_suite"


class TrainingError(ForecastleError):
    code = "training"


class IntegrityError(ForecastleError):
    code = "integrity"


class FeatureCodeError(IntegrityError):
    code = "feature_code"
