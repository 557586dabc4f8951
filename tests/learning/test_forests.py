"""Many rows through many trees at once say what each row says by itself."""

from __future__ import annotations

import gc
from array import array
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from trees import NUMBERS, trees

from forecastle.features.issues import IssueFeatures
from forecastle.features.levels import LogLevels, LogScale
from forecastle.features.text import TfidfDictionary
from forecastle.learning import forests
from forecastle.learning.forests import Forest, deviations
from forecastle.learning.forms import (
    EXACT,
    TEXT,
    ForestForm,
    Form,
    LadderForm,
    LinearForm,
    MeanForm,
    NamedNumbers,
    ShrinkageForm,
    StackForm,
    Tree,
    UnitForm,
)

NAMES = ("count", "x", "y")
LADDER = LogLevels(0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0, ladder=(-1.0, 0.0, 2.0))
ROWS = st.lists(st.tuples(st.floats(0, 5), NUMBERS, NUMBERS), min_size=1, max_size=150)


def issue(names: Sequence[str], numbers: Sequence[float], title: tuple[str, ...] = ()) -> IssueFeatures:
    return IssueFeatures(
        cluster="A",
        names=tuple(names),
        numbers=array("d", numbers),
        title=title,
        description=(),
        labels=(),
        scale=LogScale(floor=0.25, cold_centre=1.0, cold_spread=0.8),
        levels=LADDER,
        centre=0.5,
        spread=2.0,
        weight=1.0,
    )


def forests_of(names: Sequence[str] = NAMES) -> st.SearchStrategy[ForestForm]:
    grown = st.lists(trees(len(names)), min_size=1, max_size=5).map(tuple)
    return st.builds(ForestForm, st.just(tuple(names)), grown, st.floats(-3, 3), st.booleans())


@given(forests_of(), ROWS)
def test_many_rows_at_once_have_the_sums_of_each_row(form: ForestForm, rows: list[tuple[float, ...]]) -> None:
    expected = [form.total(NAMES, row) for row in rows]
    assert Forest.of(form).totals(np.array(rows)).tolist() == pytest.approx(expected, rel=EXACT, abs=EXACT)


@settings(max_examples=30)
@given(st.data(), forests_of(), forests_of((*NAMES, TEXT)), ROWS)
def test_every_form_says_of_many_issues_what_it_says_of_each(
    data: st.DataObject, forest: ForestForm, stacked: ForestForm, rows: list[tuple[float, ...]]
) -> None:
    text = LinearForm(NamedNumbers(TfidfDictionary({"fix": 1.0}), TfidfDictionary({}), {}), {"t:fix": 1.5}, 0.0, -9, 9)
    part: Form = MeanForm((forest, StackForm(text, stacked), ShrinkageForm(1.0, 5.0, ())))
    form = UnitForm(data.draw(st.sampled_from([part, LadderForm(part), text])))
    order = data.draw(st.permutations(range(len(NAMES))))  # issues may name their numbers in another order
    titles = data.draw(st.lists(st.sampled_from([(), ("fix",)]), min_size=len(rows), max_size=len(rows)))
    issues = [
        issue([NAMES[place] for place in order], [row[place] for place in order], title)
        for row, title in zip(rows, titles, strict=True)
    ]
    expected = [form.estimate(each) for each in issues]
    assert form.estimates(issues) == pytest.approx(expected, rel=EXACT)


def test_a_number_that_an_issue_does_not_have_is_not_known() -> None:
    asks = Tree((1, -1, -1), (2.0, 0.0, 0.0), (1, -1, -1), (2, -1, -1), (True, False, False), (0.0, 1.0, 10.0))
    form = ForestForm(NAMES, (asks,), 0.0, single=False)
    issues = [issue([], []), issue(["count"], [1.0]), issue(["x"], [5.0])] * 10
    assert deviations(form, issues) == [1.0, 1.0, 10.0] * 10


def test_no_row_has_no_sum() -> None:
    form = ForestForm(NAMES, (Tree((-1,), (0.0,), (-1,), (-1,), (False,), (4.0,)),), 0.5, single=True)
    assert Forest.of(form).totals(np.empty((0, 3))).tolist() == []
    assert Forest.of(form).totals(np.zeros((3, 3))).tolist() == [4.5] * 3
    assert deviations(form, []) == []


def test_more_rows_than_are_looked_at_together_keep_their_order() -> None:
    asks = Tree((1, -1, -1), (2.0, 0.0, 0.0), (1, -1, -1), (2, -1, -1), (True, False, False), (0.0, 1.0, 10.0))
    numbers = np.zeros((2 * forests.ROWS + 7, 3))
    numbers[forests.ROWS :, 1] = 5.0
    found = Forest.of(ForestForm(NAMES, (asks,), 0.0, single=True)).totals(numbers)
    assert found.tolist() == [1.0] * forests.ROWS + [10.0] * (forests.ROWS + 7)


def test_trees_that_were_taken_apart_are_forgotten_with_their_form() -> None:
    form = ForestForm(NAMES, (Tree((-1,), (0.0,), (-1,), (-1,), (False,), (4.0,)),), 0.5, single=True)
    assert forests.forest_of(form) is forests.forest_of(form)
    kept_as = id(form)
    assert kept_as in forests._FORESTS
    del form
    gc.collect()
    assert kept_as not in forests._FORESTS
