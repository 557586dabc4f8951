"""How many hours of work will this issue take?"""

from forecastle.monitoring.policies import GatePolicy, RetrainingPolicy
from forecastle.registry.declaration import ModelType

_HERE = "projects.delivery.effort"

MODEL_TYPE = ModelType(
    name="delivery.effort",
    family="delivery",
    summary="Predicts the hours of work that an issue takes.",
    task="regression",
    dataset="issues",
    target="effort_hours",
    split_unit="issue",
    cluster="project",
    known_at="the completion; for rows without dates, the next row of the project",
    known_field="completed_at",
    route="/api/v1/ml/predict-effort/",
    request=f"{_HERE}.answer:EffortRequest",
    answer=f"{_HERE}.answer:EffortAnswer",
    answer_many=f"{_HERE}.answer:answer_many",
    scorer=f"{_HERE}.model:SCORER",
    trainer=f"{_HERE}.trainer:TRAINER",
    feature_modules=(f"{_HERE}.model", f"{_HERE}.rules"),
    groups={
        "issue_type": ("issue_type",),
        "component": ("component",),
        "reporter": ("reporter",),
        "assignee": ("assignee",),
        "assignee_type": ("assignee", "issue_type"),
        "same_estimate": ("estimate_hours",),
    },
    looks_at_cases=True,
    views={"estimated": "estimate_hours", "unestimated": None},
    baselines={
        "rolling_median": 0.0,
        "estimate": -0.1,
        "type_median": 0.0,
        "median": 0.05,
        "mean": 0.3,
        "similarity": 0.05,
    },
    metrics=("mae", "within_factor_2", "rank_correlation"),
    coverage_target=0.8,
    least_rows=50,
    gate=GatePolicy(metric="mae", margin=0.02, least_rows=100),
    retraining=RetrainingPolicy(oldest_days=30, new_rows=50),
)
