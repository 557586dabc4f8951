"""What learns story points: candidates with the settings that a search tries."""

from __future__ import annotations

from forecastle.learning.trainer import IssueTrainer

TRAINER = IssueTrainer(
    candidates={
        "linear_text": ({"alpha": 10.0}, {"alpha": 5.0}, {"alpha": 20.0}),
        "ordinal": ({"alpha": 10.0},),
        "boosted_trees": ({"depth": 4}, {"depth": 6}),
        "stacked_trees": ({"depth": 4, "alpha": 10.0},),
        "gradient_boosting": ({"leaves": 15},),
        "shrinkage": ({"rows": 10.0, "groups": ("issue_type",)}, {"rows": 40.0, "groups": ("issue_type",)}),
    },
    blends={"blend": ("linear_text", "stacked_trees")},
)
