"""Generated rows for every model type, and a trainer that needs no second."""

from __future__ import annotations

from dataclasses import replace

import pytest

from forecastle.generator.dated import DatedPortfolio, generate_dated_issues
from forecastle.generator.issues import Portfolio, generate_issues
from forecastle.learning.trainer import IssueTrainer
from forecastle.records.issues import IssueRecord
from forecastle.registry.dataset import rows_of_issues
from forecastle.registry.declaration import ModelType
from forecastle.registry.examples import Row
from projects import discover

every_model_type = pytest.mark.parametrize("model_type", [pytest.param(m, id=n) for n, m in discover().items()])

QUICK = IssueTrainer(
    candidates={"linear_text": ({"alpha": 10.0}, {"alpha": 3.0}), "shrinkage": ({"rows": 10.0, "groups": ()},)},
    blends={"blend": ("linear_text", "shrinkage")},
)


def quick(model_type: ModelType) -> ModelType:
    """The model type with candidates that are fitted at once, for what does not depend on them."""
    return replace(model_type, trainer=f"{__name__}:QUICK")


def issues_for(model_type: ModelType, projects: int = 3, issues: int = 120) -> list[IssueRecord]:
    """Synthetic issues with the outcome that the model type learns: undated ones with points, dated ones with hours."""
    if model_type.target == "story_points":
        return list(generate_issues(Portfolio(projects=projects, issues=issues)))
    if model_type.target == "effort_hours":
        return list(generate_dated_issues(DatedPortfolio(projects=projects, issues=issues)))
    pytest.skip(f"no generator of {model_type.target} here yet")


def rows_for(model_type: ModelType, projects: int = 3, issues: int = 120) -> tuple[Row, ...]:
    return rows_of_issues(model_type, issues_for(model_type, projects, issues)).rows
