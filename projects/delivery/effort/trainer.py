"""What learns hours: candidates with the settings that a search tries."""

from __future__ import annotations

from forecastle.learning.trainer import IssueTrainer

LEVELS = ("issue_type", "component", "assignee_type")

TRAINER = IssueTrainer(
    candidates={
        "boosted_trees": ({"depth": 4}, {"depth": 6}),
        "stacked_trees": ({"depth": 4},),
        "gradient_boosting": ({"leaves": 15},),
        "linear_text": ({"alpha": 3.0}, {"alpha": 10.0}, {"alpha": 30.0}),
        "ordinal": ({"alpha": 10.0},),
        "shrinkage": ({"rows": 10.0, "groups": LEVELS}, {"rows": 40.0, "groups": LEVELS}),
    },
    blends={"blend": ("stacked_trees", "boosted_trees", "gradient_boosting")},
)
