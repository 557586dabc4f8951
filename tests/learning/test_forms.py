"""Plain forms: how they read numbers, ladders and trees, and how they are written down."""

from __future__ import annotations

import json
import math
from array import array

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forecastle.features.issues import IssueFeatures
from forecastle.features.levels import LogLevels, LogScale
from forecastle.features.text import TfidfDictionary
from forecastle.learning.forms import (
    NODE_BYTES,
    NUMBER_WEIGHT,
    ForestForm,
    Form,
    LadderForm,
    LinearForm,
    MeanForm,
    NamedNumbers,
    ShrinkageForm,
    Tree,
    UnitForm,
    load_form,
    place_on,
    value_at,
)
from forecastle.registry.footprint import size_of

SCALE = LogScale(floor=0.25, cold_centre=1.0, cold_spread=0.8)
FLAT = LogLevels(0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0)
rungs = st.floats(-5, 5)
ladders = st.lists(rungs, min_size=1, max_size=12).map(sorted).map(tuple)


def issue(levels: LogLevels = FLAT, title: tuple[str, ...] = (), **numbers: float) -> IssueFeatures:
    return IssueFeatures(
        cluster="A",
        names=tuple(numbers),
        numbers=array("d", numbers.values()),
        title=title,
        description=(),
        labels=("issue_type=Bug",),
        scale=SCALE,
        levels=levels,
        centre=0.0,
        spread=1.0,
        weight=1.0,
    )


@given(st.lists(rungs, min_size=1, max_size=12, unique=True).map(sorted), st.data())
def test_the_value_at_the_place_of_a_rung_is_the_rung(ladder: list[float], data: st.DataObject) -> None:
    rung = data.draw(st.sampled_from(ladder))
    assert value_at(ladder, place_on(ladder, rung)) == rung


@given(ladders, rungs)
def test_a_place_counts_the_rungs_below_and_half_of_those_at_its_height(ladder: tuple[float, ...], at: float) -> None:
    expected = sum(rung < at for rung in ladder) + sum(rung == at for rung in ladder) / 2
    assert place_on(ladder, at) == expected


@given(ladders, st.floats(-3, 15), st.floats(-3, 15))
def test_a_higher_place_has_no_lower_value_and_none_lies_beyond_the_ladder(
    ladder: tuple[float, ...], first: float, second: float
) -> None:
    low, high = value_at(ladder, min(first, second)), value_at(ladder, max(first, second))
    assert ladder[0] <= low <= high + 1e-12
    assert high <= ladder[-1] + 1e-12


def test_without_a_ladder_the_level_of_everybody_answers() -> None:
    assert value_at((), 3.0) == 0.0
    assert LadderForm(ShrinkageForm(5.0, 10.0, ())).deviation(issue(count=0.0)) == 0.0


def said_by(tree: Tree, number: float) -> float:
    return ForestForm(("a",), (tree,), 0.0, single=False).total(("a",), [number])


def tree(missing_left: bool = False) -> Tree:
    """Below 2 it is 1, else 10."""
    return Tree((0, -1, -1), (2.0, 0.0, 0.0), (1, -1, -1), (2, -1, -1), (missing_left, False, False), (0.0, 1.0, 10.0))


@pytest.mark.parametrize("number, expected", [(1.9, 1.0), (2.0, 10.0), (2.1, 10.0)])
def test_a_number_below_the_threshold_goes_left_and_one_on_it_goes_right(number: float, expected: float) -> None:
    assert said_by(tree(), number) == expected


def test_a_number_that_is_not_known_goes_where_the_tree_says() -> None:
    assert [said_by(tree(left), math.nan) for left in (True, False)] == [1.0, 10.0]


def test_a_tree_says_what_it_was_made_of_and_takes_little_more_than_its_numbers() -> None:
    made = tree(missing_left=True)
    assert list(made.feature) == [0, -1, -1]
    assert (list(made.threshold), list(made.value)) == ([2.0, 0.0, 0.0], [0.0, 1.0, 10.0])
    assert (list(made.left), list(made.right)) == ([1, -1, -1], [2, -1, -1])
    assert list(made.missing_left) == [True, False, False]
    assert size_of(made) < 3 * NODE_BYTES + 100


