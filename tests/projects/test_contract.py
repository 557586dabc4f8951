"""Every folder of a model type keeps the contract that the generic parts rely on."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from forecastle.errors import NotFoundError
from forecastle.generator.issues import Portfolio, generate_issues
from forecastle.records.issues import MOMENT_FIELDS, OUTCOME_FIELDS, IssueRecord
from forecastle.records.outcomes import NONE_KNOWN
from forecastle.registry.baselines import BASELINES
from forecastle.registry.dataset import rows_of_issues
from forecastle.registry.declaration import ModelType, resolve
from forecastle.registry.examples import make_examples
from forecastle.validation.suite import load_suite
from projects import EXPECTATIONS, FAMILIES, ROOT, discover, get_model_type

TESTS = Path(__file__).parent
HEAVY = ("sklearn", "pandas", "scipy", "mlflow", "great_expectations", "flask", "psycopg", "pyarrow")
DOTTED = ("request", "answer", "answer_many", "scorer", "trainer")

every_model_type = pytest.mark.parametrize("model_type", [pytest.param(m, id=n) for n, m in discover().items()])


def folder_of(model_type: ModelType) -> Path:
    """Where a model type with this name has to lie."""
    family, _, folder = model_type.name.partition(".")
    return ROOT / "projects" / family / folder


def problems_of(model_type: ModelType) -> list[str]:
    """What a declaration breaks of the contract."""
    folder = folder_of(model_type)
    checks: dict[str, Callable[[], bool]] = {
        "name is family.folder": lambda: (folder / "__init__.py").is_file() and folder.parent.name == model_type.family,
        "dotted names resolve": lambda: all(resolve(getattr(model_type, name)) is not None for name in DOTTED),
        "feature modules import": lambda: all(import_module(name) for name in model_type.feature_modules),
        "feature code is digested": lambda: model_type.scorer.partition(":")[0] in model_type.feature_modules,
        "README.md is there": lambda: bool((folder / "README.md").read_text().strip()),
        "example request is valid": lambda: bool(model_type.request_type().model_validate(_example(folder)["request"])),
        "example answer is valid": lambda: bool(model_type.answer_type().model_validate(_example(folder)["answer"])),
        "example holds nothing else": lambda: set(_example(folder)) == {"request", "answer"},
        "suite loads whole": lambda: load_suite(EXPECTATIONS / f"{model_type.dataset}.json").expectations > 0,
        "baselines are known": lambda: bool(model_type.baselines) and set(model_type.baselines) <= set(BASELINES),
        "the reference has no prior": lambda: next(iter(model_type.baselines.values())) == 0,
        "candidates are no baselines": lambda: not set(resolve(model_type.trainer).candidates) & set(BASELINES),
        "outcomes are kept": lambda: model_type.target in OUTCOME_FIELDS and model_type.known_field in MOMENT_FIELDS,
        "gate metric is declared": lambda: model_type.gate.metric in model_type.metrics,
        "required model types exist": lambda: set(model_type.requires) <= set(discover()),
        "its test file is there": lambda: (TESTS / folder.parent.name / f"test_{folder.name}.py").is_file(),
    }
    return [what for what, holds in checks.items() if not _holds(holds)]


def _holds(check: Callable[[], bool]) -> bool:
    try:
        return check()
    except Exception:  # noqa: BLE001 - whatever is wrong with a folder, the contract is broken
        return False


def _example(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "example.json").read_text())
    return found


def test_model_types_are_found() -> None:
    assert "delivery.story_points" in discover()
    assert {name.partition(".")[0] for name in discover()} <= set(FAMILIES)


def test_every_folder_of_a_family_is_a_model_type() -> None:
    folders = {
        f"{family}.{folder.parent.name}"
        for family in FAMILIES
        for folder in (ROOT / "projects" / family).glob("*/__init__.py")
    }
    assert set(discover()) == folders


@every_model_type
def test_a_folder_keeps_the_contract(model_type: ModelType) -> None:
    assert problems_of(model_type) == []


@every_model_type
def test_numbers_of_a_declaration_make_sense(model_type: ModelType) -> None:
    assert 0 < model_type.coverage_target < 1
    assert model_type.least_rows > 0
    assert 0 < model_type.gate.margin < 1
    assert model_type.route.startswith("/api/v1/")
    assert model_type.summary.endswith(".")


def test_no_two_model_types_have_the_same_route() -> None:
    routes = [model_type.route for model_type in discover().values()]
    assert len(set(routes)) == len(routes)


@pytest.mark.parametrize(
    "broken, expected",
    [
        ({"name": "delivery.elsewhere"}, "name is family.folder"),
        ({"family": "reliability"}, "name is family.folder"),
        ({"answer_many": "projects.delivery.story_points.answer:nothing"}, "dotted names resolve"),
        ({"trainer": "projects.delivery.nowhere:TRAINER"}, "dotted names resolve"),
        ({"feature_modules": ("projects.delivery.nowhere",)}, "feature modules import"),
        ({"feature_modules": ()}, "feature code is digested"),
        ({"request": "projects.delivery.story_points.answer:Interval"}, "example request is valid"),
        ({"answer": "projects.delivery.story_points.answer:Interval"}, "example answer is valid"),
        ({"dataset": "nothing"}, "suite loads whole"),
        ({"baselines": {"guess": 0.0}}, "baselines are known"),
        ({"baselines": {}}, "baselines are known"),
        ({"baselines": {"median": 0.1}}, "the reference has no prior"),
        ({"target": "lines_of_code"}, "outcomes are kept"),
        ({"metrics": ("rmse",)}, "gate metric is declared"),
        ({"requires": ("delivery.unheard_of",)}, "required model types exist"),
    ],
)
def test_a_declaration_that_breaks_the_contract_is_found(broken: dict[str, Any], expected: str) -> None:
    assert expected in problems_of(replace(get_model_type("delivery.story_points"), **broken))


def test_a_folder_that_is_not_there_lacks_everything_in_it() -> None:
    found = problems_of(replace(get_model_type("delivery.story_points"), name="delivery.elsewhere"))
    assert {"README.md is there", "example request is valid", "its test file is there"} <= set(found)


def test_an_unknown_model_type_is_not_found_and_those_that_exist_are_named() -> None:
    with pytest.raises(NotFoundError, match=r"no model type delivery\.guess; there are: .*delivery\.story_points"):
        get_model_type("delivery.guess")


def test_declarations_import_nothing_heavy() -> None:
    code = "import sys, projects; projects.discover(); print(*sys.modules)"
    ran = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    loaded = {name.partition(".")[0] for name in ran.stdout.split()}
    assert "projects" in loaded
    assert loaded.isdisjoint(HEAVY)


def test_what_answers_imports_nothing_that_only_training_needs() -> None:
    code = (
        "import sys, projects\n"
        "from forecastle.registry.declaration import resolve\n"
        "for m in projects.discover().values(): resolve(m.answer_many), resolve(m.scorer)\n"
        "print(*sys.modules)"
    )
    ran = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    loaded = {name.partition(".")[0] for name in ran.stdout.split()}
    assert loaded.isdisjoint({"sklearn", "pandas", "scipy", "mlflow", "great_expectations", "pyarrow"})


def _issues(model_type: ModelType) -> list[IssueRecord]:
    if model_type.dataset != "issues":
        pytest.skip(f"no generator of {model_type.dataset} here yet")
    return list(generate_issues(Portfolio(projects=2, issues=80)))


@every_model_type
def test_a_trainer_fits_exports_and_settles_generated_data(model_type: ModelType) -> None:
    scorer, trainer = resolve(model_type.scorer), resolve(model_type.trainer)
    examples = list(make_examples(rows_of_issues(model_type, _issues(model_type)).rows, scorer))
    features, targets = [e.features for e in examples], [e.target for e in examples]
    assert trainer.candidates
    for candidate in trainer.candidates:
        estimator = trainer.fit(candidate, features, targets)
        form = scorer.load(json.loads(json.dumps(estimator.fast_form().as_json(), allow_nan=False)))
        expected = [float(value) for value in estimator.predict(features)]
        assert [form.estimate(each) for each in features] == pytest.approx(expected, rel=1e-9)
        for example, estimate in zip(examples[::5], expected[::5], strict=True):
            assert_settled(scorer.settle(candidate, estimate, example.features, example.outcomes), example.target)
    for name in model_type.baselines:
        for example in (e for e in examples[::5] if e.outcomes.count):
            estimate = BASELINES[name](example.outcomes)
            assert_settled(scorer.settle(name, estimate, example.features, example.outcomes), example.target)


def assert_settled(settled: Any, truth: float) -> None:
    score = settled.score(truth)
    if score != float("inf"):
        low, high = settled.interval(score)
        assert low <= truth <= high
    low, high = settled.interval(0.0)
    assert low <= settled.value <= high


@every_model_type
def test_a_scorer_extracts_from_a_request_of_which_nothing_is_known(model_type: ModelType) -> None:
    request = model_type.request_type().model_validate(_example(folder_of(model_type))["request"])
    scorer = resolve(model_type.scorer)
    first, second = (scorer.extract(request.model_dump(), "new", NONE_KNOWN) for _ in range(2))
    assert first == second


@every_model_type
def test_the_model_for_people_names_classes_that_exist(model_type: ModelType) -> None:
    for dotted in resolve(model_type.trainer).trusted_types:
        module, _, name = dotted.rpartition(".")
        assert isinstance(getattr(import_module(module), name), type)
