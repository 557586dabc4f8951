"""Chooses the method that has skill, answers with it, and says which one it was."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
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
class _Row:
    """One request as its view sees it; `found` is the view, None where there is no bundle."""

    view: str
    found: View | None
    cluster: str
    features: Any
    known: Known


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
        trained = self.model_type.views if self.bundle is None else self.bundle.views
        for view in trained:
            if sees(self.model_type, view, request):
                break
        return view

    def predict(self, cluster: str, request: Mapping[str, Any], known: Known) -> Prediction:
        (prediction,) = self.predict_many([(cluster, request, known)])
        return prediction

    def predict_many(self, asked: Sequence[tuple[str, Mapping[str, Any], Known]]) -> list[Prediction]:
        """A prediction for each cluster, request and what was known; a view's candidate is asked for all at once."""
        rows = [self._extracted(*each) for each in asked]
        rules = [self._rule_for(row.found, row.cluster, row.features, row.known) for row in rows]
        estimates = self._estimates(rows, rules)
        pairs = zip(rows, rules, estimates, strict=True)
        return [self._settled(row, rule, estimate) for row, rule, estimate in pairs]

    def predict_extracted(self, view: str, cluster: str, features: Any, known: Known) -> Prediction:
        row = _Row(view, None if self.bundle is None else self.bundle.views[view], cluster, features, known)
        rule = self._rule_for(row.found, cluster, features, known)
        (estimate,) = self._estimates([row], [rule])
        return self._settled(row, rule, estimate)

    def _extracted(self, cluster: str, request: Mapping[str, Any], known: Known) -> _Row:
        view = self.view_for(request)
        seen = self.model_type.masked(view, request)
        if seen is not request:  # what was read may hold groups by fields that the view does not see
            groups = {name: known.groups[name] for name in self.model_type.group_keys(seen) if name in known.groups}
            known = Known(known.project, groups, known.cases)
        found = None if self.bundle is None else self.bundle.views[view]
        return _Row(view, found, cluster, self.scorer.extract(seen, cluster, known), known)

    def _estimates(self, rows: Sequence[_Row], rules: Sequence[str]) -> list[float]:
        """What each row's rule says, in the target's unit."""
        estimates = [math.nan] * len(rows)
        by_view: dict[str, list[int]] = {}
        for place, (row, rule) in enumerate(zip(rows, rules, strict=True)):
            if rule in BASELINES:
                estimates[place] = baseline(rule, row.features, row.known)
            else:
                by_view.setdefault(row.view, []).append(place)
        for places in by_view.values():
            view = rows[places[0]].found
            assert view is not None
            found = view.model.estimates([rows[place].features for place in places])
            for place, estimate in zip(places, found, strict=True):
                estimates[place] = estimate
        return estimates

    def _settled(self, row: _Row, rule: str, estimate: float) -> Prediction:
        view, found, cluster, features, known = row.view, row.found, row.cluster, row.features, row.known
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


def _method(rule: str, estimate: float) -> Method:
    if rule not in BASELINES:
        return "ml_model"
    if math.isnan(estimate):
        return "heuristic"  # not even a baseline has anything to go by: the scale's customary value answers
    return "similarity" if rule == "similarity" else "baseline"


NO_THRESHOLDS = Thresholds(math.inf, {})
