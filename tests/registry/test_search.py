"""A search tries settings on rows that the candidate had not seen, and changes nothing without a reason."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from generated import quick

from forecastle.learning.trainer import IssueTrainer
from forecastle.registry.declaration import ModelType
from forecastle.registry.examples import Examples, Extracted
from forecastle.registry.search import TRIALS, fit_all, search
from forecastle.registry.training import fit
from forecastle.registry.walking import Budget

CHOICES = ({"alpha": 10.0}, {"alpha": 3.0}, {"alpha": 1.0})


class Recorder:
    """A trainer whose candidates only say with which settings they were made."""

    candidates: Mapping[str, Sequence[Mapping[str, Any]]] = {"many": CHOICES, "one": ({"leaves": 5},)}
    blends: Mapping[str, Sequence[str]] = {"both": ("many", "one")}

    def __init__(self) -> None:
        self.made: list[tuple[str, Any]] = []

    def prepare(self, features: Sequence[Any]) -> Any:
        return features

    def make(self, candidate: str, settings: Any) -> Any:
        self.made.append((candidate, settings))

        class Made:
            def fit(self, issues: Any, targets: Any) -> Any:
                return settings

        return Made()

    def blend(self, parts: Sequence[Any]) -> Any:
        return tuple(parts)


def searched(losses: Mapping[float, Sequence[float]], most_trials: int = TRIALS) -> tuple[Any, list[Any], Recorder]:
    """What is chosen where each `alpha` has these losses on two rows of two clusters; the reference loses 2 on each."""
    trainer = Recorder()
    chosen, trials = search(
        trainer,  # type: ignore[arg-type]
        Examples([]),
        ["a", "b"],
        lambda candidate, made: (np.array(losses[made["alpha"]]), np.array([2.0, 2.0])),  # type: ignore[index]
        most_trials,
    )
    return chosen, trials, trainer


def test_the_settings_of_the_best_trial_are_chosen_and_every_trial_is_told() -> None:
    chosen, trials, _ = searched({10.0: [2, 2], 3.0: [1, 2], 1.0: [2, 4]})
    assert chosen == {"many": {"alpha": 3.0}, "one": {"leaves": 5}}
    assert [(t.candidate, t.settings["alpha"], t.loss) for t in trials] == [
        ("many", 10.0, 0.0), ("many", 3.0, pytest.approx(-0.25)), ("many", 1.0, pytest.approx(0.5)),
    ]  # fmt: skip


def test_the_default_wins_a_tie() -> None:
    chosen, _, _ = searched({10.0: [1, 2], 3.0: [1, 2], 1.0: [2, 1]})
    assert chosen["many"] == CHOICES[0]


def test_a_candidate_with_one_choice_needs_no_trial() -> None:
    _, trials, trainer = searched({10.0: [1, 1], 3.0: [1, 1], 1.0: [1, 1]})
    assert {trial.candidate for trial in trials} == {candidate for candidate, _ in trainer.made} == {"many"}


@pytest.mark.parametrize("most_trials, tried", [(1, 1), (2, 2), (99, 3)])
def test_no_more_settings_are_tried_than_asked_for(most_trials: int, tried: int) -> None:
    chosen, trials, _ = searched({10.0: [3, 3], 3.0: [2, 2], 1.0: [1, 1]}, most_trials)
    assert len(trials) == tried
    assert chosen["many"] == CHOICES[tried - 1]


def test_all_candidates_are_fitted_with_the_chosen_settings_and_blended() -> None:
    found = fit_all(Recorder(), {"many": CHOICES[2], "one": {"leaves": 5}}, Examples([]))  # type: ignore[arg-type]
    assert found == {"many": CHOICES[2], "one": {"leaves": 5}, "both": (CHOICES[2], {"leaves": 5})}


def test_a_budget_of_one_trial_tries_nothing_and_leaves_its_rows_to_choose_methods(
    model_type: ModelType, extracted: Extracted
) -> None:
    one, many = (fit(quick(model_type), extracted, budget=Budget(trials=trials)) for trials in (1, 6))
    assert one.main_view.trials == ()
    assert one.main_view.settings["linear_text"] == {"alpha": 10.0}
    assert len(many.main_view.trials) == 2
    assert many.main_view.walked_rows < one.main_view.walked_rows


def test_settings_that_are_clearly_better_are_those_that_answer(
    model_type: ModelType, extracted: Extracted, planted: Any
) -> None:
    trainer = IssueTrainer({"linear_text": ({"alpha": 1e7}, {"alpha": 10.0})}, {})
    found = fit(replace(model_type, trainer=f"{planted(TRAINER=trainer)}:TRAINER"), extracted).main_view
    assert found.settings == {"linear_text": {"alpha": 10.0}}
    assert found.estimator.alpha == 10.0
    assert min(found.trials, key=lambda trial: trial.loss).settings == {"alpha": 10.0}