def test_sequences_of_different_length_are_no_tree() -> None:
    with pytest.raises(ValueError, match="every node"):
        Tree((0, -1, -1), (2.0, 0.0), (1, -1, -1), (2, -1, -1), (False, False, False), (0.0, 1.0, 10.0))


def test_a_forest_finds_numbers_by_name_and_one_that_lacks_is_not_known() -> None:
    form = ForestForm(("x", "y"), (tree(), tree(missing_left=True)), intercept=0.5, single=False)
    assert form.deviation(issue(x=5.0, y=1.0)) == form.deviation(issue(y=1.0, x=5.0)) == 20.5
    assert form.deviation(issue(y=5.0)) == 11.5


def test_single_precision_is_that_of_the_trees() -> None:
    just_below = math.nextafter(2.0, 0.0)  # the same single-precision number as 2
    single, double = (ForestForm(("x",), (tree(),), 0.0, single) for single in (True, False))
    assert (single.deviation(issue(x=just_below)), double.deviation(issue(x=just_below))) == (10.0, 1.0)


def test_a_linear_form_standardises_numbers_and_leaves_out_what_is_not_known_or_never_was_seen() -> None:
    numbers = NamedNumbers(TfidfDictionary({"fix": 1.0}), TfidfDictionary({}), {"x": (4.0, 2.0)})
    form = LinearForm(numbers, {"x": 10.0, "t:fix": 3.0, "A|t:fix": 0.5, "l:issue_type=Bug": 1.0}, 1.0, -9.0, 9.0)
    assert form.deviation(issue(x=4.0)) == 1.5
    assert form.deviation(issue(x=6.0)) == pytest.approx(1.5 + 10 * NUMBER_WEIGHT)
    assert form.deviation(issue(x=math.nan, z=7.0)) == 1.5
    assert form.deviation(issue(x=4.0, title=("fix", "unheard"))) == 5.0


def test_a_linear_form_stays_within_what_it_was_taught() -> None:
    form = LinearForm(NamedNumbers(TfidfDictionary({}), TfidfDictionary({}), {"x": (0.0, 1.0)}), {"x": 1.0}, 0, -1, 2)
    assert [form.deviation(issue(x=x)) for x in (-1e9, 0.0, 1e9)] == [-1, 0, 2]


def test_a_level_with_as_many_outcomes_as_the_prior_counts_half() -> None:
    levels = LogLevels(2.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0)
    form = ShrinkageForm(centre=0.0, rows=10.0, groups=("type",))
    known = {"count": math.log1p(10)}
    assert form.deviation(issue(levels, **known)) == pytest.approx(1.0)
    group = {"type.count": math.log1p(10), "type.mean": 4.0}
    assert form.deviation(issue(levels, **known, **group)) == pytest.approx(2.5)
    assert form.deviation(issue(levels, **known, **{"type.count": 0.0, "type.mean": math.nan})) == pytest.approx(1.0)


FORMS: list[Form] = [
    LinearForm(
        NamedNumbers(TfidfDictionary({"fix": 1.5}), TfidfDictionary({}), {"x": (4.0, 2.0)}), {"x": 1.0}, 0.5, -9.0, 9.0
    ),
    ForestForm(("x",), (tree(), tree(missing_left=True)), 0.25, single=True),
    ShrinkageForm(0.1, 10.0, ("type",)),
]


@pytest.mark.parametrize("form", [*FORMS, MeanForm(tuple(FORMS)), LadderForm(FORMS[0])], ids=lambda form: form.kind)
def test_a_form_comes_back_from_json_as_it_was(form: Form) -> None:
    written = json.loads(json.dumps(UnitForm(form).as_json(), allow_nan=False))
    loaded = load_form(written)
    assert loaded.form == form
    assert loaded.as_json() == UnitForm(form).as_json()
    asked = issue(count=1.0, x=3.0)
    assert loaded.estimate(asked) == UnitForm(form).estimate(asked)


@pytest.mark.parametrize("content", [{}, {"kind": "pickle"}, {"kind": "forest"}, {"kind": "mean", "parts": [{}]}, []])
def test_what_is_no_form_is_refused(content: object) -> None:
    with pytest.raises((KeyError, TypeError, ValueError)):
        load_form(content)  # type: ignore[arg-type]
