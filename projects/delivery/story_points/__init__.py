"""How many story points is this issue?"""

from forecastle.monitoring.policies import GatePolicy, RetrainingPolicy
from forecastle.registry.declaration import ModelType

_HERE = "projects.delivery.story_points"

MODEL_TYPE = ModelType(
    name="delivery.story_points",
    family="delivery",
    summary="Recommends story points for an issue, on the project's own scale.",
    task="regression",
    dataset="issues",
    target="story_points",
    split_unit="issue",
    cluster="project",
    known_at="the moment at which the points were set; for rows without dates, the next row of the project",
    known_field="story_points_known_at",
    route="/api/v1/ml/recommend-story-points/",
    request=f"{_HERE}.answer:StoryPointsRequest",
    answer=f"{_HERE}.answer:StoryPointsAnswer",
    answer_many=f"{_HERE}.answer:answer_many",
    scorer=f"{_HERE}.model:SCORER",
    trainer=f"{_HERE}.trainer:TRAINER",
    feature_modules=(f"{_HERE}.model", f"{_HERE}.rules"),
    groups={"issue_type": ("issue_type",)},
    looks_at_cases=True,
    views={"all": None},
    baselines={"rolling_median": 0.0, "median": 0.05, "mean": 0.1, "type_median": 0.03, "similarity": 0.05},
    metrics=("mae", "rank_correlation"),
    coverage_target=0.8,
    least_rows=50,
    gate=GatePolicy(metric="mae", margin=0.02, least_rows=100),
    retraining=RetrainingPolicy(oldest_days=30, new_rows=50),
)
