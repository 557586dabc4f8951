"""A model type on numbers alone, for the benchmark of serving; nothing discovers it."""

from forecastle.monitoring.policies import GatePolicy, RetrainingPolicy
from forecastle.registry.declaration import ModelType

_HERE = "benchmarks.numeric"

MODEL_TYPE = ModelType(
    name="delivery.numeric",
    family="delivery",
    summary="Says a number for ten numbers.",
    task="regression",
    dataset="issues",
    target="effort_hours",
    split_unit="issue",
    cluster="project",
    known_at="the completion",
    known_field="completed_at",
    route="/api/v1/ml/benchmark/",
    request=f"{_HERE}.answer:NumericRequest",
    answer=f"{_HERE}.answer:NumericAnswer",
    answer_many=f"{_HERE}.answer:answer_many",
    scorer=f"{_HERE}.model:SCORER",
    trainer=f"{_HERE}.training:fit",
    feature_modules=(f"{_HERE}.model",),
    groups={},
    looks_at_cases=False,
    views={"all": None},
    baselines={"rolling_median": 0.0},
    metrics=("mae",),
    coverage_target=0.8,
    least_rows=50,
    gate=GatePolicy(metric="mae", margin=0.02, least_rows=100),
    retraining=RetrainingPolicy(oldest_days=30, new_rows=50),
)
