"""Realised figures as they are shown."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class _Shown(BaseModel):
    model_config = ConfigDict(from_attributes=True)


class SkillFigures(_Shown):
    """By how much less was lost than by the reference baseline on the same rows, relative."""

    value: float | None = Field(description="0.1 is a tenth less, below 0 is worse; null where the baseline never errs")
    low: float | None = Field(description="One-sided 95 % bound; null where nothing bounds it")
    high: float | None = Field(description="One-sided 95 % bound; null where nothing bounds it")


class CoverageFigures(_Shown):
    """How often intervals held the outcome."""

    share: float
    low: float = Field(description="Of the exact 95 % interval of the share")
    high: float
    target: float = Field(description="The share that was promised")


class RealisedFigures(_Shown):
    """Figures over answers whose outcome is known; null where there are too few of them, and then a note says so."""

    rows: int = Field(description="Answers with a known outcome; of several about one issue the first counts")
    compared: int = Field(description="Of these, with a baseline beside them: the losses are over these rows")
    mean_absolute_error: float | None = Field(description="Of what was served, in the unit of the target")
    baseline_mean_absolute_error: float | None = Field(description="Of the reference baseline on the same rows")
    skill: SkillFigures | None
    coverage: CoverageFigures | None
    note: str | None
