"""Chooses the method that has skill, answers with it, and says which one it was."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from forecastle.monitoring.conformal import Thresholds
from forecastle.monitoring.skill import SkillTable
from forecastle.records.outcomes import Outcomes
from forecastle.registry.baselines import BASELINES
from forecastle.registry.bundle import Bundle
from forecastle.registry.declaration import ModelType, Scorer, Settled, resolve

Method = Literal["ml_model", "baseline"]


@dataclass(frozen=True)
class Prediction:
    """One number with its interval; `rule` is the candidate or the baseline that gave it."""

    method: Method
    rule: str
    settled: Settled
    low: float
    high: float
    coverage_target: float
    baseline: float
    """What the reference baseline says; NaN where nothing is known."""
    measured_loss: float | None
    """The rule's loss relative to the reference baseline's, where it was measured on the cluster's earlier rows."""
    measured_rows: int


@dataclass(frozen=True)
class Predictor:
    """Answers for one model type, from one bundle, or from the reference baseline alone where there is none."""

    model_type: ModelType
    scorer: Scorer
    bundle: Bundle | None
    skill: SkillTable
    thresholds: Mapping[str, Thresholds]

    @classmethod
    def of(cls, model_type: ModelType, bundle: Bundle | None) -> Predictor:
        scorer: Scorer = resolve(model_type.scorer)
        if bundle is not None:
            return cls(model_type, scorer, bundle, bundle.skill, bundle.thresholds)
        return cls(model_type, scorer, None, SkillTable(next(iter(model_type.baselines)), {}, {}, {}, {}), {})

    def predict(self, cluster: str, request: Mapping[str, Any], outcomes: Outcomes) -> Prediction:
        return self.predict_extracted(cluster, self.scorer.extract(request, cluster, outcomes), outcomes)

    def predict_extracted(self, cluster: str, features: Any, outcomes: Outcomes) -> Prediction:
        rule = self._rule_for(cluster, outcomes)
        settled = self.scorer.settle(rule, self._estimate(rule, features, outcomes), features, outcomes)
        thresholds = self.thresholds.get(rule)
        low, high = settled.interval(thresholds.of(cluster) if thresholds else math.inf)
        reference = next(iter(self.model_type.baselines))
        return Prediction(
            method="baseline" if rule in BASELINES else "ml_model",
            rule=rule,
            settled=settled,
            low=low,
            high=high,
            coverage_target=self.model_type.coverage_target,
            baseline=BASELINES[reference](outcomes),
            measured_loss=self.skill.measured.get(cluster, {}).get(rule),
            measured_rows=self.skill.rows.get(cluster, 0),
        )

    def _rule_for(self, cluster: str, outcomes: Outcomes) -> str:
        rule = self.skill.method_for(cluster)
        if rule in BASELINES and not outcomes.count and self.bundle is not None:
            return self.bundle.manifest.candidate  # a baseline of nothing says nothing
        return rule

    def _estimate(self, rule: str, features: Any, outcomes: Outcomes) -> float:
        if rule in BASELINES:
            return BASELINES[rule](outcomes)
        assert self.bundle is not None
        return self.bundle.model.estimate(features)
