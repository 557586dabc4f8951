"""Every folder of a model type keeps the contract that the generic parts rely on."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from generated import every_model_type, rows_for

from forecastle.errors import NotFoundError
from forecastle.learning.trainer import IssueTrainer
from forecastle.records.issues import MOMENT_FIELDS, OUTCOME_FIELDS
from forecastle.records.outcomes import NOTHING_KNOWN
from forecastle.registry.baselines import BASELINES, baseline
from forecastle.registry.declaration import ModelType, resolve
from forecastle.registry.examples import extract_all
from forecastle.registry.search import fit_all
from forecastle.validation.suite import load_suite
from projects import EXPECTATIONS, FAMILIES, ROOT, discover, get_model_type

TESTS = Path(__file__).parent
HEAVY = ("sklearn", "pandas", "scipy", "mlflow", "great_expectations", "flask", "psycopg", "pyarrow", "xgboost")
DOTTED = ("request", "answer", "answer_many", "scorer", "trainer")


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
        "requests hold no objects": lambda: _is_flat(model_type, _example(folder)),
        "example answer is valid": lambda: bool(model_type.answer_type().model_validate(_example(folder)["answer"])),
        "example holds nothing else": lambda: set(_example(folder)) == {"request", "answer"},
        "suite loads whole": lambda: load_suite(EXPECTATIONS / f"{model_type.dataset}.json").expectations > 0,
        "baselines are known": lambda: bool(model_type.baselines) and set(model_type.baselines) <= BASELINES,
        "the reference has no prior": lambda: next(iter(model_type.baselines.values())) == 0,
        "candidates are no baselines": lambda: not _candidates(model_type) & BASELINES,
        "blends are of candidates": lambda: _blends_are_of_candidates(model_type),
        "the last view needs no field": lambda: _needs_no_field_at_last(model_type),
        "views and groups are of the request": lambda: _fields_of_views_and_groups(model_type) <= _asked(model_type),
        "outcomes are kept": lambda: model_type.target in OUTCOME_FIELDS and model_type.known_field in MOMENT_FIELDS,
        "gate metric is declared": lambda: model_type.gate.metric in model_type.metrics,
        "required model types exist": lambda: set(model_type.requires) <= set(discover()),
        "its test file is there": lambda: (TESTS / folder.parent.name / f"test_{folder.name}.py").is_file(),
    }
    return [what for what, holds in checks.items() if not _holds(holds)]


def _candidates(model_type: ModelType) -> set[str]:
    trainer = resolve(model_type.trainer)
    return {*trainer.candidates, *trainer.blends}


def _blends_are_of_candidates(model_type: ModelType) -> bool:
    trainer = resolve(model_type.trainer)
    parts = {part for blend in trainer.blends.values() for part in blend}
    return parts <= set(trainer.candidates) and not set(trainer.blends) & set(trainer.candidates)


def _needs_no_field_at_last(model_type: ModelType) -> bool:
    *others, last = model_type.views.values()
    return last is None and None not in others


def _asked(model_type: ModelType) -> set[str]:
    return set(model_type.request_type().model_fields)


def _is_flat(model_type: ModelType, example: dict[str, Any]) -> bool:
    """Else the digest of a request would depend on the order in which the database keeps names."""
    values = model_type.request_type().model_validate(example["request"]).model_dump(mode="json").values()
    return not any("{" in json.dumps(value) for value in values if not isinstance(value, str))


def _fields_of_views_and_groups(model_type: ModelType) -> set[str]:
    grouped = {field for fields in model_type.groups.values() for field in fields}
    return grouped | {field for field in model_type.views.values() if field}


def _holds(check: Callable[[], bool]) -> bool:
    try:
        return check()
    except Exception:  # noqa: BLE001 - whatever is wrong with a folder, the contract is broken
        return False


def _example(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "example.json").read_text())
    return found


def test_model_types_are_found() -> None:
    assert {"delivery.story_points", "delivery.effort"} <= set(discover())
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
        ({"views": {}}, "the last view needs no field"),
        ({"views": {"typed": "issue_type"}}, "the last view needs no field"),
        ({"views": {"all": None, "typed": "issue_type", "rest": None}}, "the last view needs no field"),
        ({"views": {"estimated": "estimate_hours", "all": None}}, "views and groups are of the request"),
        ({"groups": {"component": ("component",)}}, "views and groups are of the request"),
        ({"trainer": "blended:OF_BASELINES"}, "candidates are no baselines"),
        ({"trainer": "blended:OF_NOTHING"}, "blends are of candidates"),
    ],
)
def test_a_declaration_that_breaks_the_contract_is_found(
    broken: dict[str, Any], expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    blended = ModuleType("blended")
    linear = {"linear_text": ({"alpha": 10.0},)}
    blended.__dict__["OF_BASELINES"] = IssueTrainer(linear, {"median": ("linear_text",)})
    blended.__dict__["OF_NOTHING"] = IssueTrainer(linear, {"blend": ("linear_text", "unheard_of")})
    monkeypatch.setitem(sys.modules, "blended", blended)
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
    assert loaded.isdisjoint({"sklearn", "xgboost", "pandas", "scipy", "mlflow", "great_expectations", "pyarrow"})


@every_model_type
def test_a_trainer_fits_exports_and_settles_generated_data(model_type: ModelType) -> None:
    scorer, trainer = resolve(model_type.scorer), resolve(model_type.trainer)
    extracted = extract_all(model_type, rows_for(model_type, projects=2, issues=80))
    assert trainer.candidates
    for examples in extracted.views.values():
        features = [example.features for example in examples]
        estimators = fit_all(trainer, {name: choices[0] for name, choices in trainer.candidates.items()}, examples)
        assert set(estimators) == _candidates(model_type)
        for candidate, estimator in estimators.items():
            form = scorer.load(json.loads(json.dumps(estimator.fast_form().as_json(), allow_nan=False)))
            expected = [float(value) for value in estimator.predict(features)]
            assert [form.estimate(each) for each in features] == pytest.approx(expected, rel=form.tolerance)
            for example, estimate in list(zip(examples, expected, strict=True))[::5]:
                assert_settled(scorer.settler(example.features, example.known)(candidate, estimate), example.target)
        for name in model_type.baselines:
            for example in (e for e in examples[::5] if e.known.project.count):
                estimate = baseline(name, example.features, example.known)
                assert_settled(scorer.settler(example.features, example.known)(name, estimate), example.target)


def assert_settled(settled: Any, truth: float) -> None:
    score = settled.score(truth)
    if score != float("inf"):
        low, high = settled.interval(score)
        assert low <= truth * (1 + 1e-12)
        assert truth <= high * (1 + 1e-12)
    low, high = settled.interval(0.0)
    assert low <= settled.value <= high


@every_model_type
def test_a_scorer_extracts_from_a_request_of_which_nothing_is_known(model_type: ModelType) -> None:
    request = model_type.request_type().model_validate(_example(folder_of(model_type))["request"])
    scorer = resolve(model_type.scorer)
    first, second = (scorer.extract(request.model_dump(), "new", NOTHING_KNOWN) for _ in range(2))
    assert str(first) == str(second)  # NaN equals nothing
    for rule in model_type.baselines:
        settled = scorer.settler(first, NOTHING_KNOWN)(rule, baseline(rule, first, NOTHING_KNOWN))
        low, high = settled.interval(1.0)
        assert 0 <= low <= settled.value <= high


@every_model_type
def test_a_scorer_packs_features_and_unpacks_the_same(model_type: ModelType) -> None:
    scorer = resolve(model_type.scorer)
    for view, examples in extract_all(model_type, rows_for(model_type, projects=2, issues=60)).views.items():
        for example in examples[::7]:
            content = scorer.pack(example.features)
            seen = model_type.masked(view, example.request)
            assert str(scorer.unpack(content, seen, example.cluster)) == str(example.features)


@every_model_type
def test_the_model_for_people_names_classes_that_exist(model_type: ModelType) -> None:
    for dotted in resolve(model_type.trainer).trusted_types:
        module, _, name = dotted.rpartition(".")
        assert isinstance(getattr(import_module(module), name), type)
