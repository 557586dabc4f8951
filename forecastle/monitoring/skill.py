"""Skill or silence: which method answers where."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class SkillTable:
    """The method with the lowest expected loss, by cluster; `default` answers for clusters not listed.

    Losses are relative to the reference's (0 is as good), by cluster: `measured` as it was on `rows` rows, `expected`
    after shrinkage.
    """

    default: str
    by_cluster: Mapping[str, str]
    rows: Mapping[str, int]
    measured: Mapping[str, Mapping[str, float]]
    expected: Mapping[str, Mapping[str, float]]
    general: Mapping[str, float] = field(default_factory=dict)
    """The expected loss over all clusters, for those not listed."""

    def method_for(self, cluster: str) -> str:
        return self.by_cluster.get(cluster, self.default)
