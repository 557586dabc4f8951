"""Trees as functions say what a walk from node to node says."""

from __future__ import annotations

import math
import traceback
import tracemalloc
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from trees import NUMBERS, trees

from forecastle.learning import compiled
from forecastle.learning.compiled import CompiledTrees
from forecastle.learning.forms import Tree


def walked(tree: Tree, numbers: Sequence[float]) -> float:
    node = 0
    while (feature := tree.feature[node]) >= 0:
        number = numbers[feature]
        goes_left = tree.missing_left[node] if math.isnan(number) else number < tree.threshold[node]
        node = tree.left[node] if goes_left else tree.right[node]
    return tree.value[node]


@settings(deadline=None)
@given(st.lists(trees(), max_size=60), st.lists(st.tuples(NUMBERS, NUMBERS, NUMBERS), min_size=1, max_size=20))
def test_any_trees_sum_up_to_what_walks_through_them_reach(
    grown: list[Tree], rows: list[tuple[float, float, float]]
) -> None:
    made = CompiledTrees(grown)
    for numbers in rows:
        assert made.total(numbers) == pytest.approx(sum(walked(tree, numbers) for tree in grown), abs=1e-9)


def chain(depth: int) -> Tree:
    """A tree as deep as it can be: on each level a leaf, and what is below it."""
    feature, value, left, right = [], [], [], []
    for level in range(depth):
        feature += [0, -1]
        value += [0.0, float(level)]
        left += [2 * level + 1, -1]
        right += [2 * level + 2, -1]
    count = 2 * depth + 1
    thresholds = [float(place // 2) for place in range(count)]
    return Tree([*feature, -1], thresholds, [*left, -1], [*right, -1], [False] * count, [*value, -1.0])


def test_a_tree_as_deep_as_is_allowed_is_compiled_and_a_deeper_one_is_refused() -> None:
    made = CompiledTrees([chain(compiled.DEEPEST)] * 30)
    assert made.total([2.5]) == 30 * 3.0
    assert made.total([1e9]) == -30.0
    with pytest.raises(ValueError, match="deeper than"):
        CompiledTrees([chain(compiled.DEEPEST + 1)])


def test_leaves_and_thresholds_without_end_are_numbers_too() -> None:
    tree = Tree((0, -1, -1), (math.inf, 0.0, 0.0), (1, -1, -1), (2, -1, -1), (False,) * 3, (0.0, -math.inf, math.nan))
    made = CompiledTrees([tree])
    assert made.total([1.0]) == -math.inf
    assert math.isnan(made.total([math.inf]))


def test_a_failure_within_trees_can_be_read() -> None:
    made = CompiledTrees([chain(3)] * 60)
    with pytest.raises(IndexError) as caught:
        made.total([])
    assert "<trees>" in "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize("trees_together", range(1, 17))
def test_what_is_said_of_the_positions_of_code_ends_where_the_code_ends(trees_together: int) -> None:
    """Debuggers, profilers and coverage would write beyond the array that they fill from it, and crash."""
    made = CompiledTrees([chain(trees_together)] * trees_together)
    with pytest.raises(IndexError) as caught:
        made.total([])
    code = caught.traceback[-1].frame.code.raw
    assert code.co_filename == "<trees>"
    assert len(list(code.co_positions())) == len(code.co_code) // 2


def test_what_is_compiled_counts_with_its_code() -> None:
    grown = [chain(20)] * 100
    tracemalloc.start()
    made = CompiledTrees(grown)
    allocated, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert made.__sizeof__() == pytest.approx(allocated, rel=0.3)
