"""Trees as Python functions: one row walks through them several times as fast as through any data structure.

A tree becomes one conditional expression over local variables, which the interpreter decides in three instructions a
node. What is compiled are numbers of a form's own arrays and nothing else.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Sequence
from types import CodeType, FunctionType
from typing import Protocol

TOGETHER = 25
"""Trees in one function: fewer cost more calls, more cost more memory while they are compiled."""
DEEPEST = 80
"""Python's own parser ends at 200 nested parentheses."""
_NUMBERS = {"inf": math.inf, "nan": math.nan, "__builtins__": {}}

Function = Callable[[Sequence[float]], float]


class TreeArrays(Protocol):
    """What is read of a tree: node 0 is the root, a leaf has the feature -1."""

    @property
    def feature(self) -> Sequence[int]: ...
    @property
    def threshold(self) -> Sequence[float]: ...
    @property
    def left(self) -> Sequence[int]: ...
    @property
    def right(self) -> Sequence[int]: ...
    @property
    def missing_left(self) -> Sequence[bool]: ...
    @property
    def value(self) -> Sequence[float]: ...


class CompiledTrees:
    """Says the sum of the leaves that a row of numbers reaches; raises ValueError for a tree deeper than DEEPEST."""

    def __init__(self, trees: Sequence[TreeArrays]) -> None:
        parts = [trees[start : start + TOGETHER] for start in range(0, len(trees), TOGETHER)]
        self._codes = [_code(part) for part in parts]
        self._functions: list[Function] = [FunctionType(code, _NUMBERS) for code in self._codes]

    def total(self, numbers: Sequence[float]) -> float:
        return sum([function(numbers) for function in self._functions])

    def __sizeof__(self) -> int:
        """With the code, which other objects share and this one does not."""
        return object.__sizeof__(self) + sum(map(_size, self._codes))


def _code(trees: Sequence[TreeArrays]) -> CodeType:
    used = sorted({feature for tree in trees for feature in tree.feature if feature >= 0})
    names = [f"    x{feature} = x[{feature}]" for feature in used]
    text = "\n".join(["def total(x):", *names, f"    return {' + '.join(_expression(tree, 0, 0) for tree in trees)}"])
    module = compile(text, "<trees>", "exec")
    code = next(constant for constant in module.co_consts if isinstance(constant, CodeType))
    return code.replace(co_linetable=_nowhere(len(code.co_code) // 2))


def _nowhere(instructions: int) -> bytes:
    """A table of positions that says of all instructions that they stand nowhere: a byte for up to eight of them.

    It ends with the code: what traces or profiles fills an array from it and trusts its length.
    """
    full, rest = divmod(instructions, 8)
    return b"\xff" * full + (bytes([0xF8 | rest - 1]) if rest else b"")


def _expression(tree: TreeArrays, node: int, depth: int) -> str:
    feature = tree.feature[node]
    if feature < 0:
        return f"({tree.value[node]!r})"
    if depth == DEEPEST:
        raise ValueError(f"a tree is deeper than {DEEPEST}")
    left, right = (_expression(tree, child, depth + 1) for child in (tree.left[node], tree.right[node]))
    # Every comparison with a number that is not known is false.
    goes_left = f"x{feature} < {tree.threshold[node]!r}"
    if tree.missing_left[node]:
        goes_left = f"not x{feature} >= {tree.threshold[node]!r}"
    return f"({left} if {goes_left} else {right})"


def _size(code: CodeType) -> int:
    return sys.getsizeof(code) + sys.getsizeof(code.co_consts) + sum(map(sys.getsizeof, code.co_consts))
