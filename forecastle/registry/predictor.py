"""Chooses the method that has skill, answers with it, and says which one it was."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from forecastle.monitoring.conformal import Thresholds
from forecastle.records.outcomes import Known
from forecastle.registry.baselines import BASELINES, baseline, own_baseline
from forecastle.registry.bundle import Bundle, View
from forecastle.registry.declaration import ModelType, Scorer, Settled, resolve
from forecastle.registry.examples import sees

Method = Literal["ml_model", "similarity", "baseline", "heuristic"]


@dataclass(frozen=True)
class Prediction:
    """One number with its interval; `rule` is the candidate or the baseline that gave it."""

    method: Method
    rule: str
    view: str
    features: Any
    estimate: float
    """What the rule says, in the target's unit, before it is settled; NaN where it has nothing to go by."""
    settled: Settled
    low: float
    high: float
    confidence: float
    """The probability of what the model type calls a hit, from earlier rows; NaN where none was measured."""
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

    @classmethod
    def of(cls, model_type: ModelType, bundle: Bundle | None) -> Predictor:
        return cls(model_type, resolve(model_type.scorer), bundle)

    def view_for(self, request: Mapping[str, Any]) -> str:
        """The first view that sees the request and was trained; what the request has beyond it is not looked at."""
        trained = list(self.model_type.views if self.bundle is None else self.bundle.views)
        return next((view for view in trained if sees(self.model_type, view, request)), trained[-1])

    def predict(self, cluster: str, request: Mapping[str, Any], known: Known) -> Prediction:
        view = self.view_for(request)
        seen = self.model_type.masked(view, request)
        groups = {name: known.groups[name] for name in self.model_type.group_keys(seen) if name in known.groups}
        known = replace(known, groups=groups)  # what was read may hold groups by fields that the view does not see
        return self.predict_extracted(view, cluster, self.scorer.extract(seen, cluster, known), known)

    def predict_extracted(self, view: str, cluster: str, features: Any, known: Known) -> Prediction:
        found = None if self.bundle is None else self.bundle.views[view]
        rule = self._rule_for(found, cluster, features, known)
        estimate = baseline(rule, features, known) if rule in BASELINES else self._estimate(found, features)
        settled = self.scorer.settler(features, known)(rule, estimate)
        thresholds = NO_THRESHOLDS if found is None else found.thresholds.get(rule, NO_THRESHOLDS)
        low, high = settled.interval(thresholds.of(cluster))
        return Prediction(
            method=_method(rule, estimate),
            rule=rule,
            view=view,
            features=features,
            estimate=estimate,
            settled=settled,
            low=low,
            high=high,
            confidence=settled.confidence(lambda score: thresholds.share_within(cluster, score)),
            coverage_target=self.model_type.coverage_target,
            baseline=baseline(self._reference, features, known),
            measured_loss=None if found is None else found.skill.measured.get(cluster, {}).get(rule),
            measured_rows=0 if found is None else found.skill.rows.get(cluster, 0),
        )

    @property
    def _reference(self) -> str:
        return next(iter(self.model_type.baselines))

    def _rule_for(self, view: View | None, cluster: str, features: Any, known: Known) -> str:
        if view is None:  # the baseline that is taken to be best and has something to go by
            ranked = sorted(self.model_type.baselines, key=self.model_type.baselines.__getitem__)
            return next((name for name in ranked if not math.isnan(own_baseline(name, features, known))), ranked[0])
        rule = view.skill.method_for(cluster)
        says_nothing = rule in BASELINES and math.isnan(baseline(rule, features, known))
        return view.candidate if says_nothing else rule

    def _estimate(self, view: View | None, features: Any) -> float:
        assert view is not None
        return view.model.estimate(features)


def _method(rule: str, estimate: float) -> Method:
    if rule not in BASELINES:
        return "ml_model"
    if math.isnan(estimate):
        return "heuristic"  # not even a baseline has anything to go by: the scale's customary value answers
    return "similarity" if rule == "similarity" else "baseline"


NO_THRESHOLDS = Thresholds(math.inf, {})
